"""Accounts: users with a role, kept in a database and offered over HTTP."""

import enum
from datetime import datetime
from typing import Annotated

from msgspec import Meta
from piccolo.columns import Boolean, Integer, Timestamptz, Varchar

from domain.entity import Email, Entity
from domain.query import Resource
from domain.registration import ServiceInfo
from infra.database.table import EntityTable
from seed import seed
from service.builder import ServiceBuilder


class Role(enum.StrEnum):
    """What a user may do."""

    ADMIN = "admin"
    EDITOR = "editor"
    VIEWER = "viewer"


class User(Entity, kw_only=True):
    """Someone who may sign in."""

    name: Annotated[str, Meta(min_length=1, max_length=100)]
    email: Email
    role: Role = Role.VIEWER
    is_active: bool = True
    age: Annotated[int, Meta(ge=0, le=150)] | None = None
    last_login_at: datetime | None = None


class Users(EntityTable, tablename="users"):
    """Where users are kept."""

    name = Varchar(length=100, index=True)
    email = Varchar(length=254, unique=True)
    role = Varchar(length=10)
    is_active = Boolean(default=True)
    age = Integer(null=True, default=None)
    last_login_at = Timestamptz(null=True, default=None)


USERS = Resource(User, "users", searchable={"name", "email"})

app = (
    ServiceBuilder(info=ServiceInfo(id="accounts", display_name="Accounts", description="Users and their roles"))
    .with_database()
    .with_crud(USERS, table=Users)
    .with_cache()
    .with_health()
    .with_system()
    .with_logging()
    .on_startup(seed)
    .build()
)
