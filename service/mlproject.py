"""Serves an MLproject directory as it is."""

from collections.abc import Mapping
from pathlib import Path

import yaml

from domain.configs import BaseConfig
from domain.errors import Misconfigured
from domain.hierarchy import ArtifactHierarchy
from domain.mlproject import MLProject, parse_project
from domain.models import ShellModelRunner
from service.builder import MLServiceBuilder

NAMES = ("MLproject", "MLproject.yaml", "MLproject.yml")


def read_project(folder: Path, files: Mapping[str, str]) -> MLProject:
    """What the MLproject file of a folder says. Raises `Misconfigured`."""
    found = next((folder / name for name in NAMES if (folder / name).is_file()), None)
    if found is None:
        raise Misconfigured(f"there is none of {', '.join(NAMES)} in {folder.absolute()}")
    try:
        given = yaml.safe_load(found.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise Misconfigured(f"{found} cannot be read: {error}") from None
    return parse_project(given, files)


def project_builder(folder: Path, project: MLProject, options: type[BaseConfig]) -> MLServiceBuilder:
    """The service around a project's commands."""
    runner = ShellModelRunner(
        project.train_command,
        project.predict_command,
        config_format=project.config_format,
        adapters=project.adapters,
        project=folder,
    )
    hierarchy = ArtifactHierarchy(project.info.id, {0: "model", 1: "prediction", 2: "workspace"})
    builder = MLServiceBuilder(project.info, options, hierarchy, runner)
    builder.with_registration()
    return builder
