"""Where files are read, and what is refused there."""

import json
from pathlib import Path

import pytest

from raysvc.errors import Invalid, NotFound
from raysvc.planner import PlanRequest, plan
from raysvc.planner.safetensors import INDEX, SINGLE, read_tensors
from raysvc.planner.source import LocalSource, Source, resolve
from tests.unit.planner.checkpoint import LLAMA, llama_tensors, write

TOTAL = sum(tensor.nbytes for tensor in llama_tensors())


class Remote:
    """A source over the bytes of a directory that remembers what was asked of it."""

    def __init__(self, folder: Path) -> None:
        self.local = LocalSource(folder)
        self.read_bytes = 0

    @property
    def label(self) -> str:
        return "hf://someone/model"

    def size(self, name: str) -> int | None:
        return self.local.size(name)

    def read(self, name: str, *, offset: int, length: int) -> bytes:
        data = self.local.read(name, offset=offset, length=length)
        self.read_bytes += len(data)
        return data


def test_one_file_and_many_shards_say_the_same(tmp_path: Path) -> None:
    one = read_tensors(LocalSource(write(tmp_path / "one", LLAMA, llama_tensors())))
    many = read_tensors(LocalSource(write(tmp_path / "many", LLAMA, llama_tensors(), shards=3)))

    assert one is not None
    assert many is not None
    assert sorted(one, key=lambda it: it.name) == sorted(many, key=lambda it: it.name)
    assert sum(tensor.nbytes for tensor in one) == TOTAL


def test_files_that_no_index_names_are_not_counted(tmp_path: Path) -> None:
    folder = write(tmp_path, LLAMA, llama_tensors(), shards=2)
    (folder / "original.safetensors").write_bytes(b"\0" * 1000)  # gpt-oss carries a second copy

    tensors = read_tensors(LocalSource(folder))

    assert tensors is not None
    assert sum(tensor.nbytes for tensor in tensors) == TOTAL


def test_an_index_that_names_missing_files_says_which(tmp_path: Path) -> None:
    folder = write(tmp_path, LLAMA, llama_tensors(), shards=3)
    (folder / "model-00002-of-00003.safetensors").unlink()

    with pytest.raises(Invalid, match=r"1 of 3 files that are not there: model-00002-of-00003\.safetensors"):
        plan(PlanRequest(model=str(folder), gpu="H100"))


def test_an_index_that_names_a_missing_tensor_says_which(tmp_path: Path) -> None:
    folder = write(tmp_path, LLAMA, llama_tensors(), shards=2)
    index = json.loads((folder / INDEX).read_text())
    index["weight_map"]["model.layers.9.ghost"] = "model-00001-of-00002.safetensors"
    (folder / INDEX).write_text(json.dumps(index))

    with pytest.raises(Invalid, match=r"1 tensors of .* model\.layers\.9\.ghost"):
        read_tensors(LocalSource(folder))


@pytest.mark.parametrize("name", ["../secret.safetensors", "/etc/passwd", "a/b.safetensors", ".hidden", ""])
def test_an_index_cannot_lead_out_of_the_directory(tmp_path: Path, name: str) -> None:
    folder = write(tmp_path / "model", LLAMA, llama_tensors())
    (tmp_path / "secret.safetensors").write_bytes((folder / SINGLE).read_bytes())
    (folder / INDEX).write_text(json.dumps({"weight_map": {"model.norm.weight": name}}))

    with pytest.raises(Invalid, match="no file name of a model"):
        read_tensors(LocalSource(folder))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (b"", "no safetensors file"),
        (b"\xff" * 64, "no safetensors file"),
        ((500).to_bytes(8, "little") + b"{}", "ends inside its header"),
        ((4).to_bytes(8, "little") + b"nope", "does not parse"),
        ((33).to_bytes(8, "little") + b'{"a":{"dtype":"F3","shape":[1]}} ', "unknown dtype"),
        ((34).to_bytes(8, "little") + b'{"a":{"dtype":"F32","shape":[-1]}}', "shape"),
    ],
)
def test_a_damaged_file_is_told_from_a_model(tmp_path: Path, damage: bytes, message: str) -> None:
    folder = write(tmp_path, LLAMA, llama_tensors())
    (folder / SINGLE).write_bytes(damage)

    with pytest.raises(Invalid, match=message):
        read_tensors(LocalSource(folder))


@pytest.mark.parametrize("text", ["[1]", "{", '{"weight_map": 3}', '{"weight_map": {"a": 1}}', "{}"])
def test_an_index_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    folder = write(tmp_path, LLAMA, llama_tensors())
    (folder / INDEX).write_text(text)

    with pytest.raises(Invalid, match=r"index|weight_map"):
        read_tensors(LocalSource(folder))


def test_a_remote_model_is_read_by_ranges_never_its_weights(tmp_path: Path) -> None:
    tensors = llama_tensors({**LLAMA, "vocab_size": 100_000})
    remote = Remote(write(tmp_path, {**LLAMA, "vocab_size": 100_000}, tensors, shards=2))

    def reader(url: str) -> Source:
        assert url == "hf://someone/model"
        return remote

    answer = plan(PlanRequest(model="hf://someone/model", gpu="H100"), reader=reader)

    assert answer.model.weights_gib * (1 << 30) > 20_000_000
    assert remote.read_bytes < 20_000
    local = plan(PlanRequest(model=str(tmp_path), gpu="H100"))
    assert answer.candidates[0].cold_start_s > local.candidates[0].cold_start_s  # it must be downloaded


@pytest.mark.parametrize("model", ["hf://a/b", "https://host/model", "s3://bucket/model"])
def test_a_remote_model_needs_a_reader(model: str) -> None:
    with pytest.raises(Invalid, match="cannot be read here"):
        resolve(model, None)


@pytest.mark.parametrize("model", ["ftp://host/model", "file:///etc"])
def test_other_schemes_are_refused(model: str) -> None:
    with pytest.raises(Invalid, match="hf://"):
        resolve(model, None)


def test_a_model_that_is_nowhere_is_not_found() -> None:
    with pytest.raises(NotFound, match="no model 'nobody/nothing'"):
        plan(PlanRequest(model="nobody/nothing"))


def test_a_directory_without_a_config_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match=r"no config\.json"):
        plan(PlanRequest(model=str(tmp_path)))


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000])
def test_a_config_that_does_not_parse_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)

    with pytest.raises(Invalid, match=r"config\.json"):
        plan(PlanRequest(model=str(tmp_path)))
