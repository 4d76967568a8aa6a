"""The image of Ray's pods: Debian's Python, Ray as this project's lock has it, and this project's wheel.

Two parts are no layers of it, but folders of the machine that the nodes put into every container, read-only, where the
image's Python looks for them: torch with what only torch needs, which is 4.5 GB, and the wheel, which changes often.
"""

import inspect
import os
import re
import shutil
import tempfile
from pathlib import Path

from tests.cluster import cache
from tests.cluster.command import run
from tests.cluster.failure import ClusterError
from tests.cluster.image import Image, make_layer
from tests.cluster.plan import RAY_IMAGE

CHECKOUT = Path(__file__).parents[2]
_TORCH_AT = "/opt/torch"
_PROJECT_AT = "/opt/raysvc"
_SUITE = "bookworm"
_PYTHON = "3.11"
_PACKAGES = ("ca-certificates", "iproute2", "procps", "python3", "python3-venv", "wget")
_SITE = Path("usr/local/lib/python3.11/dist-packages")
_USER, _GROUP = 1000, 100  # as in Ray's own images
_HOME = "/home/ray"
_CONFIG = {
    "User": f"{_USER}:{_GROUP}",
    "WorkingDir": _HOME,
    "Env": ["PATH=/usr/local/bin:/usr/bin:/bin", f"HOME={_HOME}", "LANG=C.UTF-8"],
    "Cmd": ["bash"],
}


def built() -> Image:
    """Return the image, built now or before. Needs root, for debootstrap."""
    lean = "\n".join(_requirements("--prune", "torch"))
    base = cache.made(
        "ray-image", cache.digest(lean, *_PACKAGES, inspect.getsource(_base), repr(_CONFIG)), lambda to: _base(to, lean)
    )
    return Image(RAY_IMAGE, _CONFIG, (base / "layer.tar",))


def mounts() -> dict[str, str]:
    """Return what belongs into each container of it: where, and the folder of this machine, made now or before."""
    return {_TORCH_AT: str(_torch_folder()), _PROJECT_AT: str(_project_folder())}


def _torch_folder() -> Path:
    wanted = "\n".join(sorted(set(_requirements()) - set(_requirements("--prune", "torch"))))

    def make(folder: Path) -> None:
        _install(folder, "--no-deps", "-r", "-", given=wanted)

    return cache.made("torch", cache.digest(wanted), make)


def _project_folder() -> Path:
    sources = ("raysvc", "jobs", "serving", "pyproject.toml", "README.md", "LICENSE")

    def make(folder: Path) -> None:
        with tempfile.TemporaryDirectory() as place:
            run(_uv(), "build", "--quiet", "--wheel", "--out-dir", place, cwd=CHECKOUT)
            (wheel,) = Path(place).glob("*.whl")
            _install(folder, "--no-deps", str(wheel))

    return cache.made("project", cache.digest(*(CHECKOUT / name for name in sources)), make)


def _requirements(*options: str) -> list[str]:
    """Return what the lock has for this project with Ray, without the project itself."""
    said = run(
        _uv(), "export", "--frozen", "--no-dev", "--extra", "ray", "--no-emit-project", "--no-hashes", "--no-annotate",
        "--no-header", *options, cwd=CHECKOUT,
    )  # fmt: skip
    return said.splitlines()


def _base(folder: Path, requirements: str) -> None:
    root = folder / "root"
    run("debootstrap", "--variant=minbase", f"--include={','.join(_PACKAGES)}", _SUITE, root, _mirror())
    site = root / _SITE
    _install(site, "-r", "-", given=requirements)
    for script in (site / "bin").iterdir():
        _copy_script(script, root / "usr/local/bin" / script.name)
    shutil.rmtree(site / "bin")
    (root / "usr/local/bin/python").symlink_to("/usr/bin/python3")
    (site / "mounts.pth").write_text(f"{_PROJECT_AT}\n{_TORCH_AT}\n")
    with (root / "etc/passwd").open("a") as users:
        users.write(f"ray:x:{_USER}:{_GROUP}::{_HOME}:/bin/bash\n")
    home = root / _HOME.lstrip("/")
    home.mkdir()
    os.chown(home, _USER, _GROUP)
    for rest in ("var/cache/apt/archives", "var/lib/apt/lists", "usr/share/doc"):
        shutil.rmtree(root / rest, ignore_errors=True)
    make_layer(root, folder / "layer.tar")
    shutil.rmtree(root)


def _install(site: Path, *what: str, given: str | None = None) -> None:
    run(_uv(), "pip", "install", "--quiet", "--python-version", _PYTHON, "--target", site, *what, given=given)


def _copy_script(script: Path, to: Path) -> None:
    """Copy it, to run with the image's Python. Not changed in place: it may be a hard link into uv's cache."""
    content = script.read_bytes()
    first, _, rest = content.partition(b"\n")
    to.write_bytes(b"#!/usr/bin/python3\n" + rest if first.startswith(b"#!") and b"python" in first else content)
    to.chmod(0o755)


def _uv() -> str:
    # `uv run` tells its children where it is.
    found = os.environ.get("UV") or shutil.which("uv")
    if not found:
        raise ClusterError("the Ray image is made with uv, which is not on the PATH: pip install uv")
    return found


def _mirror() -> str:
    """Return the Debian mirror that apt here uses."""
    lists = [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))]
    for file in lists:
        said = file.read_text(errors="replace") if file.is_file() else ""
        if found := re.search(r"^(?:URIs:|deb )[^\n]*?(https?://\S+/debian)/?(?:\s|$)", said, re.MULTILINE):
            return found[1]
    return "http://deb.debian.org/debian"
