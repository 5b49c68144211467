"""A chart as a page that needs nothing else: no request leaves it, and no text in it is run."""

import base64
import hashlib
import html
from typing import Any

import msgspec

_DRAW = """
const spec = JSON.parse(document.getElementById("spec").textContent);
const actions = {export: true, source: false, compiled: false, editor: false};
vegaEmbed("#chart", spec, {renderer: "svg", mode: "vega", ast: true, actions}).catch(console.error);
"""
_STYLE = """
:root { color-scheme: light; }
body { margin: 1.5rem; font: 16px/1.5 system-ui, sans-serif; color: #1b1b1b; background: #fff; }
figure { margin: 0; } figcaption { max-width: 45rem; margin-top: 1rem; }
#chart { overflow-x: auto; }
"""


def page(spec: dict[str, Any], vega: dict[str, Any], library: str) -> str:
    """The page of a spec, which is `vega` once it is compiled. `library` is JavaScript that defines `vegaEmbed`."""
    # The library would complain about its version.
    vega = {name: member for name, member in vega.items() if name != "$schema"}
    # Text of the client's can stand in here, so nothing may end the element it is in.
    library = library.replace("</script", "<\\/script")
    data = msgspec.json.encode(vega).decode().replace("<", "\\u003c").replace("\u2028", "\\u2028")
    scripts = " ".join(f"'sha256-{_hash(script)}'" for script in (library, _DRAW))
    policy = f"default-src 'none'; script-src {scripts}; style-src 'unsafe-inline'; img-src data:; base-uri 'none'"
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}; form-action 'none'">
<meta name="viewport" content="width=device-width">
<title>{html.escape(_title(spec))}</title>
<style>{_STYLE}</style>
</head>
<body>
<main><figure><div id="chart"></div><figcaption>{html.escape(str(spec.get("description", "")))}</figcaption></figure>
</main>
<script type="application/json" id="spec">{data}</script>
<script>{library}</script>
<script>{_DRAW}</script>
</body>
</html>
"""


def _hash(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _title(spec: dict[str, Any]) -> str:
    title = spec.get("title")
    if isinstance(title, dict):
        title = title.get("text")
    return title if isinstance(title, str) and title else "Chart"
