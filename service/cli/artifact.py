"""`millrace artifact`: list and download what models have left, from any running service of this contract."""

import io
import re
import zipfile
from pathlib import Path
from typing import Annotated

import typer

from service.cli.output import Failed, say, tabulate
from service.cli.remote import LOCAL, Remote, UrlOption

commands = typer.Typer(help="List and download artifacts.", no_args_is_help=True)
_PATH = "/api/v1/artifacts"


@commands.command()
def ls(
    url: UrlOption = LOCAL,
    kind: Annotated[str | None, typer.Option("--type", "-t", help="Only of this type.", show_default=False)] = None,
) -> None:
    """List artifacts: id, level, type, media type, size, when it was made."""
    rows = []
    with Remote(url) as remote:
        found = remote.ask("GET", _PATH)
    for item in found:
        data = item["data"] if isinstance(item["data"], dict) else {}
        if kind is None or data.get("type") == kind:
            shown = (item["id"], item["level"], data.get("type"), data.get("content_type"), data.get("content_size"))
            rows.append([*("-" if cell is None else str(cell) for cell in shown), item["created_at"]])
    if rows:
        tabulate(("id", "level", "type", "media type", "bytes", "created"), rows)


@commands.command()
def download(
    id: Annotated[str, typer.Argument(metavar="ID", help="The id of the artifact.")],
    url: UrlOption = LOCAL,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Where to put it.", show_default=False)] = None,
    is_extracting: Annotated[bool, typer.Option("--extract", "-x", help="Unpack an archive into a folder.")] = False,
    is_forced: Annotated[bool, typer.Option("--force", "-f", help="Overwrite what is there.")] = False,
) -> None:
    """Download the content of an artifact."""
    with Remote(url) as remote:
        reply = remote.send("GET", f"{_PATH}/{id}/$download")
    if reply.status_code != 200:
        raise Failed(f"artifact {id} cannot be downloaded: {reply.status_code} {reply.text[:300]}")
    found = re.search(r"filename=([\w.-]+)", reply.headers.get("content-disposition", ""))
    target = output or Path(found[1] if found else f"artifact_{id}.bin")
    if is_extracting:
        target = target if output is not None else target.with_suffix("")
    if target.exists() and not is_forced:
        raise Failed(f"{target} is there already: give another --output, or --force")
    if not is_extracting:
        target.write_bytes(reply.content)
    else:
        _extract(reply.content, target)
    say(f"{target}  {len(reply.content)} bytes")


def _extract(content: bytes, folder: Path) -> None:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for name in archive.namelist():
                if not (folder / name).resolve().is_relative_to(folder.resolve()):
                    raise Failed(f"the archive holds {name!r}, which leads out of {folder}; nothing was unpacked")
            archive.extractall(folder)
    except zipfile.BadZipFile:
        raise Failed("the content is no archive: leave --extract out") from None
