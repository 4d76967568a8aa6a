"""Jobs: submit, look, follow, wait, stop, delete."""

import secrets
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, TypedDict, Unpack

from pydantic import ValidationError

from raysvc.client.artifact import Artifacts
from raysvc.client.model import Job, Preview
from raysvc.client.package import Package
from raysvc.client.runtime_env import localise
from raysvc.client.stream import Patience, log_text
from raysvc.client.stream import follow as follow_events
from raysvc.client.wire import Call, Wire, body_of, parse, path_part, read, read_items
from raysvc.control.explain import Explanation
from raysvc.control.progress import Series
from raysvc.domain.event import Event
from raysvc.domain.job import Attempt, JobPhase, JobSpec
from raysvc.errors import Invalid, NotFound, Unavailable

# How long the server may hold the reply to a look at a job that has not changed (RFC 7240): progress grows meanwhile.
_HOLD_S = 2
# Seconds between two looks at a server that holds nothing: soon at first, then as rarely as a person minds.
_FIRST_LOOK_S, _LAST_LOOK_S = 0.2, 2.0
_UPLOAD_CHUNK = 1 << 20
_HERE = Path()


class Filters(TypedDict, total=False):
    """Which jobs a list holds. `label` is `key:value`."""

    phase: list[JobPhase]
    owner: str
    name_prefix: str
    label: str
    created_after: datetime
    created_before: datetime


class _Request(NamedTuple):
    """A submission's frame: what stands beside the spec."""

    job_id: str | None
    project: str
    idempotency_key: str
    folder: Path


class Jobs:
    """The jobs of a project; each method takes another `project` where it is not the client's."""

    def __init__(self, wire: Wire, project: str, warn: Callable[[str], None]) -> None:
        self._wire = wire
        self._project = project
        self._warn = warn
        self.artifacts = Artifacts(wire, project)

    def submit(
        self,
        spec: JobSpec | Mapping[str, Any] | None = None,
        *,
        job_id: str | None = None,
        project: str | None = None,
        idempotency_key: str | None = None,
        folder: Path = _HERE,
        **fields: Any,
    ) -> Job:
        """Submit a job and return it, queued; once this returns, the server has it on disk.

        Give a spec, or its fields by name, or both (the fields win). Local folders in `runtime_env` are packed and
        uploaded first; their relative paths start at `folder`. May be repeated under an `idempotency_key`, and is by
        itself where the connection breaks: without one given, each call makes its own. Raises Invalid, Denied,
        OverLimit, AlreadyExists (the id), KeyReused, NotFound (the project), Unavailable.
        """
        request = self._request(job_id, project, idempotency_key, folder)
        call = self._submission(_merged(spec, fields), request, lambda package: self._upload(request.project, package))
        response = self._wire.send(call)
        for warning in body_of(response).get("warnings", ()):
            self._warn(warning)
        return read(Job, response)

    def preview(
        self,
        spec: JobSpec | Mapping[str, Any] | None = None,
        *,
        job_id: str | None = None,
        project: str | None = None,
        folder: Path = _HERE,
        **fields: Any,
    ) -> Preview:
        """Return what `submit` would do with the same arguments, by the same checks; uploads and keeps nothing."""
        request = self._request(job_id, project, None, folder)
        call = self._submission(_merged(spec, fields), request, lambda _: None)
        return read(Preview, self._wire.rehearse(call))

    def get(self, job_id: str, *, project: str | None = None) -> Job:
        """Return the job, by id or uid; raises NotFound."""
        return read(Job, self._wire.send(self._call("GET", job_id, project)))

    def logs(self, job_id: str, *, follow: bool = False, project: str | None = None) -> Iterator[str]:
        """Yield the job's log from its beginning, in pieces; with `follow`, until the job has ended."""
        return log_text(self._wire, self._call("GET", job_id, project, "/logs"), following=follow)

    def tail(self, job_id: str, bytes_: int, *, project: str | None = None) -> Iterator[str]:
        """Yield the last `bytes_` bytes of the job's log."""
        call = self._call("GET", job_id, project, "/logs")
        return log_text(self._wire, Call("GET", call.path, {**call.params, "offset": -bytes_}), following=False)

    def wait(
        self,
        job_id: str,
        timeout: float | None = None,
        *,
        project: str | None = None,
        until: Callable[[Job], bool] = lambda job: not job.live,
        on_look: Callable[[Job], None] = lambda _: None,
    ) -> Job:
        """Block until the job has ended (or `until` holds) and return it; raises TimeoutError after `timeout` seconds.

        `on_look` hears of each look at it. A server that goes away for less than a minute is waited for.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        pause, patience = _FIRST_LOOK_S, Patience(self._wire)
        call, known = self._call("GET", job_id, project), ""
        while True:
            began = time.monotonic()
            left = _HOLD_S if deadline is None else min(_HOLD_S, int(deadline - began))
            before = known if left > 0 else ""
            headers = {"Prefer": f"wait={left}", "If-None-Match": before} if before else {}
            try:
                response = self._wire.send(replace(call, headers=headers))
            except Unavailable as error:
                patience.wait(error)
                continue
            patience.met()
            job, known = read(Job, response), response.headers.get("etag", "")
            on_look(job)
            if until(job) or not job.live:
                return job
            if left > 0 and known and (known != before or time.monotonic() - began > left / 2):
                continue  # the server holds its next reply until there is news
            if deadline is not None and time.monotonic() + pause > deadline:
                raise TimeoutError(f"Job {job.id} is still {job.phase} after {timeout:g} s; it goes on.")
            self._wire.sleep(pause)
            pause = min(pause * 1.5, _LAST_LOOK_S)

    def stop(self, job_id: str, *, project: str | None = None) -> Job:
        """Ask the job to end, and return it. Returns before it has; may be repeated; no error where it had ended."""
        return read(Job, self._wire.send(self.stopping(job_id, project=project)), at="job")

    def stopping(self, job_id: str, *, project: str | None = None) -> Call:
        """Return the call that `stop` sends."""
        return self._call("POST", job_id, project, "/stop", safe=True)

    def delete(self, job_id: str, *, project: str | None = None) -> None:
        """Forget an ended job, its logs and artifacts; raises Conflict while it is live, NotFound."""
        self._wire.send(self.deletion(job_id, project=project))

    def deletion(self, job_id: str, *, project: str | None = None) -> Call:
        """Return the call that `delete` sends."""
        return self._call("DELETE", job_id, project)

    def explain(self, job_id: str, *, project: str | None = None) -> Explanation:
        """Return why the job is in its phase, what happens next, and what one can do."""
        return read(Explanation, self._wire.send(self._call("GET", job_id, project, "/explain")))

    def attempts(self, job_id: str, *, project: str | None = None) -> list[Attempt]:
        return read_items(Attempt, self._wire.send(self._call("GET", job_id, project, "/attempts")))

    def events(self, job_id: str, *, follow: bool = False, project: str | None = None) -> Iterator[Event]:
        """Yield what happened to the job, oldest first; with `follow`, until the job has ended."""
        call = self._call("GET", job_id, project, "/events")
        if follow:
            streamed = Call("GET", call.path, {**call.params, "follow": "true"})
            yield from (parse(Event, event.data) for event in follow_events(self._wire, streamed))
            return
        after = 0
        while page := read_items(Event, self._wire.send(Call("GET", call.path, {**call.params, "after": after}))):
            yield from page
            after = page[-1].seq

    def metrics(self, job_id: str, *, limit: int = 500, project: str | None = None) -> Series:
        """Return what the job reported, the last value of each step, thinned to `limit` steps."""
        call = self._call("GET", job_id, project, "/metrics")
        return read(Series, self._wire.send(Call("GET", call.path, {**call.params, "limit": limit})))

    def list(
        self, *, project: str | None = None, limit: int | None = None, **filters: Unpack[Filters]
    ) -> Iterator[Job]:
        """Yield jobs, newest first, at most `limit`; pages are fetched as they are needed. `project="*"`: every one."""
        named = project or self._project
        params: dict[str, Any] = {**filters, "project": None if named == "*" else named}
        params |= {name: value.isoformat() for name, value in filters.items() if isinstance(value, datetime)}
        left = limit
        while left is None or left > 0:
            page = self._wire.send(Call("GET", "/v1/jobs", {**params, "limit": min(left or 100, 100)}))
            jobs = read_items(Job, page)
            yield from jobs
            params["cursor"] = body_of(page, "next_cursor")
            left = None if left is None else left - len(jobs)
            if params["cursor"] is None:
                return

    def _call(self, method: str, job_id: str, project: str | None, below: str = "", *, safe: bool = False) -> Call:
        return Call(method, f"/v1/jobs/{path_part(job_id)}{below}", {"project": project or self._project}, safe=safe)

    def _request(self, job_id: str | None, project: str | None, key: str | None, folder: Path) -> _Request:
        return _Request(job_id, project or self._project, key or f"sdk-{secrets.token_hex(16)}", folder)

    def _submission(self, spec: JobSpec, request: _Request, send: Callable[[Package], None]) -> Call:
        env = localise(spec.runtime_env, request.folder, send)
        # What is left at its default is left out, so that an older server takes it. But a union's kind is needed.
        sent = spec.model_copy(update={"runtime_env": env}).model_dump(mode="json", exclude_defaults=True)
        if spec.code is not None:
            sent["code"] = spec.code.model_dump(mode="json")
        return Call(
            "POST",
            "/v1/jobs",
            {"project": request.project},
            json={"spec": sent} | ({"id": request.job_id} if request.job_id else {}),
            headers={"Idempotency-Key": request.idempotency_key},
            safe=True,
        )

    def _upload(self, project: str, package: Package) -> None:
        path = f"/p/{path_part(project)}/api/packages/gcs/{path_part(package.name)}"
        try:
            self._wire.send(Call("GET", path))  # also pins it until the submit
        except NotFound:
            with tempfile.TemporaryDirectory(prefix="raysvc-") as folder:
                file = Path(folder) / package.name
                package.write(file)
                length = {"Content-Length": str(file.stat().st_size)}
                self._wire.send(Call("PUT", path, headers=length, safe=True), FileBody(file))


class FileBody:
    """A file as a request's body, read anew for each try."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __iter__(self) -> Iterator[bytes]:
        with self._path.open("rb") as file:
            while chunk := file.read(_UPLOAD_CHUNK):
                yield chunk


def _merged(spec: JobSpec | Mapping[str, Any] | None, fields: Mapping[str, Any]) -> JobSpec:
    given = {name: getattr(spec, name) for name in spec.model_fields_set} if isinstance(spec, JobSpec) else spec or {}
    try:
        return JobSpec.model_validate({**given, **fields})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise Invalid(f"{place}: {first['msg']}.", field=place) from error
