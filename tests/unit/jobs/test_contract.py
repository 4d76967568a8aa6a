import json
from pathlib import Path

import pytest
from train_lm.contract import METRICS, MetricsFollower, MetricsLog, Place, write_file


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place.of(
        {"RAYSVC_ATTEMPT": "2", "RAYSVC_CHECKPOINT_DIR": f"{tmp_path}/c", "RAYSVC_OUTPUT_DIR": f"{tmp_path}/o"}
    )


def test_a_place_is_what_the_platform_says(place: Place, tmp_path: Path) -> None:
    assert place == Place(2, tmp_path / "c", tmp_path / "o")
    assert place.checkpoints.is_dir()
    assert place.outputs.is_dir()


def test_without_a_platform_it_is_below_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Place.of({}) == Place(1, tmp_path / "checkpoints", tmp_path / "outputs")


def test_a_line_of_metrics_has_its_time_and_attempt(place: Place) -> None:
    MetricsLog(place).append(step=1, total_steps=9, loss=2.5)
    line = json.loads((place.outputs / METRICS).read_text())
    assert line.pop("time") > 1.7e9
    assert line == {"step": 1, "total_steps": 9, "loss": 2.5, "attempt": 2}


def test_a_line_that_a_killed_writer_cut_short_spoils_no_other(place: Place) -> None:
    follower = MetricsFollower(place)
    MetricsLog(place).append(step=1)
    with (place.outputs / METRICS).open("a") as file:
        file.write('{"step": 2, "lo')
    assert [line["step"] for line in follower.read()] == [1]
    MetricsLog(place).append(step=2)
    assert [line["step"] for line in follower.read()] == [2]
    assert list(follower.read()) == []


def test_a_follower_begins_at_the_end(place: Place) -> None:
    MetricsLog(place).append(step=1)
    follower = MetricsFollower(place)
    MetricsLog(place).append(step=2)
    assert [line["step"] for line in follower.read()] == [2]


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    for content in (b"old", b"new"):
        write_file(tmp_path / "file", content)
    assert (tmp_path / "file").read_bytes() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
