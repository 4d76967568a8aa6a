"""Answers for programs that show their text as it is (Ray's clients, a dashboard): JSON, and errors in plain text."""

import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from http import HTTPStatus
from typing import Any

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.types import Send

from raysvc.errors import RaysvcError

log = structlog.get_logger()

Handler = Callable[[Request], Awaitable[Response]]


class Stream(StreamingResponse):
    """Sends what an async generator yields, and closes the generator at once when the client goes away."""

    def __init__(self, chunks: AsyncGenerator[bytes, None], **options: Any) -> None:
        self._chunks = chunks
        super().__init__(chunks, **options)

    async def stream_response(self, send: Send) -> None:
        async with aclosing(self._chunks):
            await super().stream_response(send)


def reply(body: Any) -> Response:
    """Return 200 with the JSON."""
    return Response(json.dumps(body, separators=(",", ":")), media_type="application/json")


def refusal(error: RaysvcError) -> Response:
    """Return the error as its status and its text, nothing else."""
    headers = {"WWW-Authenticate": "Bearer"} if error.status == HTTPStatus.UNAUTHORIZED else None
    return PlainTextResponse(error.message, status_code=error.status, headers=headers)


def answers(handler: Handler) -> Handler:
    """Return the handler with its errors told in plain text, those that are bugs included."""

    async def answer(request: Request) -> Response:
        try:
            return await handler(request)
        except RaysvcError as error:
            return refusal(error)
        except HTTPException as error:
            return PlainTextResponse(error.detail, status_code=error.status_code, headers=error.headers)
        except ClientDisconnect:
            return PlainTextResponse("The client went away before its request was whole.", status_code=400)
        except Exception:
            log.exception("request failed", method=request.method, path=request.url.path)
            return PlainTextResponse("raysvc failed inside; its log says why.", status_code=500)

    return answer
