"""`millrace chart`: a picture of a file, or of an artifact of any running service of this contract."""

import asyncio
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from domain.charts import Format, checked_format
from domain.charts.artifacts import drawn
from domain.charts.asked import ChartParams, Source
from domain.charts.requests import MOST_PIXELS
from domain.errors import Invalid, InvalidBody
from domain.frames import DataFrame
from infra.charts.renderer import VlConvertRenderer
from service.cli.output import Failed, say
from service.cli.remote import Remote

_Text = Annotated[str | None, typer.Option(show_default=False)]


def chart(
    source: Annotated[str, typer.Argument(help="A .csv or .json file, or with --url the id of an artifact.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to put it: .svg, .png, .html or .json.")],
    url: Annotated[str | None, typer.Option("--url", "-u", help="Where the service is.", show_default=False)] = None,
    kind: Annotated[str | None, typer.Option("--type", "-t", help="line, bar, fan, …", show_default=False)] = None,
    x: _Text = None,
    y: _Text = None,
    color: _Text = None,
    aggregate: _Text = None,
    title: _Text = None,
    width: Annotated[int | None, typer.Option(min=10, max=MOST_PIXELS, show_default=False)] = None,
    height: Annotated[int | None, typer.Option(min=10, max=MOST_PIXELS, show_default=False)] = None,
    location: Annotated[
        list[str] | None, typer.Option(help="Only of this; may be repeated.", show_default=False)
    ] = None,
    target: _Text = None,
    period: _Text = None,
    key: Annotated[str | None, typer.Option(help="What places of a map are named by.", show_default=False)] = None,
    history: Annotated[str | None, typer.Option(help="What is known: a file or an id.", show_default=False)] = None,
    geo: Annotated[str | None, typer.Option(help="The places of a map: a file or an id.", show_default=False)] = None,
    compare: Annotated[list[str] | None, typer.Option(help="Another forecast: a file or an id.")] = None,
    is_forced: Annotated[bool, typer.Option("--force", "-f", help="Overwrite what is there.")] = False,
) -> None:
    """Draw a chart of a file or an artifact; without a type it is the one that suits."""
    format = checked_format(output.suffix.removeprefix("."))
    if output.exists() and not is_forced:
        raise Failed(f"{output} is there already: give another --output, or --force")
    params = ChartParams(
        chart=kind,
        x=x,
        y=y,
        color=color,
        aggregate=aggregate,
        title=title,
        width=width,
        height=height,
        location=tuple(location or ()),
        target=target,
        period=period,
        key=key,
        history=history,
        geo=geo,
        compare=tuple(compare or ()),
    )
    content = _local(source, params, format) if url is None else _remote(url, source, params, format)
    try:
        output.write_bytes(content)
    except OSError as error:
        raise Failed(f"{output} cannot be written: {error.strerror}") from error
    say(f"{output}  {len(content)} bytes")


def _remote(url: str, id: str, params: ChartParams, format: Format) -> bytes:
    asked = {**msgspec.to_builtins(params), "format": format.value}
    with Remote(url) as remote:
        reply = remote.send("GET", f"/api/v1/artifacts/{id}/$chart", params=asked)
    if reply.status_code != 200:
        raise Failed(f"artifact {id} cannot be drawn: {reply.status_code} {reply.text[:300]}")
    return reply.content


def _local(name: str, params: ChartParams, format: Format) -> bytes:
    source, content = _table(name)
    others = {other: Path(other).read_bytes() if other == params.geo else _table(other)[1] for other in _files(params)}
    try:
        made = drawn(source, content, params, others, Path(name).stem)
    except ImportError as error:
        raise Failed(str(error)) from error
    return asyncio.run(_rendered(msgspec.json.encode(made.spec), format))


async def _rendered(spec: bytes, format: Format) -> bytes:
    renderer = VlConvertRenderer()
    try:
        return await renderer.render(spec, format)
    finally:
        await renderer.close()


def _files(params: ChartParams) -> tuple[str, ...]:
    for name in params.others:
        if not Path(name).is_file():
            raise Failed(f"{name} is no file")
    return params.others


def _table(name: str) -> tuple[Source, bytes]:
    """What is in a file, as an artifact would have it."""
    path = Path(name)
    if not path.is_file():
        raise Failed(f"{name} is no file; of an artifact give the --url of its service as well")
    try:
        if path.suffix == ".csv":
            return Source.TABLE, DataFrame.from_csv(path).encode()
        content = path.read_bytes()
        found: Any = msgspec.json.decode(content)
        if isinstance(found, list):
            return Source.TABLE, DataFrame.from_json(content).encode()
    except (InvalidBody, ValueError, KeyError, TypeError, OSError) as error:
        raise Invalid(f"{name} cannot be read: {error}") from error
    if isinstance(found, dict) and "columns" not in found:
        return (Source.BACKTEST if "by_horizon" in found else Source.CHART), content
    return Source.TABLE, content
