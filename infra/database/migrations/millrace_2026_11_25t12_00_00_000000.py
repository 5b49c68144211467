from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from infra.database.jobs.tables import Jobs

ID = "2026-11-25T12:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "indexes of jobs and ticks"

# Partial, so that their size goes with the work that is left and not with the work that was done.
INDEXES = {
    # The last columns are not searched for: by them what stands first and is for others is passed over quickly.
    "millrace_jobs_claim": (
        "ON millrace_jobs (queue, priority DESC, run_at, id, kind) WHERE state = 'queued' AND concurrency_key IS NULL"
    ),
    "millrace_jobs_keyed": (
        "ON millrace_jobs (queue, priority DESC, run_at, id, kind, concurrency_key) "
        "WHERE state = 'queued' AND concurrency_key IS NOT NULL"
    ),
    "millrace_jobs_risky": "ON millrace_jobs (losses) WHERE state = 'queued' AND losses > 0",
    "millrace_jobs_later": "ON millrace_jobs (run_at) WHERE state IN ('scheduled', 'retrying')",
    "millrace_jobs_leases": "ON millrace_jobs (lease_until) WHERE status = 'running'",
    "millrace_jobs_slots": (
        "ON millrace_jobs (concurrency_key) WHERE status = 'running' AND concurrency_key IS NOT NULL"
    ),
    "millrace_jobs_finished": "ON millrace_jobs (finished_at, id) WHERE finished_at IS NOT NULL",
    "millrace_jobs_state": "ON millrace_jobs (state, id)",
}
UNIQUE_INDEXES = {
    "millrace_jobs_unique": (
        "ON millrace_jobs (unique_key) WHERE unique_key IS NOT NULL AND status IN ('pending', 'running')"
    ),
    "millrace_job_edges_pair": "ON millrace_job_edges (parent_id, child_id)",
    "millrace_ticks_once": "ON millrace_ticks (schedule_id, fire_at)",
}


async def forwards():
    manager = MigrationManager(migration_id=ID, app_name="millrace", description=DESCRIPTION)

    async def create():
        for name, definition in INDEXES.items():
            await Jobs.raw(f"CREATE INDEX {name} {definition}")
        for name, definition in UNIQUE_INDEXES.items():
            await Jobs.raw(f"CREATE UNIQUE INDEX {name} {definition}")

    async def drop():
        for name in (*INDEXES, *UNIQUE_INDEXES):
            await Jobs.raw(f"DROP INDEX {name}")

    manager.add_raw(create)
    manager.add_raw_backwards(drop)
    return manager
