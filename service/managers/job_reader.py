"""Reads jobs as every resource is read, and says which ids are none."""

import hashlib
from collections.abc import Sequence

from domain.entity import parse_id
from domain.errors import InvalidId, NotFound
from domain.jobs import Job
from domain.ports import Document
from service.managers.base import Manager


class JobReader(Manager[Job]):
    """Reads jobs as every resource is read; they change by what happens to them."""

    async def document(self, id: str, fields: Sequence[str] | None = None) -> Document:
        """One job as JSON, with the named fields or all readable ones."""
        document = await super().document(id, fields)
        # A job may change twice within a tick of the database's clock.
        return Document(document.json, hashlib.blake2b(document.json, digest_size=8).hexdigest())

    def _id(self, text: str) -> str:
        return checked_id(text)

    def missing(self, identifier: str) -> NotFound:
        return missing(identifier)


def checked_id(text: str) -> str:
    """A job's id in upper case. Raises `InvalidId`."""
    identifier = parse_id(text)
    if identifier is None:
        raise InvalidId(f"Invalid job ID format: {text[:100]}")
    return identifier


def missing(id: str) -> NotFound:
    """The error for a job that does not exist."""
    return NotFound(f"Job with id {id} not found")
