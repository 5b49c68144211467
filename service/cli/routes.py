"""`millrace routes`: every URL a service answers."""

from typing import Annotated

import msgspec
import typer

from service.app import load_app, routes_of
from service.cli.output import run, say, tabulate
from service.cli.target import TargetArgument


def routes(
    target: TargetArgument = None,
    is_json: Annotated[bool, typer.Option("--json", help="Print a JSON array instead.")] = False,
) -> None:
    """List every URL the service answers; nothing is opened for it."""
    found = run(routes_of(load_app(target)))
    if is_json:
        say(msgspec.json.encode(found).decode())
        return
    tabulate(("method", "path", "summary"), [(route.method, route.path, route.summary) for route in found])
