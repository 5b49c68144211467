"""Static apps."""

from typing import Self

from infra.apps.find import Source, find_app, find_apps
from service.builder.core import Core


class Apps(Core):
    """What is served as it lies in folders."""

    def with_app(self, source: Source, prefix: str | None = None) -> Self:
        """Mount a static app: a folder beside your module, or `(package, folder in it)`, with its `manifest.json`.

        `prefix` replaces that of the manifest.
        """
        self._choices.apps.append(find_app(self._placed(source), prefix))
        return self

    def with_apps(self, source: Source) -> Self:
        """Mount every static app in the folders inside of a folder; a broken one is left out with a warning."""
        self._choices.apps += find_apps(self._placed(source))
        return self

    def _placed(self, source: Source) -> Source:
        return source if isinstance(source, tuple) else self._choices.folder / source
