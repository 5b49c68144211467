"""What a service is made of, decided before anything is opened."""

from pathlib import Path
from typing import Any

import msgspec
from piccolo.table import Table

from domain.query import Resource
from infra.database.engine import DatabaseOptions
from infra.database.piccolo_app import PRODUCT
from infra.database.piccolo_environment import MigrationApp
from service.background import JobsDesign
from service.caching import CacheDesign
from service.managers.hooks import Hooks
from service.managers.monitoring import Monitoring
from service.modelling import ModellingDesign


class ResourceDesign(msgspec.Struct, frozen=True, kw_only=True):
    """A resource, where it is kept, and what surrounds its changes."""

    resource: Resource[Any]
    table: type[Table]
    hooks: tuple[Hooks[Any], ...] = ()

    @property
    def unique(self) -> frozenset[str]:
        """The fields whose value no two entities share."""
        return frozenset(column._meta.name for column in self.table._meta.columns if column._meta.unique)


class Design(msgspec.Struct, frozen=True, kw_only=True):
    """What a service is made of, decided before anything is opened.

    `references` are, given the database, the rows that rely on stored content; without any there is no storage.
    `migrations` is the folder of its migrations, None while there are none; `migrations_home` is where they would be.
    """

    name: str
    database: DatabaseOptions | None = None
    migrations: Path | None = None
    migrations_home: Path = Path("migrations")
    code_revision: str | None = None
    resources: tuple[ResourceDesign, ...] = ()
    jobs: JobsDesign | None = None
    modelling: ModellingDesign | None = None
    monitoring: Monitoring | None = None
    cache: CacheDesign | None = None

    @property
    def migration_apps(self) -> list[MigrationApp]:
        """The product's own tables, then the user's."""
        tables = tuple(item.table for item in self.resources)
        watched = self.cache.tables if self.cache is not None else ()
        return [PRODUCT, MigrationApp(name=self.name, tables=tables, directory=self.migrations, watched=watched)]
