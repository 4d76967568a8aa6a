"""The README is true: its tour runs, from top to bottom, as a newcomer would type it."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
TOUR = README[README.index("## Tour") :]
# A first Ray on a busy machine of two cores, and every command of the tour after it, with a vLLM.
START_S, TOUR_S = 180.0, 900.0


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TOUR, re.DOTALL | re.MULTILINE)


@pytest.fixture
def environment(tmp_path: Path, model: Path) -> Iterator[dict[str, str]]:
    data_dir = tmp_path / "data"
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    for name in [n for n in environment if n.startswith(("RAY_", "RAYSVC_", "OPENAI_"))]:
        del environment[name]
    environment["MODEL"] = str(model)
    with (tmp_path / "up.log").open("wb") as log:
        command = ["raysvc", "up", "--port", "0", "--data-dir", str(data_dir)]
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + START_S
        while not (data_dir / "server.json").exists():
            assert server.poll() is None, (tmp_path / "up.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        environment["RAYSVC_URL"] = json.loads((data_dir / "server.json").read_text())["url"]
        environment["RAYSVC_DATA_DIR"] = str(data_dir)
        environment["RAYSVC_TOKEN"] = (data_dir / "admin-token").read_text().strip()
        yield environment
    finally:
        server.terminate()
        server.wait(120)


@pytest.mark.ray
@pytest.mark.timeout(START_S + TOUR_S)
def test_the_tour_runs_as_it_is_written(environment: dict[str, str], tmp_path: Path) -> None:
    commands = [block for block in blocks("sh") if block.strip() != "raysvc up" and "jobs/train_lm" not in block]
    script = "set -eux -o pipefail\n" + "\n".join(commands)
    for program in blocks("python"):
        script += f"\npython - <<'EOF'\n{program}\nEOF\n"
    tour = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=TOUR_S,
        check=False,
    )
    assert tour.returncode == 0, tour.stdout + tour.stderr
    assert "hello from raysubmit_" in tour.stdout
    assert "SUCCEEDED" in tour.stdout
    assert "CompletionUsage(completion_tokens=4" in tour.stdout
    assert "tiny is gone." in tour.stdout


def test_ci_runs_the_readmes_test_command_and_nothing_else() -> None:
    test_command = next(line for line in README.splitlines() if line.endswith("python -m tests"))
    lines = [line for line in (ROOT / ".ci" / "run").read_text().splitlines() if line and not line.startswith("#")]
    assert lines == ["set -euo pipefail", 'cd "$(dirname "$0")/.."', test_command]


def test_every_file_that_the_readme_names_is_there() -> None:
    for path in re.findall(r"\]\(([A-Z]+\.md)\)|`(jobs/[a-z_/.]+)`", README):
        assert (ROOT / (path[0] or path[1])).exists(), path
