"""What became of each run, as files. `<id>.begun` is made before its start and never twice; `<id>.ended` at its end."""

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

BEGUN, ENDED = ".begun", ".ended"
# Longest message of an end, characters: Ray's own bound for the last lines of a log.
MOST_TEXT = 20_000


class Ledger:
    """The pool's side. Each file appears as a whole."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def begin(self, ident: str, record: dict[str, Any]) -> bool:
        """Note that a run is about to start; False where one of that id ever was."""
        draft = self._draft(ident, record)
        try:
            os.link(draft, self._folder / (ident + BEGUN))
        except FileExistsError:
            return False
        finally:
            draft.unlink()
        return True

    def end(self, ident: str, record: dict[str, Any]) -> None:
        """Note how a run has ended."""
        self._draft(ident, record).replace(self._folder / (ident + ENDED))

    def fault(self, ident: str) -> Path:
        """Return where a run writes why its environment could not be made."""
        return self._folder / f".{ident}.fault"

    def take_fault(self, ident: str) -> str | None:
        """Return what it wrote, once."""
        path = self.fault(ident)
        with suppress(OSError):
            text = path.read_text(errors="replace")[:MOST_TEXT]
            path.unlink()
            return text
        return None

    def _draft(self, ident: str, record: dict[str, Any]) -> Path:
        path = self._folder / f".{ident}.{os.getpid()}"
        path.write_text(json.dumps(record))
        return path
