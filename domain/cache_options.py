"""What a service's cache is told: for how long, how much, and who is told apart."""

import msgspec

from domain.computations import Lifetime
from domain.errors import Misconfigured

MIB = 1024 * 1024


class CacheOptions(msgspec.Struct, frozen=True, kw_only=True):
    """`ttl_seconds` is how long a reply is kept while its data does not change; as soon as that changes, it is not
    found any more. The two lengths of being stale are those of `Lifetime`. `max_entry_bytes` is the longest reply.
    With `max_disk_bytes` there is a tier on disk, where no Redis is.

    Requests that differ in a header of `credential_headers` never share a reply; `Authorization` and `Cookie` are
    always among them.
    """

    ttl_seconds: float = 60.0
    stale_while_revalidate_seconds: float = 0.0
    stale_if_error_seconds: float = 0.0
    max_entries: int = 10_000
    max_bytes: int = 64 * MIB
    max_entry_bytes: int = MIB
    max_disk_bytes: int = 0
    credential_headers: tuple[str, ...] = ("X-API-Key",)

    def check(self, method: str) -> None:
        """Raise `Misconfigured` for what cannot be."""
        for name in ("max_entries", "max_bytes", "max_entry_bytes"):
            if getattr(self, name) < 1:
                raise Misconfigured(f"{method}({name}={getattr(self, name)}): at least 1 is needed")
        if self.max_disk_bytes < 0:
            raise Misconfigured(f"{method}(max_disk_bytes={self.max_disk_bytes}): 0 for none, or more")
        try:
            self.lifetime(self.ttl_seconds).check()
        except Misconfigured as error:
            raise Misconfigured(f"{method}({error})") from None
        for header in self.credential_headers:
            if not header or not header.replace("-", "").isalnum():
                raise Misconfigured(f'{method}(credential_headers={header!r}): use names such as "X-API-Key"')

    def lifetime(self, ttl_seconds: float) -> Lifetime:
        """For how long something is good that is kept for `ttl_seconds`."""
        return Lifetime(
            ttl_seconds=ttl_seconds,
            stale_while_revalidate_seconds=self.stale_while_revalidate_seconds,
            stale_if_error_seconds=self.stale_if_error_seconds,
        )
