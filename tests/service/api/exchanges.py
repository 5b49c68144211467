"""Plays recorded exchanges against a service of ours, and says where the replies are not those of the recording.

A sample file has `exchanges`, in order. Each has a `request` (`method`, `path`, perhaps `json` or `content`, and
`headers`), the `status` that was recorded, perhaps the `body`, and of the `headers` those that matter. With `until` the
request is repeated until the body has these members. `given` says what a request stands for that prepares the others:
of its reply only the status counts, and the body if there is one, for the ids in it. `host` is where the recorded
service was.

Ids are bound where they first appear, so one of the recording stands for one of ours from then on; those that a client
has chosen are themselves. Of moments only counts that they are some, and `…` stands for anything. Everything else has
to be equal, but for what is marked: `more` are the members that objects may have beyond the recorded ones, `differs`
lists for one exchange what is `here` `at` a place (`status`, the name of a header, or a JSON pointer into the body);
without `here` there is nothing. `because` is the first cell of the row in docs/compatibility.md that says why.
"""

import copy
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec

from tests.service.api.jobs_service import eventually

SAMPLES = Path(__file__).with_name("samples")
_ULID = re.compile(r"(?<![0-9A-Z])[0-7][0-9A-HJKMNP-TV-Z]{25}(?![0-9A-Z])", re.IGNORECASE)
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)?")
_MISSING = "(nothing)"
_ANY = "…"


class Difference(msgspec.Struct, forbid_unknown_fields=True):
    """What is on purpose not as it was recorded."""

    at: str
    because: str
    here: Any = _MISSING


class More(msgspec.Struct, forbid_unknown_fields=True):
    """Members that our objects have beyond the recorded ones."""

    members: list[str]
    because: str


class Recorded(msgspec.Struct, forbid_unknown_fields=True):
    """A request as it is sent."""

    method: str
    path: str
    json: Any = msgspec.UNSET
    content: str | None = None
    headers: dict[str, str] = {}


class Exchange(msgspec.Struct, forbid_unknown_fields=True):
    """A request, and the reply that was recorded."""

    name: str
    request: Recorded
    status: int
    headers: dict[str, str] = {}
    body: Any = None
    until: dict[str, Any] | None = None
    given: str | None = None
    differs: list[Difference] = []

    def as_it_is_here(self) -> "Exchange":
        """The same with the marked differences in place."""
        reply: dict[str, Any] = copy.deepcopy({"status": self.status, "headers": self.headers, "body": self.body})
        for difference in self.differs:
            at = difference.at
            way = ["body", *at.split("/")[1:]] if at[:1] in "/" else ["status"] if at == "status" else ["headers", at]
            *way, last = way
            place: Any = reply
            for step in way:
                place = place[int(step) if isinstance(place, list) else step]
            key: Any = int(last) if isinstance(place, list) else last
            if difference.here == _MISSING:
                del place[key]
            else:
                place[key] = difference.here
        return msgspec.structs.replace(self, **reply)


class Sample(msgspec.Struct, forbid_unknown_fields=True):
    """What was recorded of one service."""

    about: str
    host: str
    exchanges: list[Exchange]
    more: list[More] = []

    @property
    def reasons(self) -> set[str]:
        """Why anything is not as it was recorded."""
        differing = {item.because for exchange in self.exchanges for item in exchange.differs}
        return differing | {item.because for item in self.more}


def sample(name: str) -> Sample:
    """What a file has."""
    return msgspec.json.decode((SAMPLES / name).read_bytes(), type=Sample)


class Player:
    """Plays a sample, exchange by exchange; `wrong` collects where the replies are others."""

    def __init__(self, sample: Sample, client: httpx.AsyncClient) -> None:
        self.sample = sample
        self.client = client
        self.wrong: list[str] = []
        self._more = {member for item in sample.more for member in item.members}
        self._ids: dict[str, str] = {}

    async def play(self) -> None:
        """All exchanges in order."""
        for exchange in self.sample.exchanges:
            reply = await self._reply(exchange)
            expected = exchange.as_it_is_here()
            if exchange.given is not None and expected.body is None:
                found = [] if reply.status_code == expected.status else [reply.text]
            else:
                found = list(self._differences(expected.status, reply.status_code, "status"))
                for name, value in expected.headers.items():
                    found += self._differences(value, reply.headers.get(name), name)
                found += self._differences(expected.body, _body(reply), "")
            self.wrong += [f"{exchange.name}: {difference}" for difference in found]

    async def _reply(self, exchange: Exchange) -> httpx.Response:
        request = exchange.request
        body: dict[str, Any] = {} if request.content is None else {"content": request.content}
        if request.json is not msgspec.UNSET:
            body["json"] = self._ours(request.json, is_sent=True)
        path = self._ours(request.path, is_sent=True)

        async def ask() -> httpx.Response | None:
            reply = await self.client.request(request.method, path, headers=request.headers, **body)
            found = _body(reply)
            until = (exchange.until or {}).items()
            return reply if all(isinstance(found, dict) and found.get(name) == value for name, value in until) else None

        answered: httpx.Response = await eventually(ask)
        return answered

    def _ours(self, value: Any, *, is_sent: bool = False) -> Any:
        """A recorded value with our ids and our address; what is sent without being known is an id of the client."""
        if isinstance(value, dict):
            return {name: self._ours(member, is_sent=is_sent) for name, member in value.items()}
        if isinstance(value, list):
            return [self._ours(member, is_sent=is_sent) for member in value]
        if not isinstance(value, str):
            return value

        def bound(match: re.Match[str]) -> str:
            text = match.group()
            known = self._ids.setdefault(text.upper(), text.upper()) if is_sent else self._ids.get(text.upper(), text)
            return known.lower() if text == text.lower() else known

        return _ULID.sub(bound, value.replace(self.sample.host, str(self.client.base_url).rstrip("/")))

    def _differences(self, recorded: Any, ours: Any, at: str) -> Iterator[str]:
        if isinstance(recorded, dict) and isinstance(ours, dict):
            for name in recorded.keys() | (ours.keys() - self._more):
                yield from self._differences(recorded.get(name, _MISSING), ours.get(name, _MISSING), f"{at}/{name}")
        elif isinstance(recorded, list) and isinstance(ours, list) and len(recorded) == len(ours):
            for index, (one, other) in enumerate(zip(recorded, ours, strict=True)):
                yield from self._differences(one, other, f"{at}/{index}")
        elif not (recorded == _ANY and ours != _MISSING) and not self._is_same(recorded, ours):
            yield f"{at}: {self._ours(recorded)!r} -> {ours!r}"

    def _is_same(self, recorded: Any, ours: Any) -> bool:
        if isinstance(recorded, str) and isinstance(ours, str):
            if _ULID.fullmatch(recorded) and _ULID.fullmatch(ours) and recorded not in self._ids:
                # Two of the recording cannot be the same one here.
                is_new = ours not in self._ids.values()
                self._ids[recorded] = ours
                return is_new
            if _MOMENT.fullmatch(recorded):
                return _MOMENT.fullmatch(ours) is not None
            for unknown, known in zip(_ULID.findall(recorded), _ULID.findall(ours), strict=False):
                self._ids.setdefault(unknown, known)
        return type(recorded) is type(ours) and bool(self._ours(recorded) == ours)


def _body(reply: httpx.Response) -> Any:
    try:
        return reply.json() if reply.content else ""
    except ValueError:
        return reply.text
