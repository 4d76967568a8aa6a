"""What a spec says of the nodes it wants: kept, refused or warned of at submit, shown by a dry run, and explained."""

from typing import Any

import pytest

from raysvc.control.intake import Intake, Submission
from raysvc.control.jobs import JobDesk
from raysvc.domain.access import Principal
from raysvc.domain.job import JobSpec
from raysvc.domain.placement import Misfit
from raysvc.domain.project import Role
from raysvc.errors import Invalid
from raysvc.testing.backend import FakeBackend

from .ground import SYS, SYSTEM, group, node, pool
from .world import Place

ADA = Principal(name="ada", role=Role.ADMIN)


class OneMachine(FakeBackend):
    """A backend whose nodes nobody sees."""

    nodes = None  # type: ignore[assignment]


def intake(place: Place) -> Intake:
    return Intake(place.store, place.backend, [], place.clock, place.ids, place.signals)


def asking(want: int = 1, **wish: Any) -> Submission:
    workers = {"workers": [group(want, **wish).model_dump()]}
    return Submission("default", JobSpec.model_validate({"entrypoint": "true", "shape": workers}))


async def ground(*gpus: str) -> Place:
    place = await Place().open()
    place.backend.machines = [SYS, *(node(name) for name in gpus)]
    await place.store.pools.put([SYSTEM, pool("gpu"), pool("a100", accelerator={"name": "A100-80GB", "count": 8})])
    return place


@pytest.mark.parametrize(
    ("wish", "value"), [("accelerator", "H100"), ("topology", "rack"), ("topology", "nvlink-domain"), ("spot", "avoid")]
)
@pytest.mark.parametrize("verb", ["submit", "preview"])
async def test_a_wish_that_nothing_would_keep_is_refused(wish: str, value: str, verb: str) -> None:
    place = await Place().open()
    with pytest.raises(Invalid, match="no node pool is declared") as caught:
        await getattr(intake(place), verb)(ADA, asking(1, **{wish: value}))
    assert caught.value.field == f"shape.workers.{wish}"


async def test_a_preference_that_nothing_heeds_is_warned_of() -> None:
    place = await Place().open()
    receipt = await intake(place).submit(ADA, asking(spot="prefer"))
    assert receipt.warnings[0].startswith("spot: prefer is not heeded: no node pool is declared")


@pytest.mark.parametrize("spot", ["avoid", "prefer"])
async def test_one_machine_has_no_spot_nodes_and_no_accelerators_by_name(spot: str) -> None:
    place = await Place().open()
    machine = OneMachine(place.clock, place.backend.materials)
    desk = Intake(place.store, machine, [], place.clock, place.ids, place.signals)
    assert not (await desk.submit(ADA, asking(spot=spot))).warnings
    with pytest.raises(Invalid, match="only the node pools of a Kubernetes") as caught:
        await desk.submit(ADA, asking(accelerator="H100"))
    assert caught.value.field == "shape.workers.accelerator"


async def test_where_pools_are_declared_every_wish_is_taken() -> None:
    place = await ground("a", "b")
    wishes = asking(2, accelerator="H100", topology="nvlink-domain", spot="avoid")
    assert (await intake(place).submit(ADA, wishes)).created


async def test_a_dry_run_tells_what_would_hold_it_up() -> None:
    place = await ground("a")
    fits = await intake(place).preview(ADA, asking())
    assert not fits.warnings
    (busy,) = (await intake(place).preview(ADA, asking(2))).warnings
    assert busy.startswith("it would wait for room. No pool has room for group 'workers'")
    (never,) = (await intake(place).preview(ADA, asking(gpus=16))).warnings
    assert never.startswith("it would wait until the pools are changed. No pool")
    assert (await place.store.jobs.waiting(10)) == []


async def test_the_pools_that_were_not_chosen_are_named_with_why() -> None:
    place = await ground("a", "b")
    desk = JobDesk(place.store, place.reconciler._world.queue, place.clock, place.signals)  # noqa: SLF001 as it is wired
    gang = {"scale": {"min": 2, "want": 2, "max": 2}, "resources": {"gpus": 8}, "accelerator": "H100"}
    runs = await place.submit("sleep 100", shape={"workers": [gang]})
    place.clock.advance(1)
    waits = await place.submit("sleep 100", shape={"workers": [gang]})
    await place.pass_by(2)
    told = await desk.explain(ADA, "default", runs.id)
    assert told.placement == "workers on pool gpu (a, b), head on pool system"
    assert [(it.pool, it.code) for it in told.pools] == [("a100", Misfit.ACCELERATOR)]
    told = await desk.explain(ADA, "default", waits.id)
    assert told.position == 1
    assert told.summary.endswith("Waiting for resources: No pool has room for group 'workers' (2 of 8 GPUs each).")
    assert {it.pool: it.code for it in told.pools} == {"a100": Misfit.ACCELERATOR, "gpu": Misfit.BUSY}
    assert told.nearest is None, "there is no room for any"
