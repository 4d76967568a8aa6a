"""Packages: a local folder as a zip, named by its contents just as Ray's own client names it.

The same folder sent by either client is one package on the server. Imports nothing of Ray.
"""

import hashlib
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from raysvc.client.ignore import Rule, rule, rules_of
from raysvc.errors import Invalid

# ray/_private/ray_constants.py (2.60): never sent with a working_dir, and how a user changes that.
DEFAULT_EXCLUDES = ".git,.venv,venv,__pycache__"
EXCLUDES_VARIABLE = "RAY_OVERRIDE_RUNTIME_ENV_DEFAULT_EXCLUDES"
NO_GITIGNORE_VARIABLE = "RAY_RUNTIME_ENV_IGNORE_GITIGNORE"
# Ray's four formats of an archive that is given as it is.
ARCHIVES = {".zip": ".zip", ".tar.gz": ".tar.gz", ".tgz": ".tar.gz", ".tar.xz": ".tar.xz"}
_READ_BYTES = 4 << 20


@dataclass(frozen=True)
class Package:
    """What to upload: `name` as it stands after `gcs://`, and how to write it to a file."""

    name: str
    write: Callable[[Path], object]

    @property
    def uri(self) -> str:
        return f"gcs://{self.name}"


def working_dir(path: Path, excludes: list[str]) -> Package:
    """Return the package of a working_dir: a folder, or an archive given as it is.

    Raises Invalid where the path is neither, or a file in it cannot be read.
    """
    if path.is_dir():
        return _folder(path, _default_excludes() + excludes, parent=False)
    for extension, kept in ARCHIVES.items():
        if path.is_file() and path.name.endswith(extension):
            return _archive(path, f"_ray_pkg_{_sha1(path).hexdigest()}{kept}")
    raise Invalid(
        f"working_dir {path} is neither a folder nor an archive ({', '.join(ARCHIVES)}). "
        "Give a folder that exists, or a URI such as s3://… or https://….",
        field="runtime_env.working_dir",
    )


def py_module(path: Path, excludes: list[str]) -> Package:
    """Return the package of one entry of py_modules: a folder (which keeps its name), a .py file or a wheel.

    Raises Invalid where it is none of them.
    """
    if path.is_dir():
        return _folder(path, excludes, parent=True)
    if path.is_file() and path.suffix == ".py":
        return _single(path)
    if path.is_file() and path.suffix == ".whl":
        return _archive(path, path.name)  # a wheel's name already says what is in it
    raise Invalid(
        f"py_modules entry {path} is neither a folder, a .py file nor a wheel that exists.",
        field="runtime_env.py_modules",
    )


def _folder(path: Path, excludes: list[str], *, parent: bool) -> Package:
    root = path.absolute()
    own = [rule(root, excludes, source="runtime_env.excludes")] if excludes else []

    def entries() -> Iterator[Path]:
        return _walk(root, own, gitignore=os.environ.get(NO_GITIGNORE_VARIABLE, "0") != "1")

    def write(target: Path) -> None:
        prefix = Path(root.name) if parent else Path()
        kept = (entry for entry in entries() if entry.is_file() or (entry.is_dir() and not any(entry.iterdir())))
        _zip(target, ((entry, prefix / entry.relative_to(root)) for entry in kept))

    return Package(_name(entries(), root), write)


def _single(path: Path) -> Package:
    file = path.absolute()
    return Package(_name(iter([file]), file.parent), lambda target: _zip(target, iter([(file, Path(file.name))])))


def _archive(path: Path, name: str) -> Package:
    return Package(name, lambda target: shutil.copyfile(path, target))


def _walk(path: Path, rules: list[Rule], *, gitignore: bool) -> Iterator[Path]:
    try:
        is_folder = path.is_dir()
        if is_folder:
            rules = [*rules, *rules_of(path, gitignore=gitignore)]
        if any(ignores(path) for ignores in rules):
            return
        yield path
        if is_folder:
            for child in sorted(path.iterdir()):
                yield from _walk(child, rules, gitignore=gitignore)
    except OSError as error:
        raise Invalid(f"{error.filename or path} cannot be read: {error.strerror}.", field="runtime_env") from error


def _name(entries: Iterator[Path], root: Path) -> str:
    """Return Ray's name: the first 8 bytes of each entry's SHA-1 (of path and contents), XORed onto eight ASCII zeros.

    Not a safe digest, and not used as one: the server compares contents.
    """
    mixed = int.from_bytes(b"0" * 8)
    for entry in entries:
        digest = hashlib.sha1(str(entry.relative_to(root)).encode(), usedforsecurity=False)
        if not entry.is_dir():
            digest = _sha1(entry, digest)
        mixed ^= int.from_bytes(digest.digest()[:8])
    return f"_ray_pkg_{mixed:016x}.zip"


def _sha1(path: Path, digest: "hashlib._Hash | None" = None) -> "hashlib._Hash":
    digest = digest or hashlib.sha1(usedforsecurity=False)
    try:
        with path.open("rb") as file:
            while block := file.read(_READ_BYTES):
                digest.update(block)
    except OSError as error:
        raise Invalid(
            f"{path} cannot be read ({error.strerror}), so it cannot be sent. Exclude it in .rayignore or mend it.",
            field="runtime_env",
        ) from error
    return digest


def _zip(target: Path, entries: Iterator[tuple[Path, Path]]) -> None:
    # Without strict timestamps, as Ray: a file of 1970 is no reason to refuse a folder.
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, strict_timestamps=False) as archive:
        for path, name in entries:
            archive.write(path, name)


def _default_excludes() -> list[str]:
    return [name.strip() for name in os.environ.get(EXCLUDES_VARIABLE, DEFAULT_EXCLUDES).split(",") if name.strip()]
