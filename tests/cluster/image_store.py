"""The images as containerd keeps them, unpacked once for all nodes.

A node copies containerd's two small databases and mounts the unpacked layers, read-only, where containerd looks for
them: so a node starts in seconds, and has nothing of the images on its own disk.
"""

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.cluster import cache
from tests.cluster.command import run, say, succeeds, wait_until
from tests.cluster.failure import ClusterError
from tests.cluster.image import Image

_START_S = 60.0
_STOP_S = 20.0
_SNAPSHOTTER = Path("io.containerd.snapshotter.v1.overlayfs")
_SNAPSHOTS = _SNAPSHOTTER / "snapshots"


def stored(images: Sequence[Image], containerd: Path) -> Path:
    """Return containerd's root folder with these images in it, made now or before."""
    key = cache.digest(containerd.name, *(image.identity for image in images))
    return cache.made("image-store", key, lambda folder: _fill(folder / "root", images, containerd)) / "root"


def seed(store: Path, root: Path) -> None:
    """Give a node's containerd, which does not run, the images of the store. May be repeated.

    The mounts are those of the caller's namespace. A root that was seeded keeps the store it began with.
    """
    note = root.with_name(f"{root.name}.store")
    if note.exists():
        store = Path(note.read_text())
    else:
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(store, root, ignore=lambda folder, names: names if Path(folder) == store / _SNAPSHOTS else [])
        note.write_text(str(store))
    for snapshot in (store / _SNAPSHOTS).iterdir():
        at = root / _SNAPSHOTS / snapshot.name
        at.mkdir(exist_ok=True)
        run("mount", "--bind", snapshot, at)
        run("mount", "-o", "remount,bind,ro", at)


def _fill(root: Path, images: Sequence[Image], containerd: Path) -> None:
    """Let a containerd of its own import the images there: in its own mounts, ended with what it started."""
    with tempfile.TemporaryDirectory(prefix="containerd-") as place:
        socket, log = Path(place) / "sock", Path(place) / "log"
        (Path(place) / "config.toml").write_text(f"""\
version = 3
root = '{root}'
state = '{place}/state'
disabled_plugins = ['io.containerd.cri.v1.images', 'io.containerd.cri.v1.runtime', 'io.containerd.grpc.v1.cri']
[grpc]
  address = '{socket}'
[ttrpc]
  address = '{socket}.ttrpc'
[plugins.'io.containerd.internal.v1.opt']
  path = '{place}/opt'
[plugins.'io.containerd.nri.v1.nri']
  disable = true
""")
        own = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
        with log.open("wb") as output:
            daemon = subprocess.Popen(
                [*own, containerd / "containerd", "--config", f"{place}/config.toml"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        try:
            ctr = (containerd / "ctr", "--address", socket)
            wait_until(lambda: succeeds(*ctr, "version"), "containerd, which unpacks the images", within_s=_START_S)
            for image in images:
                _import(image, ctr)
        except ClusterError as error:
            raise ClusterError(f"{error}\n{log.read_text(errors='replace')[-2000:]}") from error
        finally:
            daemon.kill()
            daemon.wait(_STOP_S)


def _import(image: Image, ctr: Sequence[str | Path]) -> None:
    command = (*ctr, "--namespace", "k8s.io", "images", "import", "--local", "--discard-unpacked-layers", "-")
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as importing:
        assert importing.stdin is not None
        image.write(importing.stdin)
    if importing.returncode:
        raise ClusterError(f"containerd does not take the image {image.reference}")
    say(f"unpacked {image.reference}")
