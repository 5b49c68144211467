"""Has the best of several candidates promoted, by the scores of a backtest."""

import msgspec

from domain.errors import NotFound
from domain.gates import GateNotMet
from domain.model_jobs import BACKTEST_REPORT
from domain.model_versions import ModelVersion, NewVersion
from domain.pipelines import Candidate, Promoted, PromoteJob
from domain.ports import Transactions
from service.managers.model_artifacts import ModelArtifacts
from service.managers.model_versions import ModelVersions


class Promotions:
    """Promotions that pipelines ask for."""

    def __init__(self, versions: ModelVersions, artifacts: ModelArtifacts, transactions: Transactions) -> None:
        self._versions = versions
        self._artifacts = artifacts
        self._transactions = transactions

    async def promote(self, asked: PromoteJob) -> Promoted:
        """Make a version of each candidate, and have the alias point to the best if the gate is met.

        What was done before, by a run of the same job that was lost, is not done again. Raises `ValueError` when there
        is no report.
        """
        scores = await self._scores(asked)
        async with self._transactions.transaction():
            await self._versions.ensure_model(asked.model)
            made = {one.name: await self._version(asked, one, scores[one.name]) for one in asked.candidates}
        best = min(scores, key=lambda name: (scores[name][asked.score], name))
        reason = None
        try:
            await self._versions.promote(asked.model, made[best].number, asked.alias, asked.gate)
        except GateNotMet as error:
            reason = error.detail
        champion = await self._champion(asked)
        return Promoted(
            model=asked.model,
            best=best,
            version=made[best].number,
            champion=champion,
            is_promoted=champion == made[best].number,
            reason=reason,
        )

    async def _scores(self, asked: PromoteJob) -> dict[str, dict[str, float]]:
        """What a report says of each candidate as a whole, without what is not known."""
        report = await self._artifacts.forecast(asked.report_id, BACKTEST_REPORT)
        if report is None or report.content_sha256 is None:
            raise ValueError(f"There is no report {asked.report_id} to choose by")
        content = await self._artifacts.storage.read(report.content_sha256)
        overall = msgspec.json.decode(content, type=_Report).overall
        found = {}
        for one in asked.candidates:
            metrics = overall.get(one.name, {})
            found[one.name] = {name: value for name, value in metrics.items() if value is not None}
            if asked.score not in found[one.name]:
                raise ValueError(f'Report {asked.report_id} has no "{asked.score}" of {one.name}')
        return found

    async def _version(self, asked: PromoteJob, one: Candidate, metrics: dict[str, float]) -> ModelVersion:
        known = await self._versions.of_artifact(asked.model, one.artifact_id)
        if known is not None:
            return known
        description = f"{one.name}, with the scores of backtest {asked.report_id}"
        new = NewVersion(artifact_id=one.artifact_id, metrics=metrics, description=description)
        return await self._versions.create(asked.model, new)

    async def _champion(self, asked: PromoteJob) -> int | None:
        try:
            return (await self._versions.resolve(f"{asked.model}@{asked.alias}")).number
        except NotFound:
            return None


class _Report(msgspec.Struct, frozen=True):
    overall: dict[str, dict[str, float | None]]
