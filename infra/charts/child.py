"""The process that draws: reads specs from its standard input, writes what they look like to its standard output."""

import importlib.util
import json
import resource
import signal
import struct
import sys
from typing import Any, BinaryIO

from domain.charts.kinds import Format
from domain.charts.page import page
from infra.charts.network import refuse_network

VEGA_LITE = "5.21"
PNG_SCALE = 2.0
HEADER = struct.Struct("!BI")
"""Of a request: which format, how many bytes. Of a reply: 0 for a picture, 1 for the reason why there is none."""
FORMATS = tuple(Format)


def main(seconds: int) -> None:
    """Draw until the input ends; a drawing that takes much longer than `seconds` ends the process."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    refuse_network()
    # The parent kills what takes too long; if it is gone itself, this does.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    source, target = sys.stdin.buffer, sys.stdout.buffer
    while header := source.read(HEADER.size):
        number, size = HEADER.unpack(header)
        signal.alarm(seconds + 5)
        _reply(target, FORMATS[number], source.read(size))
        signal.alarm(0)


def _reply(target: BinaryIO, format: Format, spec: bytes) -> None:
    try:
        status, content = 0, drawn(json.loads(spec), format)
    except ValueError as error:
        status, content = 1, str(error).encode(errors="replace")
    target.write(HEADER.pack(status, len(content)) + content)
    target.flush()


def drawn(spec: dict[str, Any], format: Format) -> bytes:
    """What a spec looks like. Raises `ValueError` for one that cannot be drawn."""
    import vl_convert

    if format is Format.PNG:
        picture: bytes = vl_convert.vegalite_to_png(spec, vl_version=VEGA_LITE, scale=PNG_SCALE, allowed_base_urls=[])
        return picture
    if format is Format.SVG:
        return str(vl_convert.vegalite_to_svg(spec, vl_version=VEGA_LITE, allowed_base_urls=[])).encode()
    vega = vl_convert.vegalite_to_vega(spec, vl_version=VEGA_LITE)
    library = vl_convert.javascript_bundle(None, vl_version=VEGA_LITE)  # type: ignore[arg-type]
    return page(spec, vega, library).encode()


def is_installed() -> bool:
    """Whether there is what draws."""
    return importlib.util.find_spec("vl_convert") is not None


if __name__ == "__main__":
    main(int(sys.argv[1]))
