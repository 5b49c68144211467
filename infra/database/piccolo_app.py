"""The product's own tables, for migrations."""

from pathlib import Path

from infra.database.piccolo_environment import MigrationApp
from infra.database.secrets import Secrets

PRODUCT = MigrationApp(name="millrace", tables=(Secrets,), directory=Path(__file__).parent / "migrations")
