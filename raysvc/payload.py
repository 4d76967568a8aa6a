"""Where the programs that run on a Ray cluster lie: `jobs/` and `serving/`, shipped as data and never imported here.

In a checkout they are folders at the top; in an installed wheel, `raysvc/_payload/`. A program is a package under
`jobs/` with a `job.yaml`; the working directory of its job is `jobs/` itself, so that `python -m train_lm` starts it
and programs can share what one of them holds.
"""

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

from raysvc.errors import Invalid

_PACKAGE = Path(__file__).parent
_NOT_SHIPPED = frozenset({"README.md", "__pycache__"})
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the oldest time that a zip can say
_REGULAR_FILE = 0o100644 << 16  # st_mode, where Unix's zip keeps it


def root() -> Path:
    """Return the folder that holds `jobs/` and `serving/`."""
    installed = _PACKAGE / "_payload"
    return installed if installed.is_dir() else _PACKAGE.parent


def working_dir() -> Path:
    """Return the folder that is the working directory of every program's job."""
    return root() / "jobs"


def serving() -> Path:
    """Return the folder that is the working directory of every service's replica."""
    return root() / "serving"


def program(name: str) -> Path:
    """Return the folder of a program under `jobs/`; raises Invalid with the names there are."""
    jobs = working_dir()
    folder = jobs / name
    if folder.parent != jobs or not (folder / "job.yaml").is_file():
        names = sorted(p.parent.name for p in jobs.glob("*/job.yaml"))
        message = f"There is no program {name!r} in raysvc. Programs: {', '.join(names) or 'none'}."
        raise Invalid(message, field="code.name")
    return folder


def files(folder: Path | None = None) -> Iterator[tuple[str, Path]]:
    """Yield what a cluster gets, sorted: each file's name in the working directory, with slashes, and its path.

    The working directory is that of jobs, where no other `folder` is named.
    """
    folder = folder or working_dir()
    names = {path.relative_to(folder): path for path in folder.rglob("*") if path.is_file()}
    for name in sorted(names, key=lambda name: name.parts):
        if not any(part in _NOT_SHIPPED or part.startswith(".") for part in name.parts):
            yield name.as_posix(), names[name]


def archive() -> bytes:
    """Return the working directory as a zip, files at its root. The same files give the same bytes, on any machine.

    Stored, not deflated: what deflate makes differs between zlib's builds, and the programs are some 100 kB.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as package:
        for name, path in files():
            entry = zipfile.ZipInfo(name, date_time=_EPOCH)
            entry.create_system = 3  # Unix, also where this runs on another system
            entry.external_attr = _REGULAR_FILE
            package.writestr(entry, path.read_bytes())
    return buffer.getvalue()
