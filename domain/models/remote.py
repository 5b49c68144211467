"""A model that another service has."""

import re
from collections.abc import Mapping
from typing import Any

from domain.errors import Misconfigured

_URL = re.compile(r"https?://[^\s/?#@]+(/[^\s?#]*)?")


class RemoteModelRunner:
    """A model of another service that speaks the same contract, asked over HTTP.

    `url` is where that service is, `config` the data of the configuration that it trains with there; the horizon and
    additional covariates are those of the configuration here. `headers` are sent with every request, such as an API
    key, and redirects are not followed. It is asked every `poll_seconds` how its job goes, and told to cancel it when
    this one is canceled. A service that does not answer is asked again for `patience_seconds`. Raises `Misconfigured`.
    """

    def __init__(
        self,
        url: str,
        config: Mapping[str, Any] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        poll_seconds: float = 1.0,
        request_timeout_seconds: float = 60.0,
        patience_seconds: float = 60.0,
    ) -> None:
        if not _URL.fullmatch(url):
            raise Misconfigured(f"RemoteModelRunner({url!r}): give the address of a service, as in http://host:8000")
        if not (poll_seconds > 0 and request_timeout_seconds > 0 and patience_seconds >= 0):
            raise Misconfigured(
                "RemoteModelRunner(): poll_seconds and request_timeout_seconds must be more than 0, "
                "and patience_seconds at least 0"
            )
        self.url = url.rstrip("/")
        self.config = dict(config or {})
        self.headers = dict(headers or {})
        self.poll_seconds = poll_seconds
        self.request_timeout_seconds = request_timeout_seconds
        self.patience_seconds = patience_seconds
