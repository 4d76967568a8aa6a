"""Server-sent events: the text of a stream, event by event."""

import codecs
import json
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple


class ServerEvent(NamedTuple):
    """`id` is what a reconnect sends as Last-Event-ID, `data` the parsed JSON."""

    id: str
    kind: str
    data: Any


def events(chunks: Iterable[bytes]) -> Iterator[ServerEvent]:
    """Yield the events of a stream of bytes; comments (pings) and an event cut off at the end are left out."""
    ident, kind, data = "", "message", ""
    for line in _lines(chunks):
        if not line:
            if data:
                yield ServerEvent(ident, kind, json.loads(data))
            kind, data = "message", ""
            continue
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "id":
            ident = value
        elif name == "event":
            kind = value
        elif name == "data":
            data = f"{data}\n{value}" if data else value


def _lines(chunks: Iterable[bytes]) -> Iterator[str]:
    """Yield lines as the protocol ends them; a log's own U+2028 or form feed inside JSON is no end of line."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    left = ""
    for chunk in chunks:
        *lines, left = (left + decoder.decode(chunk)).split("\n")
        for line in lines:
            yield line.removesuffix("\r")
