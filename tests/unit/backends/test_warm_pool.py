"""The pool of warm drivers: each run once, apart from the others, ended with all that is below it."""

import ast
import json
import secrets
import selectors
import signal
import socket
import sys
import zipfile
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

import raysvc.backends.local.warm
from raysvc.backends.local.pool.channel import Channel
from raysvc.backends.local.warm.wire import Wire
from raysvc.errors import Unavailable
from tests.unit.backends.warm import Warm, having, pool, short, until


def test_the_program_needs_nothing_but_the_standard_library() -> None:
    """It is copied to where raysvc is not."""
    for file in Path(raysvc.backends.local.warm.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom):
                assert node.level == 1 or str(node.module).partition(".")[0] in sys.stdlib_module_names, file
            elif isinstance(node, ast.Import):
                assert {alias.name.partition(".")[0] for alias in node.names} <= sys.stdlib_module_names, file


@pytest.fixture
async def warm(tmp_path: Path) -> AsyncIterator[Warm]:
    async with pool(tmp_path) as made:
        yield made


@pytest.fixture
def span() -> Iterator[str]:
    """Return a number of seconds that nobody else sleeps."""
    return iter([str(secrets.randbelow(10**9) + 10**6)])


@pytest.fixture
def seconds(span: Iterator[str]) -> str:
    return next(span)


@pytest.mark.parametrize(
    ("entrypoint", "status", "code", "output"),
    [
        ("echo hello; echo more >&2", "SUCCEEDED", 0, "hello\nmore\n"),
        ("exit 3", "FAILED", 3, ""),
        ("kill -9 $$", "FAILED", -9, ""),
        ("no-such-program", "FAILED", 127, "/bin/sh: 1: no-such-program: not found\n"),
        ("cat; ls /proc/self/fd | wc -l", "SUCCEEDED", 0, "4\n"),  # stdin is empty; ls has its folder open too
        ("yes | head -1", "SUCCEEDED", 0, "y\n"),  # SIGPIPE is not ignored
    ],
)
async def test_a_run_ends_as_its_shell_does(warm: Warm, entrypoint: str, status: str, code: int, output: str) -> None:
    record = await warm.run("job-1", entrypoint)
    assert (record["status"], record["driver_exit_code"], record["driver_node_id"]) == (status, code, "node-1")
    assert record["start_time"] <= record["end_time"]
    assert warm.output("job-1") == output
    assert output in record["message"] or status == "SUCCEEDED"
    await until(lambda: warm.news == ["job-1", "job-1"])


async def test_a_run_has_its_variables_its_folder_and_nothing_of_another(warm: Warm, tmp_path: Path) -> None:
    package = tmp_path / "code.zip"
    with zipfile.ZipFile(package, "w") as archive:
        archive.writestr(
            "here/main.sh", "pwd; echo $COLOUR; echo $PYTHONPATH; ls -A ..; echo $RAY_JOB_CONFIG_JSON_ENV_VAR"
        )
    folder = tmp_path / "warm" / "pools" / "pool" / "run-a"
    await warm.run(
        "a",
        "cd here; sh main.sh",
        variables={"COLOUR": "blue"},
        package=str(package),
        folder=str(folder),
        config={"a": 1},
    )
    assert warm.output("a").splitlines() == [f"{folder}/here", "blue", str(folder), "here", '{"a": 1}']
    assert not folder.exists()
    await warm.run("b", "echo [$COLOUR]; pwd")
    assert warm.output("b").splitlines() == ["[]", str(tmp_path / "home")]


def below(folder: Path, name: str) -> list[Path]:
    return list(folder.rglob(name))


@pytest.mark.parametrize("name", ["../escape", "/escape", "a/../../escape"])
async def test_a_package_that_climbs_out_is_not_unpacked(warm: Warm, tmp_path: Path, name: str) -> None:
    package = tmp_path / "bad.zip"
    with zipfile.ZipFile(package, "w") as archive:
        archive.writestr(name, "x")
    folder = tmp_path / "warm" / "pools" / "pool" / "run-a"
    record = await warm.run("a", "echo never", package=str(package), folder=str(folder))
    assert (record["status"], record["error_type"]) == ("FAILED", "RUNTIME_ENV_SETUP_FAILURE")
    assert "leads out of the package" in record["message"]
    assert "never" not in warm.output("a")
    assert not below(tmp_path, "escape")


async def test_an_attempt_is_started_once_whoever_asks_however_often(warm: Warm, tmp_path: Path) -> None:
    line = f"echo ran >> {tmp_path}/count; sleep 0.2"
    await warm.start("a", line)
    await warm.start("a", line)
    await warm.ended("a")
    await warm.start("a", line)
    async with pool(tmp_path, "another") as other:
        await other.start("a", line)
        await other.run("b", "true")
    assert (tmp_path / "count").read_text() == "ran\n"


async def test_a_stop_lets_clean_up_and_then_kills_all_of_the_run(warm: Warm, seconds: str) -> None:
    await warm.start("gentle", "trap 'echo cleaned up; exit 0' TERM; echo up; while :; do sleep 0.05; done")
    await warm.start("deaf", f"trap '' TERM; echo up; sleep {seconds} & sleep {seconds}; sleep {seconds}")
    await until(lambda: "up" in warm.output("gentle") and len(having(seconds)) > 1)
    for name in ("gentle", "deaf"):
        await warm.channel.ask("stop", id=name)
        await warm.channel.ask("stop", id=name)
    assert (await warm.ended("gentle"))["status"] == "STOPPED"
    assert "cleaned up" in warm.output("gentle")
    assert (await warm.ended("deaf"))["status"] == "STOPPED"
    await until(lambda: not having(seconds))


async def test_what_a_run_leaves_in_the_background_ends_with_it(warm: Warm, seconds: str) -> None:
    await warm.run("a", f"sleep {seconds} & echo started")
    await until(lambda: not having(seconds))


async def test_more_runs_than_it_may_take_are_refused_and_not_begun(tmp_path: Path) -> None:
    async with pool(tmp_path, most=1) as warm:
        await warm.start("a", "sleep 600")
        with pytest.raises(Unavailable, match="1 runs are all"):
            await warm.start("b", "true")
        assert not (tmp_path / "warm" / "runs" / "b.begun").exists()


async def test_a_request_of_one_who_has_hung_up_is_not_carried_out(warm: Warm, tmp_path: Path) -> None:
    process = psutil.Process(warm.process.pid)
    process.suspend()
    asker = socket.socket(socket.AF_UNIX)
    asker.connect(str(short(tmp_path / "warm" / "pools" / "pool" / "socket")))
    run = {"id": "late", "entrypoint": "true", "variables": {}, "config": {}, "log": str(warm.log("late")), "node": "n"}
    asker.sendall(json.dumps({"n": 1, "do": "run", "run": run}).encode() + b"\n")
    asker.close()
    process.resume()
    await warm.run("next", "true")
    assert not (tmp_path / "warm" / "runs" / "late.begun").exists()


def _watched(selector: selectors.BaseSelector) -> set[int]:
    return {key.fd for key in selector.get_map().values()}


def test_a_line_may_be_hung_up_on_between_the_selectors_word_and_its_turn(tmp_path: Path) -> None:
    with selectors.DefaultSelector() as selector, socket.socket(socket.AF_UNIX) as asker:
        wire = Wire(selector)
        wire.open(tmp_path / "pool")
        asker.connect(str(tmp_path / "pool" / "socket"))
        (listener,) = _watched(selector)
        assert wire.take(listener) is None
        (line,) = _watched(selector) - {listener}
        asker.close()
        wire.tell({"news": "of another run"})
        assert _watched(selector) == {listener}
        assert wire.take(line) is None
        wire.close()


async def test_nonsense_is_answered_and_harms_nobody(warm: Warm) -> None:
    with pytest.raises(Unavailable, match="nothing is called 'dance' here"):
        await warm.channel.ask("dance")
    with pytest.raises(Unavailable, match="TypeError"):
        await warm.channel.ask("run", run={"id": "a"})
    assert (await warm.run("a", "true"))["status"] == "SUCCEEDED"


async def test_a_pool_that_is_killed_takes_its_runs_along(warm: Warm, seconds: str, tmp_path: Path) -> None:
    await warm.start("a", f"exec sleep {seconds}")
    await until(lambda: having(seconds))
    warm.process.kill()
    await until(lambda: not having(seconds))
    await until(lambda: not warm.channel.alive)
    assert warm.news == ["a", "a"]  # begun, and worth a look when the line broke
    assert not (tmp_path / "warm" / "runs" / "a.ended").exists()
    with pytest.raises(Unavailable):
        await warm.channel.ask("list")


async def test_a_pool_that_is_told_to_end_leaves_no_false_ends(warm: Warm, seconds: str, tmp_path: Path) -> None:
    await warm.start("cut off", f"exec sleep {seconds}")
    await warm.start("done", "trap 'exit 0' TERM; echo up; while :; do sleep 0.05; done")
    await until(lambda: having(seconds) and "up" in warm.output("done"))
    warm.process.send_signal(signal.SIGTERM)
    await warm.process.wait()
    assert not having(seconds)
    assert {path.name for path in (tmp_path / "warm" / "runs").glob("*.ended")} == {"done.ended"}


async def test_an_idle_pool_ends_by_itself_and_nobody_finds_it(tmp_path: Path) -> None:
    async with pool(tmp_path, idle_s=0.3) as warm:
        await warm.run("a", "sleep 0.5")
        assert await warm.process.wait() == 0
        assert await Channel.open(tmp_path / "warm" / "pools" / "pool", lambda _: None) is None


async def test_a_pool_retires_where_nothing_runs_and_not_before(warm: Warm) -> None:
    await warm.start("a", "sleep 600")
    await warm.channel.ask("retire")
    await warm.channel.ask("stop", id="a")
    assert (await warm.ended("a"))["status"] == "STOPPED"
    await warm.channel.ask("retire")
    assert await warm.process.wait() == 0


async def test_the_loop_survives_a_storm(warm: Warm) -> None:
    for number in range(8):
        await warm.start(f"r{number}", "for i in 1 2 3 4 5; do sleep 0.01; done")
    with suppress(psutil.NoSuchProcess):
        for child in psutil.Process(warm.process.pid).children():
            child.kill()
    codes = [(await warm.ended(f"r{number}")).get("driver_exit_code") for number in range(8)]
    assert set(codes) <= {0, -9}
    assert await warm.channel.ask("list") == []
