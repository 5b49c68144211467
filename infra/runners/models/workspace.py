"""The directory that a script works in: a copy of the project, the inputs as files, and afterwards one archive."""

import fnmatch
import os
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import yaml

from domain.errors import Invalid
from domain.frames import DataFrame, FeatureCollection
from domain.model_runs import ContentKind, ModelFile

ZIP_MEDIA_TYPE = "application/zip"
LEFT_OUT = (
    *(".venv", "venv", "__pycache__", "*.pyc", "*.pyo", "*.egg-info", ".pytest_cache", ".mypy_cache", ".ruff_cache"),
    *("node_modules", ".git", ".gitignore", ".vscode", ".idea", ".DS_Store", "build", "dist", "*.so", "*.dylib"),
    *("*.db", "*.sqlite", "*.sqlite3", "*-wal", "*-shm", "*-journal"),
)
"""What is not copied, at any depth: what can be made again, and databases."""

RESERVED = ("prediction_periods", "additional_continuous_covariates")
MOST_UNPACKED_BYTES = 8 * 1024**3
MOST_FILES = 100_000


def copy_project(project: Path, workspace: Path, *, without: Path | None = None) -> None:
    """Copy the author's files; `without` is a folder in the project that holds workspaces itself."""

    def ignored(folder: str, names: list[str]) -> set[str]:
        left = {name for name in names if any(fnmatch.fnmatch(name, pattern) for pattern in LEFT_OUT)}
        left |= {name for name in names if without is not None and Path(folder, name).resolve() == without.resolve()}
        return left

    shutil.copytree(project, workspace, symlinks=True, ignore=ignored, ignore_dangling_symlinks=True)


def write_config(workspace: Path, config: Mapping[str, Any], config_format: str) -> None:
    """Write `config.yml`, its keys in order."""
    content = dict(config)
    if config_format == "chap_core":
        options = {name: value for name, value in content.items() if name not in RESERVED}
        content = {name: value for name, value in content.items() if name in RESERVED}
        if options:
            content["user_option_values"] = options
    (workspace / "config.yml").write_text(yaml.safe_dump(content, sort_keys=True, allow_unicode=True))


def write_geo(workspace: Path, geo: FeatureCollection | None) -> str:
    """Write `geo.json` if there is anything to write; returns the name, or an empty text."""
    path = workspace / "geo.json"
    path.unlink(missing_ok=True)
    if geo is None:
        return ""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(geo), indent=2))
    return path.name


def write_frame(workspace: Path, name: str, frame: DataFrame, adapters: Mapping[str, str]) -> str:
    """Write a frame as CSV with the columns that adapters add; returns the name."""
    adapted(frame, adapters).to_csv(workspace / name)
    return name


def adapted(frame: DataFrame, adapters: Mapping[str, str]) -> DataFrame:
    """The frame with the columns that scripts know under other names. Raises `Invalid` naming what is missing."""
    for name, source in adapters.items():
        column = "time_period" if source in {"year", "month", "week"} else source
        if column not in frame.columns:
            raise Invalid(f'The adapter of "{name}" needs the column "{column}"; there are: {", ".join(frame.columns)}')
        cells = frame.get_column(column)
        values = cells if column == source else [_part(cell, source) for cell in cells]
        frame = frame.drop([name]) if name in frame.columns else frame
        frame = frame.add_column(name, values)
    return frame


def _part(period: Any, part: str) -> int | None:
    """The year, month or week of `2024-03` or `2024-W09`; None where it has none."""
    year, _, rest = str(period).partition("-")
    if part == "year":
        return int(year)
    if part == "week":
        return int(rest.removeprefix("W")) if rest.startswith("W") else None
    return None if rest.startswith("W") or not rest else int(rest[:2])


def pack_workspace(workspace: Path, folder: Path, name: str, *, is_signed: bool = False) -> ModelFile:
    """Make one archive of a workspace. The same files make the same bytes."""
    path = folder / name
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for file in sorted(_files(workspace)):
            entry = zipfile.ZipInfo(str(file.relative_to(workspace)))
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = (file.stat().st_mode & 0xFFFF) << 16
            with file.open("rb") as source, archive.open(entry, "w", force_zip64=True) as target:
                shutil.copyfileobj(source, target, 1024 * 1024)
    size = path.stat().st_size
    return ModelFile(name=name, kind=ContentKind.BYTES, media_type=ZIP_MEDIA_TYPE, size=size, is_signed=is_signed)


def _files(workspace: Path) -> Iterator[Path]:
    for folder, _, names in os.walk(workspace):
        for name in names:
            file = Path(folder, name)
            # A link that leads elsewhere is not part of the workspace.
            if file.is_file() and file.resolve().is_relative_to(workspace.resolve()):
                yield file


def unpack_workspace(archive: Path, workspace: Path) -> None:
    """Unpack an archive that `pack_workspace` has made. Raises `Invalid` for one that has other things in mind."""
    try:
        with zipfile.ZipFile(archive) as opened:
            entries = opened.infolist()
            if len(entries) > MOST_FILES or sum(entry.file_size for entry in entries) > MOST_UNPACKED_BYTES:
                raise Invalid(f"The workspace has more than {MOST_FILES} files or {MOST_UNPACKED_BYTES} bytes")
            for entry in entries:
                target = workspace / entry.filename
                if not target.resolve().is_relative_to(workspace.resolve()):
                    raise Invalid(f"The workspace holds {entry.filename!r}, which leads out of it")
            workspace.mkdir(parents=True, exist_ok=True)
            for entry in entries:
                opened.extract(entry, workspace)
                if mode := entry.external_attr >> 16 & 0o777:
                    (workspace / entry.filename).chmod(mode | 0o600)
    except (zipfile.BadZipFile, OSError, EOFError) as error:
        raise Invalid(f"The workspace of the training cannot be unpacked: {error}") from error
