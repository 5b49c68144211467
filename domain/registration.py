"""How a service introduces itself."""

import re

import msgspec

from domain.errors import Misconfigured

_ID = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


class ServiceInfo(msgspec.Struct, frozen=True, kw_only=True):
    """Identity of a service as `/api/v1/info` shows it.

    `id` is lower-case words joined by hyphens (`^[a-z][a-z0-9]*(-[a-z0-9]+)*$`). Raises `Misconfigured` otherwise.
    """

    id: str
    display_name: str
    version: str = "1.0.0"
    description: str | None = None

    def __post_init__(self) -> None:
        if not _ID.fullmatch(self.id):
            raise Misconfigured(
                f"ServiceInfo.id is {self.id!r}: use lower-case letters and digits in words joined by hyphens, "
                'such as "accounts" or "malaria-model"'
            )
        if not self.display_name.strip():
            raise Misconfigured("ServiceInfo.display_name is empty: give the service a name people can read")
