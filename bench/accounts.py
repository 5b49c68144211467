"""The resource that is measured: users, as a service would have them."""

import enum
from datetime import datetime
from typing import Annotated

from msgspec import Meta
from piccolo.columns import Boolean, Integer, Timestamptz, Varchar

from domain.entity import Email, Entity
from domain.query import Resource
from infra.database.table import EntityTable


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
