"""Everything that can be done with jobs in the database, in one place."""

from infra.database.jobs.claims import Claims
from infra.database.jobs.history import History
from infra.database.jobs.submissions import Submissions
from infra.database.jobs.upkeep import Upkeep


class JobDatabase(Submissions, Claims, History, Upkeep):
    """`domain.job_ports.JobQueue` for workers and `JobStore` for everybody else."""
