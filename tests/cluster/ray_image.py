"""The image of Ray's pods: Debian's Python, Ray as this project's lock has it, and this project's wheel.

Two parts are no layers of it, but folders of the machine that the nodes put into every container, read-only, where the
image's Python looks for them: torch with what only torch needs, which is 4.5 GB, and the wheel, which changes often.
"""

import inspect
import os
import shutil
import tempfile
from pathlib import Path

from tests.cluster import cache, debian
from tests.cluster.command import run
from tests.cluster.image import Image, make_layer
from tests.cluster.plan import RAY_IMAGE

_TORCH_AT = "/opt/torch"
PROJECT_AT = "/opt/raysvc"
_PACKAGES = ("ca-certificates", "iproute2", "procps", "python3", "python3-venv", "wget")
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
    lean = "\n".join(debian.requirements("ray", "--prune", "torch"))
    base = cache.made(
        "ray-image", cache.digest(lean, *_PACKAGES, inspect.getsource(_base), repr(_CONFIG)), lambda to: _base(to, lean)
    )
    return Image(RAY_IMAGE, _CONFIG, (base / "layer.tar",))


def mounts() -> dict[str, str]:
    """Return what belongs into each container of it: where, and the folder of this machine, made now or before."""
    return {_TORCH_AT: str(_torch_folder()), PROJECT_AT: str(_project_folder())}


def _torch_folder() -> Path:
    wanted = "\n".join(sorted(set(debian.requirements("ray")) - set(debian.requirements("ray", "--prune", "torch"))))

    def make(folder: Path) -> None:
        debian.install(folder, "--no-deps", "-r", "-", given=wanted)

    return cache.made("torch", cache.digest(wanted), make)


def _project_folder() -> Path:
    sources = ("raysvc", "jobs", "serving", "pyproject.toml", "README.md", "LICENSE")

    def make(folder: Path) -> None:
        with tempfile.TemporaryDirectory() as place:
            run(debian.uv(), "build", "--quiet", "--wheel", "--out-dir", place, cwd=debian.CHECKOUT)
            (wheel,) = Path(place).glob("*.whl")
            debian.install(folder, "--no-deps", str(wheel))

    return cache.made("project", cache.digest(*(debian.CHECKOUT / name for name in sources)), make)


def _base(folder: Path, requirements: str) -> None:
    root = folder / "root"
    debian.lay_out(root, _PACKAGES)
    site = root / debian.SITE
    debian.install(site, "-r", "-", given=requirements)
    for script in (site / "bin").iterdir():
        debian.copy_script(script, root / "usr/local/bin" / script.name)
    shutil.rmtree(site / "bin")
    (root / "usr/local/bin/python").symlink_to("/usr/bin/python3")
    (site / "mounts.pth").write_text(f"{PROJECT_AT}\n{_TORCH_AT}\n")
    with (root / "etc/passwd").open("a") as users:
        users.write(f"ray:x:{_USER}:{_GROUP}::{_HOME}:/bin/bash\n")
    home = root / _HOME.lstrip("/")
    home.mkdir()
    os.chown(home, _USER, _GROUP)
    make_layer(root, folder / "layer.tar")
    shutil.rmtree(root)
