"""Each word of KubeRay, the scheduler and the kubelet that we go by, and what it means for a job."""

from typing import Any

import pytest

from raysvc.backends.kuberay.status import observation, refused_pods, trouble_of, view_of
from raysvc.domain.observation import Observation, Seen
from raysvc.domain.reason import ReasonCode

C = ReasonCode


def seen_of(word: str, ray: Observation | None = None, *, job_id: str | None = None, **status: Any) -> Observation:
    spec = {"jobId": job_id} if job_id else {}
    view = view_of({"metadata": {"name": "job-1"}, "spec": spec, "status": {"jobDeploymentStatus": word, **status}})
    return observation(view, None, ray)


@pytest.mark.parametrize(
    ("word", "seen"),
    [
        ("", Seen.PENDING),
        ("Initializing", Seen.PENDING),
        ("Waiting", Seen.WAITING),
        ("Suspending", Seen.PENDING),
        ("Suspended", Seen.PENDING),
        ("Retrying", Seen.PENDING),
        ("ValidationFailed", Seen.FAILED),
        ("Ascending", Seen.UNKNOWN),
    ],
)
def test_a_word_of_the_operator(word: str, seen: Seen) -> None:
    assert seen_of(word).seen is seen


@pytest.mark.parametrize("word", ["Waiting", "Running"])
def test_once_ray_has_it_rays_word_goes(word: str) -> None:
    running = Observation(seen=Seen.RUNNING, node="n1")
    assert seen_of(word, running, job_id="job-1") == running


@pytest.mark.parametrize(
    ("job_status", "seen", "code"),
    [("SUCCEEDED", Seen.SUCCEEDED, 0), ("STOPPED", Seen.STOPPED, None), ("", Seen.FAILED, None)],
)
def test_of_an_end_that_ray_no_longer_tells_the_operators_word_goes(
    job_status: str, seen: Seen, code: int | None
) -> None:
    info = {"startTime": "2026-11-24T10:00:00Z", "endTime": "2026-11-24T10:00:09Z"}
    for ray in (None, Observation(seen=Seen.UNKNOWN), Observation(seen=Seen.ABSENT)):
        found = seen_of("Complete", ray, job_id="job-1", jobStatus=job_status, rayJobInfo=info)
        assert (found.seen, found.exit_code) == (seen, code)
        assert found.started_at
        assert found.finished_at
        assert (found.finished_at - found.started_at).total_seconds() == 9


@pytest.mark.parametrize(
    ("reason", "cause"),
    [
        ("AppFailed", C.ENTRYPOINT_FAILED),
        ("DeadlineExceeded", C.TIMED_OUT),
        ("PreRunningDeadlineExceeded", C.START_TIMED_OUT),
        ("SubmissionFailed", C.DRIVER_LOST),
        ("JobDeploymentStatusTransitionGracePeriodExceeded", C.DRIVER_LOST),
        ("JobStatusCheckTimeoutExceeded", C.CLUSTER_LOST),
        ("ValidationFailed", C.BACKEND_REFUSED),
        ("NeverHeardOf", C.DRIVER_LOST),
    ],
)
def test_why_it_failed(reason: str, cause: ReasonCode) -> None:
    found = seen_of("Failed", reason=reason, message="because")
    assert (found.seen, found.cause, found.message) == (Seen.FAILED, cause, "because")


def test_why_it_did_not_start_says_what_hindered_it() -> None:
    view = view_of({"status": {"jobDeploymentStatus": "Failed", "reason": "PreRunningDeadlineExceeded"}})
    assert "no such image" in observation(view, (C.IMAGE_PULL_FAILED, "no such image"), None).message


def waiting(reason: str, **more: Any) -> dict[str, Any]:
    container = {"image": "ray:1", "state": {"waiting": {"reason": reason, "message": f"said {reason}"}}, **more}
    return {"metadata": {"name": "head"}, "status": {"containerStatuses": [container]}}


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        ("ImagePullBackOff", C.IMAGE_PULL_FAILED),
        ("ErrImagePull", C.IMAGE_PULL_FAILED),
        ("InvalidImageName", C.IMAGE_PULL_FAILED),
        ("CreateContainerConfigError", C.POD_FAILED),
        ("CrashLoopBackOff", C.POD_FAILED),
    ],
)
def test_why_a_pod_does_not_run(reason: str, code: ReasonCode) -> None:
    found = trouble_of([waiting(reason)])
    assert found is not None
    assert found[0] is code
    assert f"pod head, image ray:1: said {reason}" in found[1]


def test_a_pod_that_is_on_its_way_is_no_trouble() -> None:
    assert trouble_of([waiting("ContainerCreating"), waiting("PodInitializing"), {}]) is None


def test_of_several_troubles_what_a_person_can_mend_comes_first() -> None:
    condition = {"type": "PodScheduled", "status": "False", "message": "0/3 nodes are available"}
    unplaced = {"metadata": {"name": "worker"}, "status": {"conditions": [condition]}}
    found = trouble_of([unplaced, waiting("CrashLoopBackOff", lastState={"terminated": {"exitCode": 137}})])
    assert found is not None
    assert "137" in found[1]
    assert trouble_of([unplaced]) == (C.UNSCHEDULABLE, "pod worker: 0/3 nodes are available")


def test_pods_that_are_refused_are_known_by_the_operators_warnings() -> None:
    quota = {"reason": "FailedToCreateHeadPod", "message": "exceeded quota: small", "lastTimestamp": "2026-11-24T10"}
    older = {"reason": "FailedToCreateHeadPod", "message": "older", "lastTimestamp": "2026-11-24T09"}
    other = {"reason": "Unhealthy", "message": "probe", "lastTimestamp": "2026-11-24T11"}
    assert refused_pods([quota, older, other]) == (C.PODS_REFUSED, "exceeded quota: small")
    assert refused_pods([other]) is None
