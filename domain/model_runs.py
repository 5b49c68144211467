"""What a worker and the process of a model tell each other about one run: both sides are files in one directory."""

import enum
from datetime import datetime
from typing import Any

import msgspec

from domain.ml import Diagnostic, Period

REQUEST_FILE, MODEL_FILE, OUTCOME_FILE = "request.json", "model", "outcome.json"
"""The request as it was sent, the content of the training artifact, and a `ModelOutcome`."""

TRIAL_FOLDERS = ("train", "predict")
"""Where the two requests of a trial on the past are."""


FRAME_MEDIA_TYPE = "application/vnd.chapkit.dataframe+json"
"""What clients know the JSON of a DataFrame as."""


class ContentKind(enum.StrEnum):
    """How a content is kept: as JSON, as the JSON of a DataFrame, as plain bytes, or as a signed pickle."""

    JSON = "json"
    FRAME = "frame"
    BYTES = "bytes"
    PICKLE = "pickle"


class Action(enum.StrEnum):
    """What the process is to do with the model."""

    TRAIN = "train"
    PREDICT = "predict"
    VALIDATE_TRAIN = "validate_train"
    VALIDATE_PREDICT = "validate_predict"
    JOIN_TRAININGS = "join_trainings"
    COMBINE = "combine"
    EVALUATE = "evaluate"
    SCORE = "score"


class PartFile(msgspec.Struct, frozen=True, kw_only=True):
    """What one of several jobs or members has left, as a file in the directory.

    `name` is that of a member or a model; one that `is_failed` has left nothing. `held_out` is the file of its
    predictions of what was held back, None without.
    """

    name: str
    artifact_id: str
    file: str | None = None
    is_failed: bool = False
    kind: ContentKind | None = None
    cutoff: str | None = None
    held_out: str | None = None
    weight: float | None = None
    job_id: str | None = None


class ModelCall(msgspec.Struct, frozen=True, kw_only=True):
    """One call of a model.

    `program` is a pickle of its `ModelProgram`, which never leaves this machine. `config` is the data of the
    configuration as it is stored. `model` says what `MODEL_FILE` is, for a prediction. `member` is the model of an
    ensemble that runs alone; `parts` are what members, or the splits of a backtest, have left.
    """

    action: Action
    directory: str
    program: bytes
    config: dict[str, Any]
    config_id: str
    artifact_id: str
    bounds: Period = Period()
    model: ContentKind | None = None
    member: str | None = None
    parts: list[PartFile] = []
    cutoffs: list[str] = []
    horizon: int | None = None


class ModelFile(msgspec.Struct, frozen=True, kw_only=True):
    """A content that the process has left in the directory. `size` is what the artifact says of it, None for JSON.

    `is_signed` says that it holds a pickle, so that it may only be read again with this service's signature.
    """

    name: str
    kind: ContentKind
    media_type: str
    size: int | None = None
    is_signed: bool = False


class ModelOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a run has left.

    `content` is the trained model, the predictions, or the workspace of a script that has failed (`is_failed`);
    `workspace` the one of a prediction that did not. `seconds` counts the model's own time. `exit_code`, `stdout` and
    `stderr` are those of a script. `report` is said of the artifact besides; `parts` are the models of the members of
    an ensemble that was trained in this very directory.
    """

    started_at: datetime
    completed_at: datetime
    seconds: float
    is_failed: bool = False
    content: ModelFile | None = None
    workspace: ModelFile | None = None
    exit_code: int | None = None
    stdout: str | None = None
    stderr: str | None = None
    diagnostics: list[Diagnostic] = []
    report: dict[str, Any] = {}
    parts: list[PartFile] = []
