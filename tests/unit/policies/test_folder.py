"""A folder of policies that changes while the server runs."""

import asyncio
import os
import shutil
from datetime import datetime
from pathlib import Path

import pytest

from raysvc.domain.admission import Admission, Deny, Warn
from raysvc.domain.job import JobSpec
from raysvc.domain.project import Role
from raysvc.errors import Invalid
from raysvc.policies import PolicyFolder

from .conftest import NOON, StandingClock

ASKED = Admission(project="p", owner="o", role=Role.MEMBER, job_id="j", spec=JobSpec(entrypoint="x"))


def rule(message: str, effect: str = "deny", policy: str = "p") -> str:
    return f"policy: {policy}\nrules:\n- name: r\n  {effect}: true\n  message: {message}\n"


class Watched:
    """A folder with one policy, what was reported of it, and what it says now."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = path / "a.yaml"
        self.reported: list[str] = []
        self.file.write_text(rule("first"))
        self.folder = PolicyFolder(path, StandingClock(), lambda error: self.reported.append(error.message))

    def write(self, text: str) -> None:
        """Replace the file at once, as a deployment does; the new inode tells even within one tick of mtime."""
        fresh = self.path / ".fresh"
        fresh.write_text(text)
        fresh.replace(self.file)

    async def says(self) -> list[str]:
        return [
            verdict.message
            for policy in self.folder
            for verdict in await policy.review(ASKED)
            if isinstance(verdict, Deny | Warn)
        ]


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


async def test_a_change_takes_effect_with_the_next_reload(watched: Watched) -> None:
    assert await watched.says() == ["first"]
    watched.write(rule("second"))
    assert await watched.says() == ["first"], "not before"
    assert watched.folder.reload()
    assert await watched.says() == ["second"]
    assert not watched.folder.reload(), "nothing is loaded twice"


async def test_a_change_in_place_of_the_same_size_is_seen_by_its_time(watched: Watched) -> None:
    status = watched.file.stat()
    watched.file.write_text(rule("secnd"))
    os.utime(watched.file, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert watched.folder.reload()
    assert await watched.says() == ["secnd"]


async def test_files_that_come_and_go_are_followed(watched: Watched) -> None:
    (watched.path / "b.yaml").write_text(rule("other", policy="q"))
    assert watched.folder.reload()
    assert await watched.says() == ["first", "other"]
    assert [policy.name for policy in watched.folder] == ["p", "q"]
    watched.file.unlink()
    assert watched.folder.reload()
    assert await watched.says() == ["other"]
    (watched.path / "b.yaml").unlink()
    assert watched.folder.reload()
    assert await watched.says() == []


async def test_a_file_that_does_not_parse_keeps_the_whole_last_good_set(watched: Watched) -> None:
    (watched.path / "b.yaml").write_text(rule("other", policy="q"))
    watched.write("policy: p\nrules: oops")
    for _ in range(3):
        assert not watched.folder.reload()
    assert await watched.says() == ["first"], "neither half of the change is in force"
    [report] = watched.reported
    assert f"{watched.file}:2: rules: Input should be a valid tuple" in report
    assert watched.folder.problem is not None
    assert watched.folder.problem.message == report

    watched.write("policy: p\nrules: [3]")
    assert not watched.folder.reload()
    assert len(watched.reported) == 2, "another mistake is another report"

    watched.write(rule("mended"))
    assert watched.folder.reload()
    assert await watched.says() == ["mended", "other"]
    assert watched.folder.problem is None


async def test_a_folder_that_vanishes_leaves_its_rules_in_force(watched: Watched) -> None:
    shutil.rmtree(watched.path)
    assert not watched.folder.reload()
    assert await watched.says() == ["first"]
    assert "is gone; its last policies stay in force" in watched.reported[0]
    watched.path.mkdir()
    watched.file.write_text(rule("back"))
    assert watched.folder.reload()
    assert await watched.says() == ["back"]


async def test_a_folder_that_comes_back_as_it_was_ends_the_problem(watched: Watched) -> None:
    away = watched.path.with_name("away")
    watched.path.rename(away)
    assert not watched.folder.reload()
    away.rename(watched.path)
    watched.folder.reload()
    assert watched.folder.problem is None


def test_a_bad_file_at_the_start_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("policy: [")
    with pytest.raises(Invalid, match=r"a\.yaml:1: is not YAML"):
        PolicyFolder(tmp_path, StandingClock(), lambda _: None)


def test_a_folder_that_is_not_there_yet_has_no_policies_until_it_is(tmp_path: Path) -> None:
    folder = PolicyFolder(tmp_path / "policies", StandingClock(), lambda _: None)
    assert len(folder) == 0
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "a.yml").write_text(rule("m"))
    assert folder.reload()
    assert folder[0].name == "p"
    assert [policy.name for policy in folder[:]] == ["p"]


async def test_a_review_under_way_ends_on_the_policies_it_began_with(watched: Watched) -> None:
    (watched.path / "b.yaml").write_text(rule("other", policy="q"))
    watched.folder.reload()
    said = []
    for policy in watched.folder:
        said += [verdict.rule for verdict in await policy.review(ASKED) if isinstance(verdict, Deny)]
        watched.write(rule("changed"))
        (watched.path / "b.yaml").unlink(missing_ok=True)
        watched.folder.reload()
    assert said == ["r", "r"]
    assert await watched.says() == ["changed"]


async def test_keys_of_webhooks_are_followed_too(watched: Watched) -> None:
    hook = "{name: h, url: 'https://a.example', secret_file: hook.key}"
    watched.write(f"policy: p\nwebhooks: [{hook}]\n")
    assert not watched.folder.reload()
    assert "secret_file" in watched.reported[0]
    (watched.path / "hook.key").write_text("k")
    assert watched.folder.reload(), "the policy file is as it was; its key came"
    assert not watched.folder.reload()
    (watched.path / "hook.key").write_text("another key")
    assert watched.folder.reload()


class TickingClock:
    """Says when it is slept on, and wakes the sleeper when the test says so."""

    def __init__(self) -> None:
        self.asleep: asyncio.Queue[float] = asyncio.Queue()
        self.ticks: asyncio.Queue[None] = asyncio.Queue()

    def now(self) -> datetime:
        return NOON

    async def sleep(self, seconds: float) -> None:
        self.asleep.put_nowait(seconds)
        await self.ticks.get()


async def test_the_watch_reloads_at_each_interval_whatever_happens(tmp_path: Path) -> None:
    clock = TickingClock()
    reported: list[str] = []
    folder = PolicyFolder(tmp_path, clock, lambda error: reported.append(error.message))
    watch = asyncio.create_task(folder.watch(5))

    async def after(text: str) -> None:
        (tmp_path / "a.yaml").write_text(text)
        clock.ticks.put_nowait(None)
        async with asyncio.timeout(60):
            assert await clock.asleep.get() == 5

    assert await clock.asleep.get() == 5
    await after("policy: [")
    assert len(folder) == 0
    assert len(reported) == 1
    await after(rule("m"))
    assert [policy.name for policy in folder] == ["p"]
    watch.cancel()
    with pytest.raises(asyncio.CancelledError):
        await watch
