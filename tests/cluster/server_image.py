"""The image of raysvc's server, as manifests/Containerfile makes it: Debian's Python and what the lock has.

But for this project's wheel, which changes often: the nodes put it into every container, as for Ray's image.
"""

import inspect
import shutil
from pathlib import Path

from tests.cluster import cache, containerfile, debian
from tests.cluster.image import Image, make_layer
from tests.cluster.plan import SERVER_IMAGE
from tests.cluster.ray_image import PROJECT_AT

CONTAINERFILE = debian.CHECKOUT / "manifests" / "Containerfile"
_PACKAGES = ("ca-certificates", "python3")
_ENTRYPOINT = "/usr/local/bin/raysvc"


def built() -> Image:
    """Return the image, built now or before. Needs root, for debootstrap."""
    wanted = "\n".join(debian.requirements("kube", "--extra", "postgres"))
    config = containerfile.config_of(CONTAINERFILE.read_text())
    base = cache.made(
        "server-image", cache.digest(wanted, *_PACKAGES, inspect.getsource(_base)), lambda to: _base(to, wanted)
    )
    return Image(SERVER_IMAGE, config, (base / "layer.tar",))


def _base(folder: Path, requirements: str) -> None:
    root = folder / "root"
    debian.lay_out(root, _PACKAGES)
    site = root / debian.SITE
    debian.install(site, "-r", "-", given=requirements)
    shutil.rmtree(site / "bin", ignore_errors=True)
    (site / "mounts.pth").write_text(f"{PROJECT_AT}\n")
    program = root / _ENTRYPOINT.lstrip("/")
    program.write_text("#!/usr/bin/python3\nimport sys\nfrom raysvc.cli import main\nsys.exit(main())\n")
    program.chmod(0o755)
    make_layer(root, folder / "layer.tar")
    shutil.rmtree(root)
