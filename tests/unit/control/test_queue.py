"""What the scheduler is shown of a queue."""

from raysvc.control.queue import LOOK_AHEAD
from raysvc.domain.job import JobPhase

from .world import Place


async def test_many_that_stand_aside_do_not_hide_the_one_behind_them() -> None:
    place = await Place().open()
    for _ in range(LOOK_AHEAD + 5):
        await place.submit("true", resources={"cpus": 1000})
    job = await place.submit("echo hello")
    await place.pass_by(5)
    assert (await place.now(job)).phase is JobPhase.SUCCEEDED
    await place.archive.close()


async def test_of_many_that_wait_for_room_only_the_first_are_read() -> None:
    place = await Place().open()
    for _ in range(LOOK_AHEAD + 5):
        await place.submit("sleep 1000", resources={"cpus": 3})
    await place.pass_by(1)
    assert len((await place.reconciler._world.queue.snapshot()).waiting) == LOOK_AHEAD  # noqa: SLF001 as the loop sees it
    await place.archive.close()
