"""The Kubernetes manifests agree with each other and with the image."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "k8s"


def manifest(name: str) -> Any:
    return yaml.safe_load((FOLDER / f"{name}.yaml").read_text())


DEPLOYMENT = manifest("deployment")
POD = DEPLOYMENT["spec"]["template"]["spec"]
CONTAINER = POD["containers"][0]
LABELS = DEPLOYMENT["spec"]["template"]["metadata"]["labels"]


def test_the_kustomization_names_every_manifest() -> None:
    resources = manifest("kustomization")["resources"]
    assert sorted([*resources, "kustomization.yaml"]) == sorted(path.name for path in FOLDER.glob("*.yaml"))


def test_the_kustomization_runs_this_version() -> None:
    images = {image["name"]: image["newTag"] for image in manifest("kustomization")["images"]}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert images == {CONTAINER["image"]: project["version"]}


@pytest.mark.parametrize(
    "selector",
    [
        DEPLOYMENT["spec"]["selector"]["matchLabels"],
        POD["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"],
        manifest("service")["spec"]["selector"],
        manifest("pdb")["spec"]["selector"]["matchLabels"],
    ],
    ids=["deployment", "spread", "service", "disruption budget"],
)
def test_every_selector_finds_the_pods(selector: dict[str, str]) -> None:
    assert selector.items() <= LABELS.items()


def test_the_service_sends_requests_to_a_port_that_the_container_has() -> None:
    ports = {port["name"]: port["containerPort"] for port in CONTAINER["ports"]}
    assert [port["targetPort"] for port in manifest("service")["spec"]["ports"]] == ["http"]
    assert ports == {"http": 8000}
    assert {variable["name"]: variable.get("value") for variable in CONTAINER["env"]}["PORT"] == str(ports["http"])


@pytest.mark.parametrize(
    ("probe", "path"),
    [("startupProbe", "/health/live"), ("livenessProbe", "/health/live"), ("readinessProbe", "/health/ready")],
)
def test_every_probe_asks_the_right_question_at_the_right_port(probe: str, path: str) -> None:
    assert CONTAINER[probe]["httpGet"] == {"path": path, "port": "http"}


def test_a_disruption_leaves_a_replica_and_can_still_happen() -> None:
    assert 0 < manifest("pdb")["spec"]["minAvailable"] < DEPLOYMENT["spec"]["replicas"]


def test_the_pod_is_not_root_and_may_write_to_its_volumes_only() -> None:
    assert POD["securityContext"]["runAsNonRoot"] is True
    user = f"{POD['securityContext']['runAsUser']}:{POD['securityContext']['runAsGroup']}"
    assert f"\nUSER {user}\n" in (ROOT / "Dockerfile").read_text()
    assert CONTAINER["securityContext"]["readOnlyRootFilesystem"] is True
    assert CONTAINER["securityContext"]["allowPrivilegeEscalation"] is False
    mounts = {mount["name"]: mount["mountPath"] for mount in CONTAINER["volumeMounts"]}
    assert mounts == {"data": "/data", "tmp": "/tmp"}
    assert {volume["name"] for volume in POD["volumes"]} == mounts.keys()


def test_the_database_is_a_secret() -> None:
    variables = {variable["name"]: variable for variable in CONTAINER["env"]}
    assert variables["DATABASE_URL"]["valueFrom"]["secretKeyRef"] == {"name": "millrace", "key": "database-url"}
    assert variables["LOG_FORMAT"]["value"] == "json"
