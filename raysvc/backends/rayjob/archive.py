"""Packages as Ray wants them: their names on a shared cluster, the programs of `jobs/` as one, and their layout."""

import gzip
import hashlib
import io
import lzma
import re
import shutil
import tarfile
import zipfile
from pathlib import Path

from raysvc import payload

_EXTENSION = re.compile(r"\.(zip|tar\.gz|tgz|tar\.xz|whl)$")
# A fixed time, so that the same contents are always the same bytes. (A zip cannot hold an earlier one.)
_EPOCH = (1980, 1, 1, 0, 0, 0)
_MARKER = ".raysvc"


def cluster_name(name: str, project: str, sha256: str) -> str:
    """Return the name of a package on a cluster: by project and contents, so that nobody's can stand for another's.

    Ray's own names are a 64-bit XOR that can be forged, or a wheel's plain name, and its caches go by name alone. A
    wheel stays installable: the hash becomes its build tag (PEP 427), which starts with a digit and has no dash.
    """
    digest = hashlib.sha256(f"{project}\0{name}\0{sha256}".encode()).hexdigest()[:40]
    if name.endswith(".whl"):
        distribution, version, *_, python, abi, platform = name.split("-")
        return "-".join((distribution, version, f"0{digest}", python, abi, platform))
    extension = _EXTENSION.search(name)
    return f"_ray_pkg_{digest}{extension[0] if extension else '.zip'}"


def zip_program(name: str, to: Path) -> None:
    """Write the working directory of a program under `jobs/`: all of them, since they import from one another.

    Raises Invalid where there is no such program.
    """
    payload.program(name)
    to.write_bytes(payload.archive())


def keep_top_folder(archive: Path, name: str) -> None:
    """Change an archive, in place, so that Ray unpacks it from a file:// address as it would have from gcs://.

    From file:// and https:// Ray strips a lone folder at the top, which would turn a py_module's package into loose
    files. An empty file beside the folder keeps it.
    """
    if name.endswith(".zip"):
        with zipfile.ZipFile(archive, "a") as opened:
            opened.writestr(zipfile.ZipInfo(_MARKER, _EPOCH), b"")
    elif not name.endswith(".whl"):
        # Compressed streams can be joined, and the header of an empty file is a whole tar entry: it goes in front.
        header = tarfile.TarInfo(_MARKER).tobuf()
        first = lzma.compress(header) if name.endswith(".tar.xz") else gzip.compress(header)
        _prepend(first, archive)


def sha256(path: Path) -> str:
    """Return the SHA-256 (hex) of a file. Blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _prepend(first: bytes, path: Path) -> None:
    draft = path.with_name(path.name + ".joined")
    with draft.open("wb") as joined, path.open("rb") as rest:
        shutil.copyfileobj(io.BytesIO(first), joined)
        shutil.copyfileobj(rest, joined, 1 << 20)
    draft.replace(path)
