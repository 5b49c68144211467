"""The product's own tables, for migrations."""

from pathlib import Path

from infra.database.artifacts import Artifacts
from infra.database.configs import ConfigArtifacts, Configs
from infra.database.generations.counts import Counts
from infra.database.idempotency import IdempotencyKeys
from infra.database.jobs.tables import Graphs, JobEdges, JobEvents, JobLogs, Jobs, Workers
from infra.database.model_versions import AliasMoves, Models, ModelVersions
from infra.database.piccolo_environment import MigrationApp
from infra.database.schedules import Schedules, Ticks
from infra.database.secrets import Secrets

PRODUCT = MigrationApp(
    name="millrace",
    tables=(
        *(Secrets, Jobs, JobEvents, JobLogs, JobEdges, Graphs, Workers, Schedules, Ticks),
        *(Configs, Artifacts, ConfigArtifacts),
        *(Models, ModelVersions, AliasMoves),
        Counts,
        IdempotencyKeys,
    ),
    directory=Path(__file__).parent / "migrations",
)
