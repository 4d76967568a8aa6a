"""Container images written by hand: layers are tar files, an image is what `ctr images import` reads."""

import hashlib
import io
import json
import shutil
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from tests.cluster import cache
from tests.cluster.command import run

# One moment for all images: the same content gives the same image.
_CREATED = "2026-01-01T00:00:00Z"
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Image:
    """A name, what to run in it, and its layers from below to above."""

    reference: str
    config: Mapping[str, Any]
    layers: tuple[Path, ...]

    def write(self, output: IO[bytes]) -> None:
        """Write the archive; `output` may be a pipe."""
        digests = [layer_digest(layer) for layer in self.layers]
        config = json.dumps(
            {
                "architecture": "amd64",
                "os": "linux",
                "created": _CREATED,
                "config": self.config,
                "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}" for digest in digests]},
                "history": [{"created": _CREATED, "created_by": "raysvc tests"} for _ in digests],
            }
        ).encode()
        config_name = f"{hashlib.sha256(config).hexdigest()}.json"
        names = [f"{digest}/layer.tar" for digest in digests]
        manifest = [{"Config": config_name, "RepoTags": [self.reference], "Layers": names}]
        with tarfile.open(fileobj=output, mode="w|", format=tarfile.PAX_FORMAT) as archive:
            _add(archive, config_name, config)
            _add(archive, "manifest.json", json.dumps(manifest).encode())
            for name, layer in zip(names, self.layers, strict=True):
                entry = tarfile.TarInfo(name)
                entry.size = layer.stat().st_size
                with layer.open("rb") as content:
                    archive.addfile(entry, content)

    @property
    def identity(self) -> str:
        """Equal where name, configuration and content are."""
        return json.dumps([self.reference, self.config, [layer_digest(layer) for layer in self.layers]])


def of_program(reference: str, program: Path, at: str, config: Mapping[str, Any]) -> Image:
    """Return an image that holds one static program and nothing else."""

    def make(folder: Path) -> None:
        inside = folder / "root" / at.lstrip("/")
        inside.parent.mkdir(parents=True)
        shutil.copy(program, inside)
        inside.chmod(0o755)
        make_layer(folder / "root", folder / "layer.tar")
        shutil.rmtree(folder / "root")

    name = reference.partition("/")[2].partition(":")[0]
    layer = cache.made(f"{name}-image", cache.digest(str(program), at), make) / "layer.tar"
    return Image(reference, {"Entrypoint": [at], **config}, (layer,))


def make_layer(folder: Path, layer: Path) -> None:
    """Pack a folder as a layer, and note the layer's digest beside it."""
    run("tar", "--numeric-owner", "--sort=name", "--mtime", _CREATED, "-cf", layer, "-C", folder, ".")
    digest = hashlib.sha256()
    with layer.open("rb") as content:
        for chunk in _chunks(content):
            digest.update(chunk)
    _digest_file(layer).write_text(digest.hexdigest())


def layer_digest(layer: Path) -> str:
    return _digest_file(layer).read_text()


def _digest_file(layer: Path) -> Path:
    return layer.with_suffix(".sha256")


def _chunks(content: IO[bytes]) -> Iterator[bytes]:
    while chunk := content.read(_CHUNK):
        yield chunk


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))
