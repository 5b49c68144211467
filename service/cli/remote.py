"""A running service as commands see it: asked over HTTP, with one line for whatever goes wrong."""

from typing import TYPE_CHECKING, Annotated, Any, Self

import typer

from domain.errors import Unavailable
from service.cli.output import Failed

if TYPE_CHECKING:
    import httpx

UrlOption = Annotated[str, typer.Option("--url", "-u", help="Where the service is.")]
LOCAL = "http://localhost:8000"
_MOST_CHARACTERS = 300


class Remote:
    """Requests to one service; `ask` raises `Failed` with the answer of a service that refuses."""

    def __init__(self, url: str, timeout_seconds: float = 30.0) -> None:
        # Most commands, `serve` above all, ask nobody.
        import httpx

        self.url = url.rstrip("/")
        self._client = httpx.Client(base_url=self.url, timeout=timeout_seconds, follow_redirects=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def send(self, method: str, path: str, **more: Any) -> "httpx.Response":
        """The answer, whatever it is. Raises `Unavailable` when there is none."""
        import httpx

        try:
            return self._client.request(method, path, **more)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Unavailable(f"{self.url} does not answer: {type(error).__name__} {error}".strip()) from error

    def ask(self, method: str, path: str, *statuses: int, **more: Any) -> Any:
        """The JSON of an answer with one of these statuses, 200 by default."""
        reply = self.send(method, path, **more)
        if reply.status_code not in (statuses or (200,)):
            raise Failed(f"{method} {path} answered {reply.status_code}: {reply.text[:_MOST_CHARACTERS]}")
        if not reply.content:
            return None
        try:
            return reply.json()
        except ValueError:
            raise Failed(f"{method} {path} did not answer with JSON: {reply.text[:_MOST_CHARACTERS]}") from None
