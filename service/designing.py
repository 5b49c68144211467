"""What a service of a builder's choices opens, decided before anything is opened."""

import msgspec

from domain.errors import Misconfigured
from domain.jobs import DEFAULT_QUEUE
from domain.ml import ModelJob
from domain.model_jobs import BacktestJob, EnsembleJob, EvaluateJob
from domain.pipelines import job_of
from domain.registration import MLServiceInfo
from domain.tasks import Task, Tasks
from infra.database.table import bounds_of
from infra.runners.models.program import modules_of_program, pack
from infra.runners.models.tasks import ACTIONS, backtest, draw, ensemble, evaluate, pipeline, predict, promote, train
from infra.runners.modules import Module, module_of
from service.background import JobsDesign
from service.choices import Choices
from service.design import Design, ResourceDesign
from service.managers.configs import DEFAULT_MOST
from service.managers.monitoring import Monitoring
from service.modelling import ModelDesign, ModellingDesign
from service.replying import cache_design


def design_of(choices: Choices, monitoring: Monitoring | None = None) -> Design:
    """What is to be opened. Raises `Misconfigured` for a folder of migrations that is not there."""
    folder = choices.folder / (choices.migrations or "migrations")
    if choices.migrations is not None and not folder.is_dir():
        raise Misconfigured(f"with_database(migrations={str(choices.migrations)!r}): there is no folder {folder}")
    return Design(
        name=choices.info.id,
        database=choices.database,
        migrations=folder if any(file.name != "__init__.py" for file in folder.glob("*.py")) else None,
        migrations_home=folder,
        resources=tuple(
            ResourceDesign(resource=item.resource.bounded(bounds_of(item.table)), table=item.table, hooks=item.hooks)
            for item in choices.resources
        ),
        jobs=_jobs_design(choices),
        modelling=_modelling_design(choices),
        cache=cache_design(choices),
        code_revision=choices.info.git_revision if isinstance(choices.info, MLServiceInfo) else None,
        monitoring=monitoring,
    )


def _jobs_design(choices: Choices) -> JobsDesign | None:
    if choices.jobs is None:
        return None
    tasks = Tasks([*choices.tasks, *_model_tasks(choices)])
    return JobsDesign(
        tasks=tasks,
        options=msgspec.structs.replace(choices.jobs.options, queues=tasks.queues or (DEFAULT_QUEUE,)),
        retention=choices.jobs.retention,
        start_method=choices.jobs.start_method,
        modules=_model_modules(choices),
    )


def _model_tasks(choices: Choices) -> list[Task]:
    """What models run as. A job has the ids of what it is for; the rest is put in when it runs."""
    plan = choices.ml
    if plan is None:
        return []
    limits = {"timeout_seconds": plan.timeout_seconds, "memory_mib": plan.memory_mib}
    kinds = {train: ModelJob, predict: ModelJob, ensemble: EnsembleJob, evaluate: EvaluateJob, backtest: BacktestJob}
    wholes = {ensemble, backtest}
    made = [
        msgspec.structs.replace(task, args=args, is_internal=True, is_whole=task in wholes, **limits)
        for task, args in kinds.items()
    ]
    if choices.models is not None:
        made.append(msgspec.structs.replace(promote, is_internal=True))
    if choices.pipelines:
        made += [
            msgspec.structs.replace(pipeline, args=job_of(choices.pipelines)),
            msgspec.structs.replace(draw, is_internal=True),
        ]
    return made


def _model_modules(choices: Choices) -> tuple[Module, ...]:
    if choices.ml is None or choices.config is None:
        return ()
    modules = modules_of_program(choices.ml.runner, choices.config.schema.kind)
    return tuple(dict.fromkeys([*modules, ACTIONS, *(module_of(one.load.__module__) for one in choices.pipelines)]))


def _modelling_design(choices: Choices) -> ModellingDesign | None:
    config, artifacts, ml = choices.config, choices.artifacts, choices.ml
    if config is None and artifacts is None:
        return None
    model = None
    if ml is not None and config is not None and isinstance(choices.info, MLServiceInfo):
        model = ModelDesign(
            runner=ml.runner,
            program=pack(ml.runner, config.schema.kind),
            modules=_model_modules(choices),
            info=choices.info,
            start_method=choices.jobs.start_method if choices.jobs is not None else "auto",
            pipelines=tuple(choices.pipelines),
        )
    return ModellingDesign(
        configs=config.resource if config is not None else None,
        schema=config.schema if config is not None else None,
        max_configs=config.most if config is not None else DEFAULT_MOST,
        artifacts=artifacts.resource if artifacts is not None else None,
        hierarchy=artifacts.hierarchy if artifacts is not None else None,
        model=model,
        models=choices.models.resource if choices.models is not None else None,
    )
