"""The fake backend's own abilities: scripts, faults, and what it counts."""

import pytest

from raysvc.domain.cluster import ClusterPhase
from raysvc.domain.job import Job, JobRef
from raysvc.domain.observation import Seen
from raysvc.domain.reason import ReasonCode
from raysvc.errors import Unavailable
from raysvc.testing.backend import Crash, FakeBackend, Faults
from raysvc.testing.clock import FakeClock
from raysvc.testing.cluster import Outcome
from raysvc.testing.shell import FOREVER, foresee
from tests.contract.backend.lab import Lab, MemoryMaterials, ref_of


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def fake(clock: FakeClock) -> FakeBackend:
    backend = FakeBackend(clock, MemoryMaterials(), seed=7)
    await backend.start()
    return backend


@pytest.fixture
def lab(fake: FakeBackend, clock: FakeClock) -> Lab:
    return Lab(fake, clock, MemoryMaterials(), clock.run)


def again(job: Job) -> Job:
    return job.model_copy(update={"attempt": job.attempt + 1})


async def seen(fake: FakeBackend, job: Job) -> Seen:
    return (await fake.jobs.observe(ref_of(job))).seen


async def test_time_decides_what_is_seen(lab: Lab, fake: FakeBackend, clock: FakeClock) -> None:
    fake.ray.startup_s = 2
    job = lab.job("echo a; sleep 10; echo b")
    await fake.jobs.apply(job)
    assert await seen(fake, job) is Seen.PENDING
    clock.advance(3)
    assert await seen(fake, job) is Seen.RUNNING
    assert await lab.log(ref_of(job)) == b"a\n"
    clock.advance(9)
    assert await seen(fake, job) is Seen.SUCCEEDED
    assert await lab.log(ref_of(job)) == b"a\nb\n"


async def test_a_script_goes_before_the_entrypoint(lab: Lab, fake: FakeBackend) -> None:
    job = lab.job("true")
    fake.script(job.uid, Outcome(Seen.FAILED, ReasonCode.DRIVER_LOST), Outcome(seconds=FOREVER))
    assert (await lab.run(job)).cause is ReasonCode.DRIVER_LOST
    await fake.jobs.apply(again(job))
    assert await seen(fake, again(job)) is Seen.RUNNING
    assert (await lab.run(again(again(job)))).seen is Seen.SUCCEEDED
    assert fake.ray.begun[job.uid] == 3


async def test_attempts_at_one_time_are_counted(lab: Lab, fake: FakeBackend, clock: FakeClock) -> None:
    job = lab.job("sleep 10")
    await fake.jobs.apply(job)
    clock.advance(10)
    await fake.jobs.apply(again(job))
    assert fake.ray.most_alive[job.uid] == 1
    clock.advance(5)
    await fake.jobs.apply(again(again(job)))
    assert fake.ray.most_alive[job.uid] == 2
    assert len(fake.ray.alive()) == 2
    await fake.jobs.delete(ref_of(again(job)))
    assert fake.ray.alive() == [JobRef(uid=job.uid, attempt=3)]
    await fake.jobs.apply(again(again(again(job))))
    assert fake.ray.most_alive[job.uid] == 2


async def test_a_lost_cluster_forgets_all(lab: Lab, fake: FakeBackend) -> None:
    over, running = lab.job("true"), lab.job("sleep 600")
    await lab.run(over)
    await fake.jobs.apply(running)
    fake.ray.lose_all()
    assert await seen(fake, over) is Seen.ABSENT
    assert await seen(fake, running) is Seen.ABSENT
    assert fake.ray.most_alive[running.uid] == 1


async def test_out_of_order_it_does_nothing_and_cannot_tell(lab: Lab, fake: FakeBackend) -> None:
    job = lab.job("true")
    fake.turn(ClusterPhase.DEGRADED)
    with pytest.raises(Unavailable):
        await fake.jobs.apply(job)
    assert await seen(fake, job) is Seen.UNKNOWN
    fake.turn(ClusterPhase.READY)
    assert await seen(fake, job) is Seen.ABSENT


@pytest.mark.parametrize(
    ("faults", "error", "begun"),
    [
        (Faults(refused=1), Unavailable, 0),
        (Faults(reply_lost=1), Unavailable, 1),
        (Faults(crash=1), Crash, 1),
    ],
)
async def test_a_fault_comes_before_or_after_the_effect(
    lab: Lab, fake: FakeBackend, faults: Faults, error: type[Exception], begun: int
) -> None:
    job = lab.job("sleep 600")
    fake.faults = faults
    with pytest.raises(error):
        await fake.jobs.apply(job)
    assert fake.ray.begun[job.uid] == begun


async def test_a_late_submission_arrives_even_after_a_delete(lab: Lab, fake: FakeBackend, clock: FakeClock) -> None:
    job = lab.job("sleep 600")
    fake.faults = Faults(late=1, late_s=10)
    with pytest.raises(Unavailable):
        await fake.jobs.apply(job)
    fake.faults = Faults()
    await fake.jobs.apply(job)
    await fake.jobs.delete(ref_of(job))
    clock.advance(11)
    assert await seen(fake, job) is Seen.RUNNING
    assert [ref async for ref in fake.jobs.owned()] == [ref_of(job)]
    assert fake.ray.begun[job.uid] == 2


async def test_a_submission_that_comes_twice_runs_once_while_its_record_is_kept(
    lab: Lab, fake: FakeBackend, clock: FakeClock
) -> None:
    job = lab.job("sleep 1")
    fake.faults = Faults(twice=1, late_s=10)
    await fake.jobs.apply(job)
    clock.advance(60)
    assert await seen(fake, job) is Seen.SUCCEEDED
    assert fake.ray.begun[job.uid] == 1


async def test_a_driver_can_be_lost(lab: Lab, fake: FakeBackend, clock: FakeClock) -> None:
    fake.faults = Faults(lost=1)
    job = lab.job("sleep 600")
    await fake.jobs.apply(job)
    clock.advance(60)
    assert (await fake.jobs.observe(ref_of(job))).cause is ReasonCode.DRIVER_LOST


async def test_equal_seeds_throw_equal_dice(clock: FakeClock) -> None:
    async def story(seed: int) -> list[Seen]:
        backend = FakeBackend(clock, MemoryMaterials(), seed=seed, faults=Faults(unknown=0.5))
        await backend.start()
        job = Lab(backend, clock, MemoryMaterials(), clock.run).job("sleep 600")
        await backend.jobs.apply(job)
        return [await seen(backend, job) for _ in range(30)]

    assert await story(1) == await story(1)
    assert await story(1) != await story(2)
    assert set(await story(1)) == {Seen.RUNNING, Seen.UNKNOWN}


@pytest.mark.parametrize(
    ("entrypoint", "output", "seconds", "code"),
    [
        ("echo hello world", "hello world\n", 0, 0),
        ("false && echo no; echo yes", "yes\n", 0, 0),
        ("true && echo yes", "yes\n", 0, 0),
        ("sleep 2; exit 3; echo no", "", 2, 3),
        ("sleep infinity; echo no", "", FOREVER, 0),
        ("printenv A; printenv B", "1\n", 0, 1),
        ("echo 'a; b' && echo \"c && 'd'\"", "a; b\nc && 'd'\n", 0, 0),
        ("echo 'a\\; b; exit 3", "/bin/sh: 1: Syntax error: Unterminated quoted string\n", 0, 2),
        ("echo a\\;b\nsleep 1; false\nexit 300", "a;b\n", 1, 44),
        ("python train.py", "/bin/sh: 1: python: not found\n", 0, 127),
    ],
)
def test_it_knows_a_few_words_of_shell(entrypoint: str, output: str, seconds: float, code: int) -> None:
    run = foresee(entrypoint, {"A": "1"})
    assert b"".join(text for _, text in run.lines).decode() == output
    assert (run.seconds, run.exit_code) == (seconds, code)
