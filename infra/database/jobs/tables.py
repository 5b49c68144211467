"""Where jobs are kept, with everything that is known of them, and who works on them."""

from piccolo.columns import JSONB, BigInt, BigSerial, Boolean, DoublePrecision, Integer, Text, Timestamptz, Varchar
from piccolo.table import Table

from infra.database.current import CURRENT_ENGINE
from infra.database.table import EntityTable, Ulid


class Jobs(EntityTable, tablename="millrace_jobs"):
    """One row per job: the truth about it. Its partial indexes are made by the migration."""

    status = Varchar(length=20)
    submitted_at = Timestamptz(index=True)
    started_at = Timestamptz(null=True, default=None)
    finished_at = Timestamptz(null=True, default=None)
    error = Text(null=True, default=None)
    error_traceback = Text(null=True, default=None)
    artifact_id = Ulid(null=True)
    state = Varchar(length=20)
    kind = Varchar(length=100)
    label = Varchar(length=200, null=True, default=None)
    queue = Varchar(length=100)
    priority = Integer()
    args = JSONB()
    run_at = Timestamptz()
    attempt = Integer()
    max_attempts = Integer(default=1)
    losses = Integer()
    retry_policy = JSONB()
    timeout_seconds = DoublePrecision(null=True, default=None)
    unique_key = Varchar(length=200, null=True, default=None)
    concurrency_key = Varchar(length=200, null=True, default=None)
    concurrency_limit = Integer(default=1)
    progress = JSONB(null=True, default=None)
    result_ref = Varchar(length=100, null=True, default=None)
    graph_id = Ulid(null=True, index=True)
    node = Varchar(length=100, null=True, default=None)
    waits_for = Integer()
    schedule_id = Ulid(null=True, index=True)
    fire_at = Timestamptz(null=True, default=None)
    worker_id = Ulid(null=True)
    trace_id = Varchar(length=128, null=True, default=None)
    principal = Varchar(length=200, default="anonymous")
    tenant = Varchar(length=200, default="default")
    traceparent = Varchar(length=55, null=True, default=None)
    revision = BigInt(default=1)
    result = JSONB(null=True, default=None)
    lease_token = Ulid(null=True)
    lease_until = Timestamptz(null=True, default=None)


class JobEvents(Table, tablename="millrace_job_events", db=CURRENT_ENGINE):
    """What happened to jobs; rows are added and never changed."""

    id = BigSerial(primary_key=True)
    job_id = Ulid(index=True)
    at = Timestamptz()
    type = Varchar(length=20)
    attempt = Integer()
    worker_id = Ulid(null=True)
    detail = Text(null=True, default=None)


class JobLogs(Table, tablename="millrace_job_logs", db=CURRENT_ENGINE):
    """What jobs wrote, a line each."""

    id = BigSerial(primary_key=True)
    job_id = Ulid(index=True)
    at = Timestamptz()
    attempt = Integer()
    stream = Varchar(length=10)
    text = Text()


class JobEdges(Table, tablename="millrace_job_edges", db=CURRENT_ENGINE):
    """Which job waits for which, and how that must end."""

    id = BigSerial(primary_key=True)
    parent_id = Ulid(index=True)
    child_id = Ulid(index=True)
    condition = Varchar(length=10)


class Graphs(EntityTable, tablename="millrace_graphs"):
    """Jobs that were submitted together because they depend on each other."""

    label = Varchar(length=200, null=True, default=None)
    submitted_at = Timestamptz()
    size = Integer()
    trace_id = Varchar(length=128, null=True, default=None)
    principal = Varchar(length=200, default="anonymous")
    tenant = Varchar(length=200, default="default")


class Workers(Table, tablename="millrace_workers", db=CURRENT_ENGINE):
    """The workers there are, and when each was last heard of."""

    id = Ulid(primary_key=True)
    host = Varchar(length=255)
    pid = Integer()
    queues = JSONB()
    kinds = JSONB()
    concurrency = Integer()
    running = Integer()
    is_draining = Boolean()
    processes = Integer(default=1)
    busy_processes = Integer()
    started_at = Timestamptz()
    seen_at = Timestamptz()
