"""Configurations, artifacts, a model, and whom the service makes itself known to."""

from collections.abc import Sequence
from typing import Any, Self

from domain.artifacts import ARTIFACTS
from domain.configs import CONFIGS, BaseConfig, ConfigSchema
from domain.errors import Misconfigured
from domain.hierarchy import ArtifactHierarchy
from domain.model_versions import MODELS
from domain.models import ModelRunner, check_runner
from domain.orchestrator import RegistrationOptions
from domain.pipelines import Pipeline
from infra.runners.models.gathering import pack_pipeline
from service.builder.background import BackgroundWork
from service.builder.core import checked_prefix
from service.choices import ArtifactPlan, ConfigPlan, MLPlan, ModelsPlan
from service.http.crud import Permissions
from service.managers.configs import DEFAULT_MOST


class Modelling(BackgroundWork):
    """What surrounds a model."""

    def with_config(
        self,
        schema: type[BaseConfig],
        prefix: str = "/api/v1/configs",
        *,
        max_configs: int = DEFAULT_MOST,
        tags: Sequence[str] = ("configs",),
        permissions: Permissions | None = None,
    ) -> Self:
        """Offer configurations whose data is a `schema`: a Struct that derives from `BaseConfig`.

        There may be `max_configs` of them; one more is a conflict.
        """
        if max_configs < 1:
            raise Misconfigured(f"with_config(max_configs={max_configs}): at least 1")
        self._choices.config = ConfigPlan(
            CONFIGS.at(checked_prefix("with_config", prefix)),
            ConfigSchema(schema),
            permissions or Permissions(),
            tuple(tags),
            max_configs,
        )
        return self

    def with_artifacts(
        self,
        hierarchy: ArtifactHierarchy | None = None,
        prefix: str = "/api/v1/artifacts",
        *,
        enable_config_linking: bool = False,
        tags: Sequence[str] = ("artifacts",),
        permissions: Permissions | None = None,
    ) -> Self:
        """Offer artifacts: JSON and files in trees whose levels `hierarchy` names.

        With `enable_config_linking` whole trees may belong to configurations, and go with them.
        """
        self._choices.artifacts = ArtifactPlan(
            ARTIFACTS.at(checked_prefix("with_artifacts", prefix)),
            hierarchy,
            enable_config_linking,
            permissions or Permissions(),
            tuple(tags),
        )
        return self

    def with_ml(
        self,
        runner: ModelRunner,
        prefix: str = "/api/v1/ml",
        *,
        timeout_seconds: float | None = None,
        memory_mib: int | None = None,
        tags: Sequence[str] = ("ml",),
    ) -> Self:
        """Offer a model to be trained and to predict, as jobs in processes of their own.

        Each may take `timeout_seconds` and `memory_mib`. It needs configurations, artifacts and an `MLServiceInfo`.
        """
        check_runner(runner)
        self._choices.ml = MLPlan(runner, checked_prefix("with_ml", prefix), timeout_seconds, memory_mib, tuple(tags))
        return self.with_jobs() if self._choices.jobs is None else self

    def with_models(
        self,
        prefix: str = "/api/v1/models",
        *,
        tags: Sequence[str] = ("models",),
        permissions: Permissions | None = None,
    ) -> Self:
        """Offer models by name, with numbered versions of what was trained, and aliases such as `champion`."""
        self._choices.models = ModelsPlan(
            MODELS.at(checked_prefix("with_models", prefix)), permissions or Permissions(), tuple(tags)
        )
        return self

    def with_pipelines(self, *pipelines: Pipeline) -> Self:
        """Offer to train, try, promote, predict and draw in one go, as the task `ml.pipeline` with the pipeline's name.

        It can be submitted like any other task, and scheduled.
        """
        for pipeline in pipelines:
            pack_pipeline(pipeline)
        self._choices.pipelines += pipelines
        return self

    def with_registration(self, orchestrator_url: str | None = None, **options: Any) -> Self:
        """Register with an orchestrator while the service runs; without a URL for it nothing happens.

        `options` are the other fields of `RegistrationOptions`.
        """
        try:
            self._choices.registration = RegistrationOptions(orchestrator_url=orchestrator_url, **options)
        except TypeError as error:
            raise Misconfigured(f"with_registration(): {error}") from None
        return self
