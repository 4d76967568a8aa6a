"""Jobs that name a cluster, where what they go by changes on the way."""

from collections.abc import Sequence
from datetime import timedelta

import pytest

from raysvc.control.decide import START_TIMEOUT, Effect, admit, decide
from raysvc.control.draft import Submission
from raysvc.control.intake import Intake
from raysvc.control.schedule import GIB, schedule
from raysvc.domain.access import Principal
from raysvc.domain.admission import Admission, Amend, Verdict
from raysvc.domain.cluster import ClusterPhase, ClusterSpec, NewCluster, create
from raysvc.domain.job import Job, JobPhase, JobSpec
from raysvc.domain.observation import Seen
from raysvc.domain.project import Role
from raysvc.domain.query import Snapshot, WaitingRow
from raysvc.domain.reason import ReasonCode, reason
from raysvc.domain.resources import Resources, Scale, Shape, WorkerGroup
from raysvc.errors import Invalid
from tests.unit.control.deciding import NOW, carry_out, gone, queued, seen
from tests.unit.control.world import Place

UID = "01k0000000000001"
STARTS = reason(ReasonCode.PROVISIONING)


class ElsewherePolicy:
    """Sends every job to a cluster that nobody has made."""

    name = "elsewhere"

    async def review(self, admission: Admission) -> Sequence[Verdict]:
        assert admission.spec.cluster is None
        return [Amend(rule="all", message="to the lab", changes={"cluster": "lab"})]


def row(number: int, demand: Resources) -> WaitingRow:
    about = {"project": "default", "queue": "default", "priority": 0, "created_at": NOW, "not_before": None}
    return WaitingRow(uid=f"{number:016d}", demand=demand, cluster="lab", **about)


def admitted(on: str | None) -> Job:
    job = queued(cluster="lab")
    to, why, fields = admit(job, "lab", NOW, None, on)
    return job.to(to, why, NOW, **fields)[0]


def test_one_whose_cluster_never_comes_goes_back_to_the_queue_where_another_may_have_its_name() -> None:
    job, late = admitted(UID), NOW + START_TIMEOUT + timedelta(seconds=1)
    assert decide(job, seen(Seen.ABSENT), NOW).effect is Effect.APPLY
    decision = decide(job, seen(Seen.ABSENT), late)
    assert (decision.phase, decision.effect) == (JobPhase.STOPPING, Effect.NONE)
    _, end = gone(carry_out(job, decision, late), late + timedelta(seconds=2))
    assert (end.phase, end.reason and end.reason.code) == (JobPhase.QUEUED, ReasonCode.BACKOFF)


def test_one_with_a_place_of_its_own_is_sent_however_late() -> None:
    assert decide(admitted(None), seen(Seen.ABSENT), NOW + 2 * START_TIMEOUT).effect is Effect.APPLY


@pytest.mark.parametrize("most", [2, 4], ids=["fixed", "elastic"])
def test_a_cluster_is_asked_for_no_more_than_it_may_ever_have(most: int) -> None:
    # Its workers name no memory: each has what its pod gets for its CPU, less what Ray keeps.
    group = WorkerGroup(scale=Scale(min=2, want=2, max=most))
    new = NewCluster(name="lab", spec=ClusterSpec(shape=Shape(workers=(group,))))
    made = create(new, uid=UID, project="default", owner="ada", now=NOW)[0]
    cluster = made.to(ClusterPhase.STARTING, STARTS, NOW)[0].to(ClusterPhase.READY, STARTS, NOW)[0].shown("fake")
    asked = {"fits": Resources(memory=GIB), "never": Resources(cpus=most + 1), "nor": Resources(memory=most * 2 * GIB)}
    waiting = [row(number, demand) for number, demand in enumerate(asked.values())]
    verdicts = schedule(Snapshot(waiting=tuple(waiting), placed=(), cluster=cluster), NOW)
    assert dict(zip(asked, [it.reason.code for it in verdicts], strict=True)) == {
        "fits": ReasonCode.SUBMITTING,
        "never": ReasonCode.EXCEEDS_CAPACITY,
        "nor": ReasonCode.EXCEEDS_CAPACITY,
    }


async def test_the_cluster_that_a_policy_sets_must_be_there_too() -> None:
    place = await Place().open()
    intake = Intake(place.store, place.backend, [ElsewherePolicy()], place.clock, place.ids, place.signals)
    ada = Principal(name="ada", role=Role.MEMBER, projects=("default",))
    with pytest.raises(Invalid, match="raysvc cluster create lab"):
        await intake.submit(ada, Submission("default", JobSpec(entrypoint="true")))
    await place.store.close()
