"""What is said once a service runs: where it is, where its data is, and three things to try."""

from rich.console import Console
from rich.text import Text

from service.cli.suggestions import suggestions
from service.container import location
from service.http.application import Service

_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 - it is what people listen at, not we


def show_banner(app: Service, host: str, port: int) -> None:
    """Print it to stdout; lines are whole, so that they can be copied."""
    url = f"http://{_ANYWHERE.get(host, f'[{host}]' if ':' in host else host)}:{port}"
    console = Console(highlight=False, emoji=False)
    title = Text.assemble("\n", (app.info.display_name, "bold"), " ", (app.info.version, "dim"))
    facts = [("service", url), ("docs", f"{url}/docs"), ("data", location(app.settings, app.design))]
    lines = [title, *(Text.assemble("  ", (f"{name:<8}", "dim"), value) for name, value in facts)]
    lines += [Text("\nThree things to try:", "bold"), *(Text(f"  {command}") for command in suggestions(app, url))]
    for line in [*lines, Text()]:
        console.print(line, soft_wrap=True)
    console.file.flush()
