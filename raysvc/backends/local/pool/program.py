"""The pool's program, brought to where the jobs' user can read it and not change it."""

import hashlib
import shutil
import uuid
from pathlib import Path

from raysvc.backends.local.area import Area

_BACKEND = Path(__file__).parent.parent
_PACKAGE = "raysvc_warm"


def digest() -> str:
    """Return what names the program by its contents, 8 hex digits: a pool of another version takes no new runs."""
    content = hashlib.sha256()
    for name, path in _files().items():
        content.update(b"%b\0%b" % (name.encode(), hashlib.sha256(path.read_bytes()).digest()))
    return content.hexdigest()[:8]


def deliver(area: Area) -> Path:
    """Return the folder that holds the program, made where it is missing; named by its digest. Blocks."""
    folder = area.programs / digest()
    if not folder.exists():
        draft = area.programs / f".{uuid.uuid4().hex}"
        for name, path in _files().items():
            target = draft / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
        area.publish(draft, folder)
    return folder


def _files() -> dict[str, Path]:
    package = {f"{_PACKAGE}/{path.name}": path for path in sorted((_BACKEND / "warm").glob("*.py"))}
    return {**package, "init.py": _BACKEND / "init.py"}
