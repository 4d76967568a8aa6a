"""Clients of the Rays that people still have, each in an environment of its own that is made once and kept."""

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real.ray_front import TOKEN, Front, run

LIFE = Path(__file__).with_name("ray_life.py")
VERSIONS = ("2.40.0", "2.47.1", "2.51.1", "2.55.0")
# What `ray job` and JobSubmissionClient import, of all that `ray[default]` would bring.
REQUIRES = ("aiohttp<4", "pydantic<3")


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    with Front(tmp_path_factory.mktemp("front")) as served:
        yield served


@pytest.mark.timeout(600)  # the first time, each is downloaded: about 80 MB
@pytest.mark.parametrize("version", VERSIONS)
def test_a_jobs_whole_life_through_the_sdk_and_the_command(version: str, front: Front, tmp_path: Path) -> None:
    python = interpreter(version)
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "RAY_ADDRESS": front.url}
    life = run([str(python), str(LIFE), front.url, TOKEN, str(tmp_path / "code")], environment)
    assert life.returncode == 0, life.stdout
    assert f"ray {version}: ok" in life.stdout

    # Before 2.52 there are no token variables: headers are the only way.
    headers = {"RAY_JOB_HEADERS": json.dumps({"Authorization": f"Bearer {TOKEN}"})}
    command = [str(python.with_name("ray")), "job", "submit", "--working-dir", str(tmp_path / "code"), "--"]
    told = run([*command, "echo", f"said-by-{version}"], {**environment, **headers})
    assert told.returncode == 0, told.stdout
    assert f"said-by-{version}\n" in told.stdout
    assert "succeeded" in told.stdout
    failed = run([*command, "exit", "4"], {**environment, **headers})
    assert failed.returncode == 1, failed.stdout


def interpreter(version: str) -> Path:
    """Return the Python that has this Ray, made if it is not there. Safe beside other test runs."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "raysvc-tests"
    cache.mkdir(parents=True, exist_ok=True)
    home = cache / f"ray-{version}"
    python = home / "bin" / "python"
    whole = home / "whole"
    wanted = f"{sys.version_info[:2]} {REQUIRES}"
    with (cache / f"ray-{version}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not whole.exists() or whole.read_text() != wanted:
            # `uv run` says where it lies itself; on a machine of its own it is on no PATH.
            found = os.environ.get("UV") or shutil.which("uv")
            uv = [found] if found else [sys.executable, "-m", "uv"]
            shutil.rmtree(home, ignore_errors=True)
            subprocess.run([*uv, "venv", "-q", "-p", sys.executable, str(home)], check=True)
            subprocess.run([*uv, "pip", "install", "-q", "-p", str(python), f"ray=={version}", *REQUIRES], check=True)
            whole.write_text(wanted)
    return python
