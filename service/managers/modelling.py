"""The managers around a model, as the rest of a service is given them."""

import msgspec

from domain.errors import Unavailable
from service.managers.artifacts import ArtifactManager
from service.managers.backtests import Backtests
from service.managers.charts import ArtifactCharts
from service.managers.configs import ConfigManager
from service.managers.ml import Models
from service.managers.model_versions import ModelVersions


class Modelling(msgspec.Struct, frozen=True, kw_only=True):
    """What a service has of configurations, artifacts and a model; asking for what it has not is `Unavailable`."""

    opened_configs: ConfigManager | None = None
    opened_artifacts: ArtifactManager | None = None
    opened_models: Models | None = None
    opened_versions: ModelVersions | None = None
    opened_backtests: Backtests | None = None
    opened_charts: ArtifactCharts | None = None

    @property
    def configs(self) -> ConfigManager:
        """The configurations."""
        if self.opened_configs is None:
            raise Unavailable("This service has no configurations")
        return self.opened_configs

    @property
    def artifacts(self) -> ArtifactManager:
        """The artifacts."""
        if self.opened_artifacts is None:
            raise Unavailable("This service has no artifacts")
        return self.opened_artifacts

    @property
    def models(self) -> Models:
        """The model."""
        if self.opened_models is None:
            raise Unavailable("This service has no model")
        return self.opened_models

    @property
    def versions(self) -> ModelVersions:
        """The versions of models."""
        if self.opened_versions is None:
            raise Unavailable("This service has no versions of models")
        return self.opened_versions

    @property
    def backtests(self) -> Backtests:
        """Where models are tried on the past."""
        if self.opened_backtests is None:
            raise Unavailable("This service has no model")
        return self.opened_backtests

    @property
    def charts(self) -> ArtifactCharts:
        """The charts of artifacts."""
        if self.opened_charts is None:
            raise Unavailable("This service has no artifacts")
        return self.opened_charts
