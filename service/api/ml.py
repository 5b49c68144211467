"""HTTP for models: train, predict, ask beforehand, and sample data to try it with."""

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from litestar import MediaType, Request, Response, Router, get, post
from litestar.status_codes import HTTP_200_OK, HTTP_202_ACCEPTED
from msgspec import UNSET, UnsetType

from domain.evaluations import BacktestAccepted, BacktestRequest
from domain.ml import (
    Accepted,
    PredictRequest,
    SampleQuery,
    TrainRequest,
    ValidatePredict,
    ValidateTrain,
    Validation,
)
from domain.model_versions import UsedVersion
from service.http.body import MOST_REQUEST_BYTES, read_large_body
from service.http.crud import location
from service.http.documented import documents
from service.http.parameters import query_parameter
from service.http.query import no_parameters, read_parameters
from service.http.reply import encoded
from service.http.running import Running

_SAMPLE_PARAMETERS = [
    query_parameter(member.encode_name, "Of the sample", msgspec.json.schema(member.type))
    for member in msgspec.structs.fields(SampleQuery)
]

_NO_HEADERS: Mapping[str, str] = {}
AcceptedT = TypeVar("AcceptedT", Accepted, BacktestAccepted)
AnyRequest = Request[Any, Any, Any]


def ml_router(prefix: str, jobs_prefix: str, running: Running, tags: list[str]) -> Router:
    """The operations on the model of a service under `prefix`; its jobs are under `jobs_prefix`."""

    @post(
        "/$train",
        status_code=HTTP_202_ACCEPTED,
        summary="Train the model in the background",
        operation_id="ml_train",
        request_max_body_size=MOST_REQUEST_BYTES,
        opt=documents(body=TrainRequest, errors=["422"], has_location=True),
    )
    async def train(request: AnyRequest) -> Response[Accepted]:
        no_parameters(request.scope)
        asked, body = await read_large_body(request, TrainRequest)
        return _accepted(request, jobs_prefix, await running.modelling.models.train(asked, body))

    @post(
        "/$predict",
        status_code=HTTP_202_ACCEPTED,
        summary="Predict in the background",
        operation_id="ml_predict",
        request_max_body_size=MOST_REQUEST_BYTES,
        opt=documents(body=PredictRequest, errors=["422"], has_location=True),
    )
    async def predict(request: AnyRequest) -> Response[Accepted]:
        no_parameters(request.scope)
        asked, body = await read_large_body(request, PredictRequest)
        accepted = await running.modelling.models.predict(asked, body)
        return _accepted(request, jobs_prefix, accepted, _used(accepted.model_version))

    @post(
        "/$validate",
        status_code=HTTP_200_OK,
        summary="Find what a training or a prediction would stumble over",
        operation_id="ml_validate",
        request_max_body_size=MOST_REQUEST_BYTES,
        opt=documents(has_effect=False, body=ValidateTrain, errors=["422"]),
    )
    async def validate(request: AnyRequest) -> Response[Validation]:
        no_parameters(request.scope)
        asked, body = await read_large_body(request, ValidateTrain | ValidatePredict)
        if isinstance(asked, ValidateTrain):
            return encoded(await running.modelling.models.validate_train(asked, body))
        found = await running.modelling.models.validate_predict(asked, body)
        return encoded(found, _used(found.model_version))

    @post(
        "/$backtest",
        status_code=HTTP_202_ACCEPTED,
        summary="Try models on the past, in the background",
        operation_id="ml_backtest",
        request_max_body_size=MOST_REQUEST_BYTES,
        opt=documents(body=BacktestRequest, errors=["422"], has_location=True),
    )
    async def backtest(request: AnyRequest) -> Response[BacktestAccepted]:
        no_parameters(request.scope)
        asked, body = await read_large_body(request, BacktestRequest)
        return _accepted(request, jobs_prefix, await running.modelling.backtests.submit(asked, body))

    @get(
        "/$generate-sample-data",
        summary="A request that the model would take",
        operation_id="ml_generate_sample_data",
        opt=documents(parameters=_SAMPLE_PARAMETERS, errors=["400", "404", "422"]),
    )
    async def sample(request: AnyRequest) -> Response[dict[str, Any]]:
        asked = read_parameters(request.scope, SampleQuery)
        found: Any = await running.modelling.models.sample(asked)
        return Response(found, media_type=MediaType.JSON)

    return Router(path=prefix, route_handlers=[train, predict, validate, backtest, sample], tags=tags)


def _accepted(
    request: AnyRequest, jobs_prefix: str, accepted: AcceptedT, headers: Mapping[str, str] = _NO_HEADERS
) -> Response[AcceptedT]:
    return encoded(accepted, {"location": location(request, f"{jobs_prefix}/{accepted.job_id}"), **headers})


def _used(version: UsedVersion | UnsetType) -> dict[str, str]:
    """The header that says which version was asked for."""
    return {} if version is UNSET else {"x-model-version": version.reference}
