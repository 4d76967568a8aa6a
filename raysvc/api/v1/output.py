"""What comes out of a job: its log, its events, its metrics, its files."""

import codecs
from collections.abc import AsyncIterator
from email.utils import format_datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request
from starlette.responses import Response, StreamingResponse

from raysvc.api.ranges import byte_range
from raysvc.api.sse import Message, last_event_id, stream
from raysvc.api.v1 import example, view
from raysvc.api.v1.caller import Calling, JobName, known_query
from raysvc.api.v1.document import needs, ok, problems
from raysvc.control.excerpt import Window, excerpt
from raysvc.control.follow import follow_events
from raysvc.control.platform import Platform
from raysvc.control.progress import Series
from raysvc.domain.event import Event
from raysvc.domain.job import Job
from raysvc.errors import Invalid
from raysvc.ports import ArtifactFile

router = APIRouter(tags=["output"], dependencies=[Depends(known_query)])

# What a browser must never take for a page of ours: these bytes are the users'.
_INERT = {"Content-Security-Policy": "sandbox; default-src 'none'", "Cache-Control": "no-store"}
_SSE: dict[str, Any] = {"text/event-stream": {}}
_BYTES = {"schema": {"type": "string", "format": "binary"}}
_LAST_ID = {
    "name": "Last-Event-ID",
    "in": "header",
    "required": False,
    "schema": {"type": "string"},
    "description": "with `follow`: where an earlier stream was cut",
}
_RANGE = {
    "name": "Range",
    "in": "header",
    "required": False,
    "schema": {"type": "string"},
    "example": "bytes=0-1023",
    "description": "one range of bytes",
}
Follow = Annotated[bool, Query(description="stay and send what comes, as server-sent events, until the job has ended")]


@router.get(
    "/jobs/{job_id}/logs",
    summary="Read or follow a job's log",
    responses={
        200: {
            "description": "The log's bytes, as the job wrote them.",
            "content": {"text/plain": {"schema": {"type": "string"}}, **_SSE},
            "headers": {
                "X-Next-Offset": {"schema": {"type": "integer"}, "description": "where to go on"},
                "X-Log-Complete": {
                    "schema": {"type": "string", "enum": ["true", "false"]},
                    "description": "true: nothing will come after this",
                },
            },
        },
        **problems(),
    },
    openapi_extra={**needs("viewer"), "parameters": [_LAST_ID]},
)
async def read_log(  # noqa: PLR0913 one parameter a query parameter
    request: Request,
    call: Calling,
    job_id: JobName,
    offset: Annotated[int, Query(ge=-(2**53), le=2**53, description="in bytes; negative: from the end")] = 0,
    limit: Annotated[int, Query(ge=1, le=16 << 20, description="in bytes")] = 1 << 20,
    attempt: Annotated[int | None, Query(ge=1, le=999_999, description="the log of this attempt alone")] = None,
    *,
    follow: Follow = False,
) -> Response:
    """Return a piece of the log. Offsets are bytes of the whole log, all attempts in a row, and stay valid for ever."""
    job = await call.job(job_id)
    if follow:
        if attempt is not None:
            raise Invalid("A followed log has all attempts in a row; leave out `attempt`.", field="attempt")
        start = last_event_id(request)
        if start is None:
            size = await call.platform.logs.size(job) if offset < 0 else 0
            start = max(0, size + offset) if offset < 0 else offset
        return stream(request, _log_messages(call.platform, job, start))
    piece = await excerpt(call.platform.logs, job, Window(offset, limit, attempt))
    headers = {"X-Next-Offset": str(piece.next_offset), "X-Log-Complete": str(piece.complete).lower(), **_INERT}
    return Response(piece.data, headers=headers, media_type="text/plain; charset=utf-8")


@router.get(
    "/jobs/{job_id}/events",
    summary="Read or follow a job's events",
    responses={
        200: {
            "model": view.Items[Event],
            "description": "Oldest first.",
            "content": {"application/json": {"example": example.EVENTS}, **_SSE},
        },
        **problems(),
    },
    openapi_extra={**needs("viewer"), "parameters": [_LAST_ID]},
)
async def read_events(
    request: Request,
    call: Calling,
    job_id: JobName,
    after: Annotated[int, Query(ge=0, le=2**53, description="only events with a larger `seq`")] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 1000,
    *,
    follow: Follow = False,
) -> Response:
    """Return what happened to the job, by whom. Under its uid a deleted job's events are still there."""
    job = await call.job(job_id, deleted=True)
    if follow:
        resumed = last_event_id(request)
        return stream(request, _event_messages(call.platform, job, after if resumed is None else resumed))
    return view.listed(await call.platform.desk.events(call.who, job, after=after, limit=limit))


@router.get(
    "/jobs/{job_id}/metrics",
    summary="Get a job's metrics",
    responses={**ok(Series, "One point a step.", example=example.METRICS), **problems()},
    openapi_extra=needs("viewer"),
)
async def read_metrics(
    call: Calling, job_id: JobName, limit: Annotated[int, Query(ge=2, le=2000, description="points")] = 500
) -> Response:
    """Return what the job reports in `metrics.jsonl` of its RAYSVC_OUTPUT_DIR, thinned out evenly."""
    job = await call.job(job_id)
    return view.reply(await call.platform.outputs.series(call.who, job, limit))


@router.get(
    "/jobs/{job_id}/artifacts",
    summary="List a job's files",
    responses={**ok(view.Items[ArtifactFile], "By path.", example=example.ARTIFACTS), **problems()},
    openapi_extra=needs("viewer"),
)
async def list_artifacts(call: Calling, job_id: JobName) -> Response:
    """Return the files that the job left in RAYSVC_OUTPUT_DIR."""
    return view.listed(await call.platform.outputs.find(call.who, await call.job(job_id)))


@router.get(
    "/jobs/{job_id}/artifacts/{path:path}",
    summary="Download a file of a job",
    responses={
        200: {"description": "The file.", "content": {"application/octet-stream": _BYTES}},
        206: {"description": "The range.", "content": {"application/octet-stream": _BYTES}},
        **problems(416),
    },
    openapi_extra={**needs("viewer"), "parameters": [_RANGE]},
)
async def download_artifact(
    request: Request,
    call: Calling,
    job_id: JobName,
    path: Annotated[str, Path(max_length=4096, description="as in the list", examples=["model/config.json"])],
) -> Response:
    """Return the file's bytes, whole or a range, so that a broken download goes on."""
    job = await call.job(job_id)
    file = await call.platform.outputs.get(call.who, job, path)
    wanted = byte_range(request.headers.get("range"), file.size)
    headers = {
        **_INERT,
        "Accept-Ranges": "bytes",
        "Content-Length": str(wanted.length),
        "Content-Disposition": "attachment",
        "Last-Modified": format_datetime(file.modified_at, usegmt=True),
    }
    if wanted.partial:
        headers["Content-Range"] = f"bytes {wanted.offset}-{wanted.offset + wanted.length - 1}/{file.size}"
    body = call.platform.outputs.read(job, file, offset=wanted.offset, length=wanted.length)
    return StreamingResponse(body, 206 if wanted.partial else 200, headers, media_type="application/octet-stream")


async def _log_messages(here: Platform, job: Job, offset: int) -> AsyncIterator[Message]:
    """Yield the log as it grows. An id points behind whole characters, so that a resumed text is never garbled."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    at = offset
    async for chunk in here.logs.read(job, offset=offset, follow=True):
        at += len(chunk)
        text = decoder.decode(chunk)
        if text:
            whole = at - len(decoder.getstate()[0])
            yield Message(str(whole), "log", {"offset": whole, "text": text})
    rest = decoder.decode(b"", final=True)
    if rest:
        yield Message(str(at), "log", {"offset": at, "text": rest})
    yield await _end(here, job, at)


async def _event_messages(here: Platform, job: Job, after: int) -> AsyncIterator[Message]:
    async for event in follow_events(here.store.jobs, here.signals, job.uid, after=after):
        after = event.seq
        yield Message(str(event.seq), "event", event.model_dump(mode="json"))
    yield await _end(here, job, after)


async def _end(here: Platform, job: Job, at: int) -> Message:
    ended: dict[str, Any] = {"phase": (await here.store.jobs.get_by_uid(job.uid)).phase}
    return Message(str(at), "end", ended)
