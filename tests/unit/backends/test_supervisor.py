"""How a session with Ray is kept: what is shown of it, and what happens when it is lost."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from raysvc.backends.local import LocalBackend, LocalConfig
from raysvc.backends.local.area import Area
from raysvc.backends.local.session import Session
from raysvc.backends.local.supervisor import Supervisor
from raysvc.backends.rayjob.api import RayApi
from raysvc.domain.cluster import ClusterPhase
from raysvc.errors import Invalid, RaysvcError, Unavailable
from raysvc.testing.clock import FakeClock
from tests.contract.backend.lab import MemoryMaterials, SystemClock

P = ClusterPhase


class ScriptedApi(RayApi):
    """A cluster that answers, or does not, as the test says."""

    def __init__(self, name: str) -> None:
        super().__init__("http://127.0.0.1:1", None)
        self.name = name
        self.answers = True

    async def nodes(self) -> list[dict[str, object]]:
        if not self.answers:
            raise Unavailable("no answer")
        return [{"node_id": "n", "is_head_node": True}]

    async def version(self) -> dict[str, object]:
        return {"session_name": self.name, "ray_version": "2.60.0"}


class ScriptedSource:
    """Yields a session, or an error, for each entry of `script`; then waits for ever."""

    def __init__(self, *script: str | RaysvcError) -> None:
        self.script = list(script)
        self.area = Area(Path("/nowhere"))
        self.warnings = ()
        self.alive = True
        self.apis: list[ScriptedApi] = []
        self.released: list[bool] = []

    async def prepare(self) -> None: ...

    async def obtain(self) -> Session:
        if not self.script:
            await asyncio.Event().wait()
        entry = self.script.pop(0)
        if isinstance(entry, RaysvcError):
            raise entry
        self.alive = True
        self.apis.append(ScriptedApi(entry))
        return Session(api=self.apis[-1], name=entry, ray_version="2.60.0", head_node="n", logs=None)

    def lives(self, session: Session) -> bool:  # noqa: ARG002 one at a time
        return self.alive

    async def release(self, session: Session | None, *, leave_running: bool) -> None:
        if session:
            await session.api.close()
        self.released.append(leave_running)


def phase_of(supervisor: Supervisor) -> ClusterPhase:
    """Return the phase, which changes while a test awaits, as a type checker cannot know."""
    return supervisor.phase


async def run(
    source: ScriptedSource, check: Callable[[Supervisor, FakeClock], Awaitable[None]], unhealthy_after_s: float = 60
) -> None:
    clock = FakeClock()
    supervisor = Supervisor(source, clock, unhealthy_after_s)
    supervisor.start()
    supervisor.start()
    try:
        await check(supervisor, clock)
    finally:
        await supervisor.close(leave_running=True)
    assert source.released[-1] is True
    assert supervisor.phase is P.GONE


async def test_it_is_starting_then_ready() -> None:
    async def check(supervisor: Supervisor, clock: FakeClock) -> None:
        assert phase_of(supervisor) is P.STARTING
        with pytest.raises(Unavailable, match="starting"):
            supervisor.require()
        await clock.run(0)
        assert supervisor.phase is P.READY
        assert supervisor.why is None
        assert supervisor.require().name == "session_1"

    await run(ScriptedSource("session_1"), check)


async def test_a_start_that_fails_is_tried_again_and_says_why() -> None:
    async def check(supervisor: Supervisor, clock: FakeClock) -> None:
        await clock.run(0)
        phases = [supervisor.phase]
        for _ in range(3):
            assert supervisor.why
            assert supervisor.why.message == "no luck"
            await clock.run(60)
            phases.append(supervisor.phase)
        assert phases == [P.STARTING, P.FAILED, P.FAILED, P.READY]

    await run(ScriptedSource(*[Unavailable("no luck") for _ in range(10)], "session_1"), check)


async def test_attempts_to_start_come_ever_more_slowly() -> None:
    source = ScriptedSource(*[Unavailable("no luck") for _ in range(100)])

    async def check(_: Supervisor, clock: FakeClock) -> None:
        await clock.run(600)
        assert 70 < len(source.script) < 80

    await run(source, check)


async def test_a_head_that_dies_is_replaced_and_what_is_left_of_it_ended() -> None:
    source = ScriptedSource("session_1", "session_2")

    async def check(supervisor: Supervisor, clock: FakeClock) -> None:
        await clock.run(5)
        source.alive = False
        await clock.run(10)
        assert supervisor.require().name == "session_2"
        assert source.released == [False]

    await run(source, check)


async def test_one_that_does_not_answer_is_degraded_and_recovers() -> None:
    source = ScriptedSource("session_1", "session_2")

    async def check(supervisor: Supervisor, clock: FakeClock) -> None:
        await clock.run(1)
        source.apis[0].answers = False
        await clock.run(2)
        assert phase_of(supervisor) is P.DEGRADED
        assert supervisor.why
        assert supervisor.require().name == "session_1"
        source.apis[0].answers = True
        await clock.run(2)
        assert supervisor.phase is P.READY
        assert supervisor.require().name == "session_1"

    await run(source, check)


async def test_one_that_does_not_answer_for_too_long_is_replaced() -> None:
    source = ScriptedSource("session_1", "session_2")

    async def check(supervisor: Supervisor, clock: FakeClock) -> None:
        await clock.run(1)
        source.apis[0].answers = False
        await clock.run(5)
        assert supervisor.require().name == "session_2"

    await run(source, check, unhealthy_after_s=0)


async def test_a_ray_started_anew_at_the_same_address_is_a_new_session() -> None:
    source = ScriptedSource("session_1", "session_2")

    async def check(supervisor: Supervisor, clock: FakeClock) -> None:
        await clock.run(1)
        source.apis[0].answers = False
        await clock.run(2)
        source.apis[0].answers, source.apis[0].name = True, "session_2"
        await clock.run(5)
        assert supervisor.require().name == "session_2"

    await run(source, check)


async def test_without_ray_installed_the_cluster_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    backend = LocalBackend(LocalConfig(data_dir=tmp_path), MemoryMaterials(), SystemClock())
    await backend.start()
    try:
        said = set()
        for _ in range(1000):
            cluster = await backend.clusters.get("local")
            assert cluster.phase in {P.STARTING, P.FAILED}
            said.add(cluster.reason.message if cluster.reason else "")
            if any("pip install 'raysvc[ray]'" in text for text in said):
                break
            await asyncio.sleep(0.01)
        else:
            pytest.fail(f"said only {said}")
    finally:
        await backend.close()


async def test_a_user_that_is_not_there_is_refused_at_once(tmp_path: Path) -> None:
    config = LocalConfig(data_dir=tmp_path, job_user="no-such-user")
    backend = LocalBackend(config, MemoryMaterials(), SystemClock())
    with pytest.raises(Invalid) as caught:
        await backend.start()
    assert caught.value.field == "job_user"
    await backend.close()
