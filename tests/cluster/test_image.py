import hashlib
import io
import json
import tarfile
from pathlib import Path

from tests.cluster import image
from tests.cluster.image import Image


def _layer(tmp_path: Path, name: str) -> Path:
    folder = tmp_path / name
    folder.mkdir()
    (folder / name).write_text(name)
    image.make_layer(folder, tmp_path / f"{name}.tar")
    return tmp_path / f"{name}.tar"


def test_an_archive_holds_its_layers_under_the_digests_it_names(tmp_path: Path) -> None:
    layers = (_layer(tmp_path, "below"), _layer(tmp_path, "above"))
    output = io.BytesIO()
    Image("test/it:1", {"User": "1000"}, layers).write(output)
    output.seek(0)
    with tarfile.open(fileobj=output) as archive:
        content = {entry.name: (archive.extractfile(entry) or io.BytesIO()).read() for entry in archive}
    (manifest,) = json.loads(content["manifest.json"])
    config = json.loads(content[manifest["Config"]])
    digests = [hashlib.sha256(content[name]).hexdigest() for name in manifest["Layers"]]
    assert manifest["RepoTags"] == ["test/it:1"]
    assert config["rootfs"]["diff_ids"] == [f"sha256:{digest}" for digest in digests]
    assert config["config"] == {"User": "1000"}
    assert [content[name] for name in manifest["Layers"]] == [layer.read_bytes() for layer in layers]


def test_a_layer_holds_files_with_numeric_owners_and_one_time(tmp_path: Path) -> None:
    with tarfile.open(_layer(tmp_path, "files")) as layer:
        entries = {entry.name: entry for entry in layer}
    assert entries["./files"].uname == ""
    assert len({entry.mtime for entry in entries.values()}) == 1


def test_the_same_content_is_the_same_layer(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    one, two = _layer(tmp_path / "one", "same"), _layer(tmp_path / "two", "same")
    assert image.layer_digest(one) == image.layer_digest(two) == hashlib.sha256(one.read_bytes()).hexdigest()


def test_an_image_is_another_one_when_its_content_is(tmp_path: Path) -> None:
    one, other = _layer(tmp_path, "one"), _layer(tmp_path, "other")
    assert Image("test/it:1", {}, (one,)).identity == Image("test/it:1", {}, (one,)).identity
    assert Image("test/it:1", {}, (one,)).identity != Image("test/it:1", {}, (other,)).identity
