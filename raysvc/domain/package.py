"""Packages: the names Ray's client gives them, where a job refers to them, and what makes two of them the same."""

import hashlib
import re
from collections.abc import Iterator
from typing import Any, BinaryIO

from raysvc.domain.archive import ArchiveLimits, entries
from raysvc.domain.job import ArchiveCode, JobSpec
from raysvc.errors import Invalid

PROTOCOL = "gcs"
_SCHEME = "gcs://"
# Folders: `_ray_pkg_` and 16 hex (an XOR of SHA-1s); single archives: `_ray_pkg_` and the 40 hex of their SHA-1, in
# older notes without the prefix; wheels keep their own name (ray/_private/runtime_env/packaging.py, Ray 2.40 to 2.60).
_ARCHIVE = re.compile(r"(?:_ray_pkg_)?[0-9a-f]{16,64}\.(?:zip|tar\.gz|tgz|tar\.xz)")
# PEP 427: name-version(-build)-python-abi-platform; `+` and `!` come from local versions and epochs.
_WHEEL = re.compile(
    r"[A-Za-z0-9_.]+-[A-Za-z0-9_.+!]+(?:-[0-9][A-Za-z0-9_.]*)?-[A-Za-z0-9_.]+-[A-Za-z0-9_.]+-[A-Za-z0-9_.]+\.whl"
)
MAX_NAME_LENGTH = 255
DEFAULT_LIMITS = ArchiveLimits()


def is_name(name: str) -> bool:
    """Tell whether Ray's client could have made this package name."""
    return len(name) <= MAX_NAME_LENGTH and bool(_ARCHIVE.fullmatch(name) or _WHEEL.fullmatch(name))


def check_name(protocol: str, name: str) -> None:
    """Return for a package that Ray's client could have named so; raise Invalid for any other."""
    if protocol != PROTOCOL:
        raise Invalid(
            f"Packages are uploaded under the protocol {PROTOCOL!r}, not {protocol[:20]!r}.", field="protocol"
        )
    if not is_name(name):
        raise Invalid(
            f"{name[:100]!r} is not a package name of Ray's client. Those are _ray_pkg_ and 16 to 64 hex digits, with "
            ".zip, .tar.gz, .tgz or .tar.xz, or a wheel's own file name (.whl).",
            field="package_name",
        )


def uris_of(runtime_env: dict[str, Any]) -> list[str]:
    """Return the names of the uploaded packages (gcs://NAME) that a runtime_env refers to, each once, in order.

    In working_dir and py_modules a gcs:// address must be a package's, or Invalid is raised; elsewhere (say, a bucket
    in env_vars) only those that are count.
    """
    names: dict[str, None] = {}
    for field, value in runtime_env.items():
        for text in _texts(value):
            if not text.startswith(_SCHEME):
                continue
            name = text.removeprefix(_SCHEME)
            if is_name(name):
                names[name] = None
            elif field in {"working_dir", "py_modules"}:
                raise Invalid(
                    f"runtime_env.{field} is {text[:200]!r}, and gcs:// stands for what Ray's client uploaded to this "
                    "server. Give a local folder, which the client uploads, or an https://, s3:// or gs:// address.",
                    field=f"runtime_env.{field}",
                )
    return list(names)


def packages_of(spec: JobSpec) -> list[str]:
    """Return the names of the uploaded packages that a job needs: those of its runtime_env, and of its code."""
    code = {"working_dir": spec.code.uri} if isinstance(spec.code, ArchiveCode) else {}
    return list(dict.fromkeys([*uris_of(spec.runtime_env), *uris_of(code)]))


def digest(name: str, file: BinaryIO, limits: ArchiveLimits = DEFAULT_LIMITS) -> str:
    """Return the SHA-256 (hex) over the archive's entries: their names, modes and contents.

    Equal for the same entries in another order, with other mtimes, owners or compression. Reads the whole file in
    pieces of 1 MiB, wherever its position is; memory grows only with the number of entries. Blocks: call it in a
    thread. May be repeated. Raises Invalid for an archive that is empty, cut short, corrupt, hostile or over `limits`.
    """
    lines = []
    for entry in entries(name, file, limits):
        content = hashlib.sha256()
        for chunk in entry.chunks:
            content.update(chunk)
        # A name cannot hold NUL, so the parts cannot run into one another.
        lines.append(b"%b\0%o\0%b" % (entry.name.encode("utf-8", "surrogateescape"), entry.mode, content.digest()))
    whole = hashlib.sha256()
    for line in sorted(lines):
        whole.update(b"%d\0%b" % (len(line), line))
    return whole.hexdigest()


def _texts(value: Any) -> Iterator[str]:
    """Yield every string in a JSON value, but not a map's keys."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
