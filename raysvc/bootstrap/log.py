"""Our own log: structlog, one JSON object a line; for a terminal, lines that people read."""

import logging
import re
import sys
from typing import Any

import structlog
from pydantic_core import to_json

# What moves a terminal's cursor, colours it or turns text around; line ends and tabs stay.
_UNSHOWN = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def configure(*, human: bool) -> None:
    """Set up structlog for the process, on stderr. Context (job id, request id) comes from contextvars."""
    rendering: list[structlog.typing.Processor] = (
        [shown, structlog.dev.ConsoleRenderer(colors=True)]
        if human
        else [structlog.processors.JSONRenderer(_serialize)]
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            *rendering,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=(
            structlog.PrintLoggerFactory(sys.stderr) if human else structlog.BytesLoggerFactory(sys.stderr.buffer)
        ),
        cache_logger_on_first_use=True,
    )


def shown(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Return the event with each character escaped by which a request could draw on the reader's terminal."""
    return {key: _escaped(value) if isinstance(value, str) else value for key, value in event.items()}


def _escaped(text: str) -> str:
    return text if text.isprintable() else _UNSHOWN.sub(lambda match: ascii(match[0])[1:-1], text)


def _serialize(event: Any, **_options: Any) -> bytes:
    # A third of what json.dumps takes; each request is a line.
    return to_json(event, fallback=repr)
