"""The socket that servers connect to, and the lines of JSON on it."""

import json
import os
import selectors
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# A request is a few KiB; an entrypoint has at most 64 KiB, its environment what a process can have (2 MiB).
MOST_BYTES = 4 << 20


@dataclass
class Line:
    """A connection to a server."""

    socket: socket.socket
    received: bytearray = field(default_factory=bytearray)


class Wire:
    """Never blocks: who does not read what it is sent is hung up on, and comes again."""

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self._selector = selector
        self._listener = socket.socket(socket.AF_UNIX)
        self._lines: dict[int, Line] = {}

    def open(self, folder: Path) -> None:
        """Listen at `socket` in a new folder, which nobody else may enter."""
        folder.mkdir(mode=0o700)
        here = Path.cwd()
        os.chdir(folder)  # a socket's path has at most 107 bytes
        self._listener.bind("new")
        self._listener.listen(16)
        self._listener.setblocking(False)
        Path("new").rename("socket")  # who finds it can connect
        os.chdir(here)
        self._selector.register(self._listener, selectors.EVENT_READ)

    def refuse(self) -> None:
        """Take no further connections."""
        self._selector.unregister(self._listener)
        self._listener.close()

    def close(self) -> None:
        """Close all, in whichever process this is; the other end sees it once the last has."""
        self._listener.close()
        for line in self._lines.values():
            line.socket.close()

    def take(self, descriptor: int) -> tuple[Line, list[bytes]] | None:
        """Take what has come: a connection, or requests. Those of one that has been hung up by now are dropped."""
        if descriptor == self._listener.fileno():
            connection, _ = self._listener.accept()
            connection.setblocking(False)
            self._lines[connection.fileno()] = Line(connection)
            self._selector.register(connection, selectors.EVENT_READ)
            return None
        line = self._lines.get(descriptor)
        if line is None:
            return None  # hung up on since the selector named it
        while (data := _receive(line.socket)) is not None:
            line.received += data
            if not data or len(line.received) > MOST_BYTES:
                self._hang_up(line)
                return None
        *requests, rest = bytes(line.received).split(b"\n")
        line.received[:] = rest
        return line, requests

    def send(self, line: Line, message: dict[str, Any]) -> None:
        try:
            line.socket.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            self._hang_up(line)

    def tell(self, message: dict[str, Any]) -> None:
        """Send a message to everybody."""
        for line in list(self._lines.values()):
            self.send(line, message)

    def _hang_up(self, line: Line) -> None:
        if self._lines.pop(line.socket.fileno(), None):
            self._selector.unregister(line.socket)
            line.socket.close()


def _receive(connection: socket.socket) -> bytes | None:
    """Return what has come, empty where the other end has hung up, None where nothing more has come."""
    try:
        return connection.recv(1 << 16)
    except BlockingIOError:
        return None
    except OSError:
        return b""
