"""Ray's state calls (`ray list tasks`, `ray summary actors`, `ray logs job`), read from the project's cluster.

A job has one id here and another on its cluster, `job-<uid>-<attempt>`; job lists and the filters on them are
translated both ways. A job's own log comes from our archive, so it is there when the cluster is not.
"""

import json
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from raysvc.api.cluster.allow import state_access
from raysvc.api.cluster.redact import redact
from raysvc.api.cluster.share import Sharing
from raysvc.api.cluster.upstream import Upstream, endpoint_of
from raysvc.api.plain import Handler, Stream, refusal
from raysvc.api.ray.caller import Caller, caller
from raysvc.api.ray.find import find_job
from raysvc.api.ray.log import LogRoutes, text
from raysvc.control.excerpt import last_lines
from raysvc.control.platform import Platform
from raysvc.domain.access import Resource, Verb, authorise
from raysvc.domain.job import Job, JobRef
from raysvc.errors import Forbidden, Invalid, NotFound, RaysvcError, Unauthenticated, Unavailable
from raysvc.ports import Endpoint

_LOGS = frozenset({"api/v0/logs/file", "api/v0/logs/stream"})
# Where only the last lines are asked for, this much of the log's end is looked through.
TAIL_BYTES = 8 << 20
_ANSI = re.compile(r"\x1b\[[\d;]+m")


class StateRoutes:
    """Passes read-only state calls on, for those who may see all that is on the cluster."""

    def __init__(self, platform: Platform, upstream: Upstream, logs: LogRoutes) -> None:
        self._platform = platform
        self._upstream = upstream
        self._logs = logs
        self._sharing = Sharing(platform)

    def at(self, prefix: str) -> Handler:
        """Return the handler of the cluster's paths that begin with `prefix`."""

        async def state(request: Request) -> Response:
            path = prefix + request.path_params.get("rest", "").rstrip("/")
            try:
                return await self._state(request, path)
            except RaysvcError as error:
                # Ray's state client reads errors from an envelope, but 401 and 403 and those of logs as plain text.
                plain = isinstance(error, Unauthenticated | Forbidden) or not path.startswith("api/v0/")
                if plain or path in _LOGS:
                    return refusal(error)
                body = {"result": False, "msg": error.message, "data": {}}
                return JSONResponse(body, status_code=error.status)

        return state

    async def _state(self, request: Request, path: str) -> Response:
        if request.method not in {"GET", "HEAD"}:
            text = "Only GET passes here: a cluster is changed through jobs, services and `raysvc`, not by its own API."
            return PlainTextResponse(text, status_code=405, headers={"Allow": "GET, HEAD"})
        who = await caller(request)
        if path in _LOGS and "submission_id" in request.query_params:
            return await self._job_log(request, who, follow=path.endswith("stream"))
        access = state_access(path)
        if access is None:
            raise NotFound(f"/{path} does not pass here; only Ray's read-only state calls do.")
        cluster = await self._cluster(who)
        authorise(who.principal, Verb.READ, access.resource, who.project)
        await self._sharing.check(who.principal, cluster, access)
        endpoint = await endpoint_of(self._platform, cluster)
        if path == "api/v0/jobs" and request.method == "GET":
            return await self._jobs(request, who, endpoint)
        return await self._upstream.relay(endpoint, request, path)

    async def _cluster(self, who: Caller) -> str:
        """Return the project's own cluster, or the one that all share."""
        authorise(who.principal, Verb.READ, Resource.CLUSTER, who.project)
        clusters = await self._platform.backend.clusters.list()
        return next((found.name for found in clusters if found.project == who.project), self._platform.parts.cluster)

    async def _jobs(self, request: Request, who: Caller, endpoint: Endpoint) -> Response:
        query = await self._outward(request, who)
        status, body = await self._upstream.read(endpoint, f"/api/v0/jobs?{query}" if query else "/api/v0/jobs")
        try:
            answer = redact(json.loads(body))
            rows = ((answer["data"].get("result") or {}).get("result")) or []
            for row in rows:
                await self._inward(row, who)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise Unavailable(f"The cluster's Ray answered {status} with something that is no list of jobs.") from error
        return JSONResponse(answer, status_code=status)

    async def _outward(self, request: Request, who: Caller) -> str:
        """Return the query with our job ids, where a filter names them, replaced by the cluster's."""
        items = request.query_params.multi_items()
        keys = [value for key, value in items if key == "filter_keys"]
        values = iter(keys)
        sent = []
        for key, value in items:
            named = key == "filter_values" and next(values, None) == "submission_id"
            sent.append((key, await self._external(value, who) if named else value))
        return urlencode(sent)

    async def _external(self, job_id: str, who: Caller) -> str:
        try:
            job = await find_job(self._platform, self._upstream, who, job_id)
        except NotFound:
            return job_id
        return job.ref.name if job.ref else job_id

    async def _inward(self, row: dict[str, Any], who: Caller) -> None:
        """Give the row of a current attempt its job's id. Earlier attempts keep theirs: an id stands for one row."""
        name = row.get("submission_id") or ""
        job = await self._job(JobRef.parse(name))
        if job is None or job.project != who.project or job.ref is None or job.ref.name != name:
            return
        row["submission_id"] = job.id
        metadata = row.get("metadata")
        if metadata and metadata.get("job_submission_id") == name:
            metadata["job_submission_id"] = job.id

    async def _job(self, ref: JobRef | None) -> Job | None:
        try:
            return await self._platform.store.jobs.get_by_uid(ref.uid) if ref else None
        except NotFound:
            return None

    async def _job_log(self, request: Request, who: Caller, *, follow: bool) -> Response:
        query = request.query_params
        job = await self._logs.find(who, query["submission_id"])
        try:
            lines = int(query.get("lines", "1000"))
        except ValueError as error:
            raise Invalid(f"lines must be a whole number, got {query['lines'][:20]!r}.", field="lines") from error
        offset = 0 if lines < 0 else await last_lines(self._platform.logs, job, lines, TAIL_BYTES)
        chunks = self._platform.logs.read(job, offset=offset, follow=follow)
        plain = query.get("filter_ansi_code", "").lower() == "true"
        return Stream(_encoded(chunks, plain=plain), media_type="text/plain")


async def _encoded(chunks: AsyncIterator[bytes], *, plain: bool) -> AsyncGenerator[bytes, None]:
    """Yield whole characters: Ray's client decodes each chunk by itself, and refuses half a one."""
    async with aclosing(text(chunks)) as pieces:
        async for piece in pieces:
            yield (_ANSI.sub("", piece) if plain else piece).encode()
