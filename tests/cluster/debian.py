"""What images are made of: a minimal Debian with its Python, and this project's dependencies as its lock has them."""

import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from tests.cluster.command import run
from tests.cluster.failure import ClusterError

CHECKOUT = Path(__file__).parents[2]
# Where the image's Python looks for packages.
SITE = Path("usr/local/lib/python3.11/dist-packages")
_SUITE = "bookworm"
_PYTHON = "3.11"
_NOT_NEEDED = ("var/cache/apt/archives", "var/lib/apt/lists", "usr/share/doc")


def lay_out(root: Path, packages: Sequence[str]) -> None:
    """Put a Debian with these packages into a folder. Needs root, for debootstrap."""
    run("debootstrap", "--variant=minbase", f"--include={','.join(packages)}", _SUITE, root, _mirror())
    for rest in _NOT_NEEDED:
        shutil.rmtree(root / rest, ignore_errors=True)


def requirements(extra: str, *options: str) -> list[str]:
    """Return what the lock has for this project with an extra, without the project itself."""
    said = run(
        uv(), "export", "--frozen", "--no-dev", "--extra", extra, "--no-emit-project", "--no-hashes", "--no-annotate",
        "--no-header", *options, cwd=CHECKOUT,
    )  # fmt: skip
    return said.splitlines()


def install(site: Path, *what: str, given: str | None = None) -> None:
    """Install for the image's Python, not this one."""
    run(uv(), "pip", "install", "--quiet", "--python-version", _PYTHON, "--target", site, *what, given=given)


def copy_script(script: Path, to: Path) -> None:
    """Copy it, to run with the image's Python. Not changed in place: it may be a hard link into uv's cache."""
    content = script.read_bytes()
    first, _, rest = content.partition(b"\n")
    to.write_bytes(b"#!/usr/bin/python3\n" + rest if first.startswith(b"#!") and b"python" in first else content)
    to.chmod(0o755)


def uv() -> str:
    # `uv run` tells its children where it is.
    found = os.environ.get("UV") or shutil.which("uv")
    if not found:
        raise ClusterError("images are made with uv, which is not on the PATH: pip install uv")
    return found


def _mirror() -> str:
    """Return the Debian mirror that apt here uses."""
    lists = [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))]
    for file in lists:
        said = file.read_text(errors="replace") if file.is_file() else ""
        if found := re.search(r"^(?:URIs:|deb )[^\n]*?(https?://\S+/debian)/?(?:\s|$)", said, re.MULTILINE):
            return found[1]
    return "http://deb.debian.org/debian"
