"""The Kubernetes manifests agree with each other, with the image and with what a worker does."""

import os
import signal
import subprocess
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from domain.workers import WorkerOptions
from service.settings import from_env
from service.worker import HEARTBEAT_SECONDS
from tests.processes import eventually, launched, millrace

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "k8s"


def manifest(name: str) -> Any:
    return yaml.safe_load((FOLDER / f"{name}.yaml").read_text())


DEPLOYMENT = manifest("deployment")
POD = DEPLOYMENT["spec"]["template"]["spec"]
CONTAINER = POD["containers"][0]
LABELS = DEPLOYMENT["spec"]["template"]["metadata"]["labels"]
WORKERS = manifest("worker")
WORKER_POD = WORKERS["spec"]["template"]["spec"]
WORKER = WORKER_POD["containers"][0]
WORKER_LABELS = WORKERS["spec"]["template"]["metadata"]["labels"]


def test_the_kustomization_names_every_manifest() -> None:
    resources = manifest("kustomization")["resources"]
    assert sorted([*resources, "kustomization.yaml"]) == sorted(path.name for path in FOLDER.glob("*.yaml"))


def test_the_kustomization_runs_this_version() -> None:
    images = {image["name"]: image["newTag"] for image in manifest("kustomization")["images"]}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert images == {CONTAINER["image"]: project["version"]}
    assert WORKER["image"] == CONTAINER["image"]


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


@pytest.mark.parametrize(
    "selector",
    [
        WORKERS["spec"]["selector"]["matchLabels"],
        WORKER_POD["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"],
    ],
    ids=["deployment", "spread"],
)
def test_the_selectors_of_workers_find_workers_and_nothing_else_does(selector: dict[str, str]) -> None:
    assert selector.items() <= WORKER_LABELS.items()
    assert not manifest("service")["spec"]["selector"].items() <= WORKER_LABELS.items()
    assert not DEPLOYMENT["spec"]["selector"]["matchLabels"].items() <= WORKER_LABELS.items()


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


@pytest.mark.parametrize(
    "deployment, port", [(DEPLOYMENT, "PORT"), (WORKERS, "MILLRACE_METRICS_PORT")], ids=["service", "worker"]
)
def test_prometheus_is_told_where_the_metrics_are(deployment: Any, port: str) -> None:
    template = deployment["spec"]["template"]
    [container] = template["spec"]["containers"]
    number = {variable["name"]: variable.get("value") for variable in container["env"]}[port]
    assert template["metadata"]["annotations"] == {
        "prometheus.io/scrape": "true",
        "prometheus.io/port": number,
        "prometheus.io/path": "/metrics",
    }
    assert number in {str(port["containerPort"]) for port in container["ports"]}
    # A worker with a port refuses to run what shows nothing.
    assert ".with_monitoring()" in (ROOT / "examples" / "rainfall" / "main.py").read_text()


def test_a_disruption_leaves_a_replica_and_can_still_happen() -> None:
    assert 0 < manifest("pdb")["spec"]["minAvailable"] < DEPLOYMENT["spec"]["replicas"]


@pytest.mark.parametrize("pod", [POD, WORKER_POD], ids=["service", "worker"])
def test_a_pod_is_not_root_and_may_write_to_its_volumes_only(pod: Any) -> None:
    [container] = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    user = f"{pod['securityContext']['runAsUser']}:{pod['securityContext']['runAsGroup']}"
    assert f"\nUSER {user}\n" in (ROOT / "Dockerfile").read_text()
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounts == {"data": "/data", "storage": "/storage", "tmp": "/tmp"}
    assert {volume["name"] for volume in pod["volumes"]} == mounts.keys()


@pytest.mark.parametrize("pod", [POD, WORKER_POD], ids=["service", "worker"])
def test_content_is_kept_in_one_folder_that_all_pods_share_and_that_outlives_them(pod: Any) -> None:
    [container] = pod["containers"]
    variables = {variable["name"]: variable.get("value") for variable in container["env"]}
    settings = from_env({name: value for name, value in variables.items() if value})
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    claimed = volumes[mounts[str(settings.storage)]]["persistentVolumeClaim"]["claimName"]
    claim = manifest("storage")
    assert (claim["kind"], claim["metadata"]["name"]) == ("PersistentVolumeClaim", claimed)
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    assert claim["spec"]["resources"]["requests"]["storage"] == "10Gi"


@pytest.mark.parametrize("container", [CONTAINER, WORKER], ids=["service", "worker"])
def test_the_database_and_the_redis_are_secrets_that_the_kustomization_says_how_to_make(container: Any) -> None:
    variables = {variable["name"]: variable for variable in container["env"]}
    for name, key in (("DATABASE_URL", "database-url"), ("REDIS_URL", "redis-url")):
        assert variables[name]["valueFrom"]["secretKeyRef"] == {"name": "millrace", "key": key}
        assert f"--from-literal={key}=" in (FOLDER / "kustomization.yaml").read_text()
    assert variables["LOG_FORMAT"]["value"] == "json"


def test_a_worker_gets_the_time_that_it_takes_to_stop() -> None:
    options = WorkerOptions()
    assert WORKER_POD["terminationGracePeriodSeconds"] > options.grace_seconds + options.lease_seconds + 5


def test_a_worker_runs_what_the_image_serves() -> None:
    assert WORKER["args"][:2] == ["worker", "/app/main.py"]
    image = (ROOT / "Dockerfile").read_text()
    assert 'CMD ["serve", "/app/main.py"]' in image
    assert "\nCOPY examples/rainfall/ /app/\n" in image
    assert ".with_tasks(" in (ROOT / "examples" / "rainfall" / "main.py").read_text()


@pytest.fixture
def probe(tmp_path: Path) -> Callable[[str], bool]:
    """Carries out a probe of the worker, with another folder in the place of `/tmp`."""

    def passes(name: str) -> bool:
        command = [word.replace("/tmp/", f"{tmp_path}/") for word in WORKER[name]["exec"]["command"]]
        return subprocess.run(command, stderr=subprocess.DEVNULL, timeout=10).returncode == 0

    return passes


def test_the_probes_know_whether_a_worker_is_there_and_well(tmp_path: Path, probe: Callable[[str], bool]) -> None:
    assert not probe("startupProbe")
    arguments = [word.replace("/tmp/", f"{tmp_path}/") for word in WORKER["args"][2:]]
    example = str(ROOT / "examples" / "rainfall" / "main.py")
    with launched(example, *arguments, folder=tmp_path, command="worker") as worker:
        eventually(lambda: probe("startupProbe"))
        assert probe("livenessProbe")
        heartbeat = Path(arguments[-1])
        first = heartbeat.stat().st_mtime
        eventually(lambda: heartbeat.stat().st_mtime > first)
        # Stuck for longer than a minute; the file is what a probe sees of that.
        worker.process.send_signal(signal.SIGSTOP)
        os.utime(heartbeat, (time.time() - 70, time.time() - 70))
        assert not probe("livenessProbe")
        worker.process.send_signal(signal.SIGCONT)
        assert worker.end() == 0
    assert not probe("startupProbe")


def test_a_heartbeat_that_cannot_be_written_is_said_at_the_start(tmp_path: Path) -> None:
    example = str(ROOT / "examples" / "rainfall" / "main.py")
    ended = millrace("worker", example, "--heartbeat", str(tmp_path / "nowhere" / "file"), folder=tmp_path)
    assert ended.returncode == 2
    assert "nowhere/file cannot be written: No such file or directory" in ended.stderr


def test_a_heartbeat_is_missed_several_times_before_a_worker_counts_as_stuck() -> None:
    assert HEARTBEAT_SECONDS * 5 < 60
