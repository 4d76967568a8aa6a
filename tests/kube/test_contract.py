"""What every backend promises, on the real operator. Where Kubernetes' own way differs, the test stands here anew."""

import pytest

from raysvc.domain.observation import ENDED, Observation, Seen
from tests.contract.backend import test_driver
from tests.contract.backend.lab import Lab, ref_of

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.kube, pytest.mark.timeout(600)]

# An image is what Kubernetes is for; the other two stand below.
_DIFFERENT = {
    "test_what_this_backend_cannot_do_is_refused_for_good",
    "test_stop_ends_a_job_and_may_be_repeated",
    "test_render_is_pure_and_names_the_attempt",
}
globals().update(
    {name: test for name, test in vars(test_driver).items() if name.startswith("test_") and name not in _DIFFERENT}
)


async def test_stop_ends_a_job_and_may_be_repeated(lab: Lab) -> None:
    job = lab.job("sleep 600")
    await lab.backend.jobs.apply(job)

    async def runs() -> Observation | None:
        seen = await lab.backend.jobs.observe(ref_of(job))
        return seen if seen.seen is Seen.RUNNING else None

    await lab.until(runs)

    async def stopped() -> Observation | None:
        await lab.backend.jobs.stop(ref_of(job))
        seen = await lab.backend.jobs.observe(ref_of(job))
        return seen if seen.seen in ENDED else None

    assert (await lab.until(stopped, 30)).seen is Seen.STOPPED
    await lab.backend.jobs.stop(ref_of(job))


async def test_render_is_pure_and_names_the_attempt(lab: Lab) -> None:
    job = lab.job("echo hello", attempt=3)
    assert lab.backend.jobs.render(job) == lab.backend.jobs.render(job)
    assert lab.backend.jobs.render(job).documents[-2]["body"]["submission_id"] == f"job-{job.uid}-3"
    assert {found["metadata"]["name"] for found in lab.backend.jobs.render(job).documents if "kind" in found} == {
        f"job-{job.uid}-3"
    }
