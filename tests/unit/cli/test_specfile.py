"""Errors in a spec file name the file, the line and the field."""

from pathlib import Path

import pytest

from raysvc.cli.specfile import read_spec
from raysvc.errors import Invalid


def write(folder: Path, text: str) -> Path:
    path = folder / "job.yaml"
    path.write_text(text)
    return path


def test_a_spec_is_read(tmp_path: Path) -> None:
    spec = read_spec(write(tmp_path, "entrypoint: python train.py\ncode: {kind: payload, name: train_lm}\n"))
    assert spec.entrypoint == "python train.py"


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("entrypoint: x\nprioritty: 3\n", 2, "prioritty: there is no such field; did you mean priority?"),
        ("entrypoint: x\nresources:\n  cpus: -1\n", 3, "resources.cpus: Input should be greater than or equal to 0"),
        ("entrypoint: x\nresources: {gpu: 1}\n", 2, "resources.gpu: there is no such field"),
        ("name: x\n", 1, "entrypoint is missing"),
        ("entrypoint: x\ncode:\n  kind: payload\n  name: Bad-Name\n", 4, "code.name: String should match"),
        ("entrypoint: x\ncode:\n  kind: git\n", 2, "code: Input tag 'git'"),
        (
            "entrypoint: x\nshape:\n  workers:\n  - name: a\n  - name: b\n    scale: {want: x}\n",
            6,
            "shape.workers.1.scale.want: Input should be a valid integer",
        ),
        ("entrypoint: x\nlabels:\n  day: 2026-01-01\n", 3, "labels.day: Input should be a valid string"),
        ("entrypoint: x\ntimeout_s: 0\n", 2, "timeout_s: Input should be greater than 0 (got 0)"),
        ("entrypoint: x\nname: a\nname: b\n", 3, "name stands here twice"),
        ("entrypoint: x\nlabels: {a: 1, a: 2}\n", 2, "a stands here twice"),
        ("entrypoint: x\nlabels: {\n", 3, "this is not YAML"),
        ("entrypoint: !!python/object:os.system x\n", 1, "this is not YAML"),
    ],
)
def test_a_mistake_is_named_with_its_line(tmp_path: Path, text: str, line: int, said: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(Invalid) as caught:
        read_spec(path)
    assert f"{path}:{line}: {said}" in caught.value.message


def test_all_mistakes_are_named_in_the_order_of_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, "priority: high\nentrypoint: ''\nqueue: Q\n")
    with pytest.raises(Invalid) as caught:
        read_spec(path)
    lines = caught.value.message.splitlines()
    assert [line.removeprefix(f"{path}:").partition(":")[0] for line in lines] == ["1", "2", "3"]
    assert caught.value.field == "priority"


@pytest.mark.parametrize("text", ["", "- a\n", "just words\n"])
def test_what_is_no_mapping_is_told_from_a_spec(tmp_path: Path, text: str) -> None:
    with pytest.raises(Invalid, match="a job spec is a mapping"):
        read_spec(write(tmp_path, text))


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(Invalid, match=r"job\.yaml cannot be read"):
        read_spec(path)
