"""Another service that speaks the same contract: asked with patience, and the job that it does for this one."""

import time
from typing import Any

import httpx
import msgspec

from domain.context import current_context
from domain.errors import cut
from domain.models import RemoteModelRunner
from domain.tasks import Canceled, RunningJob

LONGEST_SLEEP_SECONDS = 0.2
"""After so long at most it is seen that the job here is canceled."""
CANCEL_SECONDS = 3.0
_BUSY = {httpx.codes.TOO_MANY_REQUESTS, httpx.codes.SERVICE_UNAVAILABLE}
_GATEWAY = {httpx.codes.BAD_GATEWAY, httpx.codes.GATEWAY_TIMEOUT}
_encode = msgspec.json.Encoder().encode


class RemoteFailedError(Exception):
    """The other service has refused, or its job has failed."""


class RemoteService:
    """The service of a member. Redirects are not followed: the headers are for nobody else."""

    def __init__(self, job: RunningJob, runner: RemoteModelRunner) -> None:
        self._job = job
        self._runner = runner
        headers = dict(runner.headers)
        if traceparent := current_context().traceparent:
            headers["traceparent"] = traceparent
        self._client = httpx.Client(
            base_url=runner.url, headers=headers, timeout=runner.request_timeout_seconds, follow_redirects=False
        )

    def __enter__(self) -> "RemoteService":
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def asked(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """The reply to one request. Raises `RemoteFailedError`, also when nobody has answered for a while."""
        where = f"{method} {self._runner.url}{path}"
        reply = self._reply(method, path, None if body is None else _encode(body), where)
        if reply.is_redirect:
            leads = cut(reply.headers.get("location", ""))
            raise RemoteFailedError(
                f"{where} gave {reply.status_code} and leads to {leads}: it is not followed, give the address itself"
            )
        if not reply.is_success:
            raise RemoteFailedError(f"{where} gave {reply.status_code}: {cut(reply.text)}")
        try:
            found = msgspec.json.decode(reply.content)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise RemoteFailedError(f"{where} gave no JSON: {error}: {cut(reply.text)}") from error
        if not isinstance(found, dict):
            raise RemoteFailedError(f"{where} gave no object: {cut(reply.text)}")
        return found

    def _reply(self, method: str, path: str, content: bytes | None, where: str) -> httpx.Response:
        headers = {"Content-Type": "application/json"} if content is not None else {}
        deadline: float | None = None
        while True:
            try:
                reply = self._client.request(method, path, content=content, headers=headers)
                if reply.status_code not in (_BUSY | _GATEWAY if method == "GET" else _BUSY):
                    return reply
                said = f"gave {reply.status_code}: {cut(reply.text)}"
            except httpx.RequestError as error:
                said = f"{type(error).__name__}: {error}"
                # What may have arrived must not be sent again, unless it changes nothing.
                is_safe = method == "GET" or isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
                if not is_safe or not isinstance(error, httpx.TransportError):
                    raise RemoteFailedError(f"{where}: {said}") from error
            if deadline is None:
                self._job.log(f"{where}: {said}; it is asked again")
                deadline = time.monotonic() + self._runner.patience_seconds
            if time.monotonic() >= deadline:
                raise RemoteFailedError(f"{where}, for {self._runner.patience_seconds:g} s: {said}")
            self._pause()

    def done(self, path: str, body: Any) -> str:
        """The id of what a job of the other service has made, once it has ended. It is canceled with the one here."""
        accepted = self.asked("POST", path, body)
        job_id = member_of(accepted, "job_id", f"POST {self._runner.url}{path}")
        self._job.log(f"{self._runner.url} does it as job {job_id}")
        try:
            job = self._ended(job_id)
        except Canceled:
            self._cancel(job_id)
            raise
        if job["status"] != "completed":
            error = cut(str(job.get("error")))
            raise RemoteFailedError(f"job {job_id} of {self._runner.url} is {job['status']}: {error}")
        where = f"job {job_id} of {self._runner.url}"
        return member_of(job if job.get("artifact_id") else accepted, "artifact_id", where)

    def _ended(self, job_id: str) -> dict[str, Any]:
        while True:
            self._job.check()
            job = self.asked("GET", f"/api/v1/jobs/{job_id}")
            status = member_of(job, "status", f"job {job_id} of {self._runner.url}")
            if status in {"completed", "failed", "canceled"}:
                return job
            self._pause()

    def _pause(self) -> None:
        until = time.monotonic() + self._runner.poll_seconds
        self._job.check()
        while (left := until - time.monotonic()) > 0:
            time.sleep(min(left, LONGEST_SLEEP_SECONDS))
            self._job.check()

    def _cancel(self, job_id: str) -> None:
        # The one way to cancel that all services of this kind have.
        try:
            self._client.delete(f"/api/v1/jobs/{job_id}", timeout=CANCEL_SECONDS)
        except httpx.RequestError as error:
            self._job.log(f"job {job_id} of {self._runner.url} could not be canceled: {error}")


def member_of(reply: dict[str, Any], name: str, where: str) -> str:
    """A member of a reply that must be a text. Raises `RemoteFailedError`."""
    found = reply.get(name)
    if not isinstance(found, str) or not found:
        raise RemoteFailedError(f'{where} gave no "{name}": {cut(_encode(reply).decode())}')
    return found
