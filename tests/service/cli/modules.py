"""Modules as a user writes them, for commands to load."""

from pathlib import Path

SHOP = '''
from typing import Annotated

from msgspec import Meta
from piccolo.columns import Integer, Varchar

from domain.entity import Entity
from domain.query import Resource
from domain.registration import ServiceInfo
from infra.database.table import EntityTable
from service.builder import ServiceBuilder


class Item(Entity, kw_only=True):
    """Something to buy."""

    name: Annotated[str, Meta(min_length=1, max_length=50)]
    price: int = 0


class Items(EntityTable, tablename="items"):
    name = Varchar(length=50, unique=True)
    price = Integer(default=0)


app = (
    ServiceBuilder(info=ServiceInfo(id="shop", display_name="Shop", version="2.1.0"))
    .with_database(connect_timeout_seconds=0.2)
    .with_crud(Resource(Item, "items"), table=Items)
    .with_health()
    .build()
)
'''


def shop(folder: Path, *changes: tuple[str, str], name: str = "main.py") -> Path:
    """Write the module of a shop, with some of its text replaced; returns its path."""
    text = SHOP
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = folder / name
    path.write_text(text)
    return path


def bare(folder: Path, calls: str = "", *, before: str = "", name: str = "main.py") -> Path:
    """Write the module of a service that has nothing but `calls` on its builder; returns its path."""
    path = folder / name
    path.write_text(
        "from domain.registration import ServiceInfo\n"
        "from service.builder import ServiceBuilder\n"
        f"{before}\n"
        f'app = ServiceBuilder(info=ServiceInfo(id="bare", display_name="Bare")){calls}.build()\n'
    )
    return path
