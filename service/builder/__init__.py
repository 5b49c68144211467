"""What a user calls to put a service together."""

from domain.configs import BaseConfig
from domain.hierarchy import ArtifactHierarchy
from domain.models import ModelRunner
from domain.registration import MLServiceInfo
from service.builder.apps import Apps
from service.builder.caching import CacheOffered
from service.builder.charts import ChartsOffered
from service.builder.models import Modelling
from service.builder.monitoring import Monitored
from service.builder.resources import Resources
from service.builder.transformations import TransformationsOffered

__all__ = ["MLServiceBuilder", "ServiceBuilder"]


class ServiceBuilder(Resources, Modelling, Apps, TransformationsOffered, ChartsOffered, CacheOffered, Monitored):
    """Collects what a service is made of; `build` checks it and returns the app.

    Every method returns the builder. A mistake is a `Misconfigured` with a sentence that says what to change, raised
    at the call that makes it or at `build`, never later. Two builders share nothing.
    """


class MLServiceBuilder(ServiceBuilder):
    """A service around a model in one call: health, system, configurations, artifacts, jobs and the model itself.

    `database_url` None is the environment's, or a SQLite file.
    """

    def __init__(
        self,
        info: MLServiceInfo,
        config_schema: type[BaseConfig],
        hierarchy: ArtifactHierarchy,
        runner: ModelRunner,
        *,
        database_url: str | None = None,
        include_logging: bool = True,
    ) -> None:
        super().__init__(info)
        self.with_database(database_url).with_health().with_system()
        self.with_config(config_schema).with_artifacts(hierarchy, enable_config_linking=True).with_ml(runner)
        self.with_models()
        if include_logging:
            self.with_logging()
