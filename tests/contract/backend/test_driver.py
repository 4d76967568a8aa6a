"""What every `Driver[Job, JobRef]` promises."""

import io
import json
import zipfile

import pytest

from raysvc.domain.job import JobRef
from raysvc.domain.observation import ENDED, Observation, Seen
from raysvc.domain.reason import ReasonCode
from raysvc.errors import Invalid, NotFound
from tests.contract.backend.lab import Lab, ref_of

pytestmark = pytest.mark.asyncio(loop_scope="session")

# A working directory that cannot be made, by driver; where none stands here, an upload that is no archive.
BROKEN = {"ray": "file:///no/such/place.zip"}


async def test_a_job_runs_to_its_end_and_says_how(lab: Lab) -> None:
    seen = await lab.run(lab.job("echo hello"))
    assert (seen.seen, seen.exit_code, seen.cause) == (Seen.SUCCEEDED, 0, None)
    assert seen.node
    assert seen.started_at
    assert seen.finished_at
    assert seen.started_at <= seen.finished_at <= lab.clock.now()


async def test_a_job_is_absent_before_it_is_applied(lab: Lab) -> None:
    assert await lab.backend.jobs.observe(ref_of(lab.job("true"))) == Observation(seen=Seen.ABSENT)


async def test_a_job_that_runs_is_seen_running_where(lab: Lab) -> None:
    job = lab.job("sleep 600")
    await lab.backend.jobs.apply(job)

    async def running() -> Observation | None:
        seen = await lab.backend.jobs.observe(ref_of(job))
        assert seen.seen in {Seen.PENDING, Seen.RUNNING}
        return seen if seen.seen is Seen.RUNNING else None

    seen = await lab.until(running)
    assert seen.node
    assert seen.started_at
    assert seen.finished_at is None
    await lab.backend.jobs.delete(ref_of(job))


@pytest.mark.parametrize(
    ("entrypoint", "code", "cause"),
    [
        ("exit 3", 3, ReasonCode.ENTRYPOINT_FAILED),
        ("no-such-program --help", 127, ReasonCode.ENTRYPOINT_NOT_FOUND),
    ],
)
async def test_a_failure_carries_its_exit_code_and_cause(
    lab: Lab, entrypoint: str, code: int, cause: ReasonCode
) -> None:
    seen = await lab.run(lab.job(entrypoint))
    assert (seen.seen, seen.exit_code, seen.cause) == (Seen.FAILED, code, cause)


async def test_a_runtime_environment_that_cannot_be_built_is_named_as_the_cause(lab: Lab) -> None:
    lab.materials.packages["default", "_ray_pkg_ffffffffffffffff.zip"] = b"no archive"
    uploaded = "gcs://_ray_pkg_ffffffffffffffff.zip"
    seen = await lab.run(lab.job("true", runtime_env={"working_dir": BROKEN.get(lab.driver, uploaded)}))
    assert (seen.seen, seen.cause, seen.exit_code) == (Seen.FAILED, ReasonCode.RUNTIME_ENV_FAILED, None)


async def test_apply_may_be_repeated_while_it_runs_and_after_its_end(lab: Lab) -> None:
    job = lab.job("echo once")
    await lab.backend.jobs.apply(job)
    await lab.backend.jobs.apply(job)
    seen = await lab.ended(ref_of(job))
    await lab.backend.jobs.apply(job)
    assert await lab.backend.jobs.observe(ref_of(job)) == seen
    log = await lab.log(ref_of(job))
    assert log.count(b"\nonce\n") + log.startswith(b"once\n") == 1


async def test_each_attempt_is_an_object_of_its_own(lab: Lab) -> None:
    first = lab.job("printenv RAYSVC_ATTEMPT")
    second = first.model_copy(update={"attempt": 2})
    await lab.run(first)
    await lab.run(second)
    assert b"1\n" in await lab.log(ref_of(first))
    assert b"2\n" in await lab.log(ref_of(second))


async def test_stop_ends_a_job_and_may_be_repeated(lab: Lab) -> None:
    job = lab.job("sleep 600")
    await lab.backend.jobs.apply(job)

    async def stopped() -> Observation | None:
        await lab.backend.jobs.stop(ref_of(job))
        seen = await lab.backend.jobs.observe(ref_of(job))
        return seen if seen.seen in ENDED else None

    assert (await lab.until(stopped)).seen is Seen.STOPPED
    await lab.backend.jobs.stop(ref_of(job))


async def test_stop_and_delete_of_what_is_absent_succeed(lab: Lab) -> None:
    ref = ref_of(lab.job("true"))
    await lab.backend.jobs.stop(ref)
    await lab.backend.jobs.delete(ref)


async def test_stop_after_the_end_changes_nothing(lab: Lab) -> None:
    job = lab.job("exit 3")
    seen = await lab.run(job)
    await lab.backend.jobs.stop(ref_of(job))
    assert await lab.backend.jobs.observe(ref_of(job)) == seen


async def test_delete_stops_what_still_runs_and_leaves_nothing(lab: Lab) -> None:
    job = lab.job("sleep 600")
    await lab.backend.jobs.apply(job)
    await lab.backend.jobs.delete(ref_of(job))
    assert (await lab.backend.jobs.observe(ref_of(job))).seen is Seen.ABSENT
    assert ref_of(job) not in await owned(lab)
    assert await lab.log(ref_of(job), follow=True) == b""


async def test_owned_yields_what_runs_and_what_has_ended(lab: Lab) -> None:
    over, running = lab.job("true"), lab.job("sleep 600")
    await lab.run(over)
    await lab.backend.jobs.apply(running)
    assert {ref_of(over), ref_of(running)} <= set(await owned(lab))
    await lab.backend.jobs.delete(ref_of(running))


async def test_logs_begin_at_the_offset(lab: Lab) -> None:
    job = lab.job("echo one; echo two")
    await lab.run(job)
    whole = await lab.log(ref_of(job))
    assert b"one\ntwo\n" in whole
    for offset in (0, 1, len(whole) - 4, len(whole), len(whole) + 100):
        assert await lab.log(ref_of(job), offset) == whole[offset:]


async def test_logs_that_follow_bring_all_and_end_with_the_attempt(lab: Lab) -> None:
    job = lab.job("echo first; sleep 1; echo last")
    await lab.backend.jobs.apply(job)
    followed = await lab.log(ref_of(job), follow=True)
    assert (await lab.backend.jobs.observe(ref_of(job))).seen is Seen.SUCCEEDED
    assert b"first\n" in followed
    assert b"last\n" in followed
    assert followed == await lab.log(ref_of(job))


async def test_logs_that_do_not_follow_return_what_there_is(lab: Lab) -> None:
    job = lab.job("echo first; sleep 600; echo last")
    await lab.backend.jobs.apply(job)

    async def first() -> bytes | None:
        log = await lab.log(ref_of(job))
        return log if b"first\n" in log else None

    assert b"\nlast\n" not in await lab.until(first)
    await lab.backend.jobs.delete(ref_of(job))


async def test_logs_of_a_job_that_never_was_are_empty(lab: Lab) -> None:
    ref = JobRef(uid="0" * 16, attempt=7)
    assert await lab.log(ref) == b""
    assert await lab.log(ref, follow=True) == b""


async def test_the_job_knows_who_it_is(lab: Lab) -> None:
    job = lab.job(
        "printenv RAYSVC_JOB_ID; printenv RAYSVC_PROJECT; printenv COLOUR", runtime_env={"env_vars": {"COLOUR": "blue"}}
    )
    await lab.run(job)
    lines = (await lab.log(ref_of(job))).decode().splitlines()
    assert {job.id, "default", "blue"} <= set(lines)


async def test_a_secret_reaches_the_job_and_not_what_is_shown(lab: Lab) -> None:
    lab.materials.secrets["default", "TOKEN"] = "correct horse"
    job = lab.job("printenv MY_TOKEN", secrets={"MY_TOKEN": "TOKEN"})
    shown = json.dumps(lab.backend.jobs.render(job).model_dump())
    assert "${secret:TOKEN}" in shown
    assert "correct horse" not in shown
    await lab.run(job)
    assert b"correct horse\n" in await lab.log(ref_of(job))


async def test_a_missing_secret_is_said_before_anything_runs(lab: Lab) -> None:
    job = lab.job("true", secrets={"MY_TOKEN": "NO_SUCH"})
    with pytest.raises(NotFound) as caught:
        await lab.backend.jobs.apply(job)
    assert caught.value.field == "secrets"
    assert (await lab.backend.jobs.observe(ref_of(job))).seen is Seen.ABSENT


async def test_a_missing_package_is_said_before_anything_runs(lab: Lab) -> None:
    job = lab.job("true", runtime_env={"working_dir": "gcs://_ray_pkg_0123456789abcdef.zip"})
    with pytest.raises(NotFound) as caught:
        await lab.backend.jobs.apply(job)
    assert caught.value.field == "packages"
    assert (await lab.backend.jobs.observe(ref_of(job))).seen is Seen.ABSENT


async def test_a_package_of_the_project_is_accepted(lab: Lab) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("main.py", "print('from the package')")
    lab.materials.packages["default", "_ray_pkg_00112233aabbccdd.zip"] = archive.getvalue()
    seen = await lab.run(lab.job("true", code={"kind": "archive", "uri": "gcs://_ray_pkg_00112233aabbccdd.zip"}))
    assert seen.seen is Seen.SUCCEEDED


async def test_what_this_backend_cannot_do_is_refused_for_good(lab: Lab) -> None:
    job = lab.job("true", code={"kind": "image", "image": "python:3.12"})
    with pytest.raises(Invalid):
        lab.backend.jobs.render(job)
    with pytest.raises(Invalid):
        await lab.backend.jobs.apply(job)
    assert (await lab.backend.jobs.observe(ref_of(job))).seen is Seen.ABSENT


async def test_render_is_pure_and_names_the_attempt(lab: Lab) -> None:
    job = lab.job("echo hello", attempt=3)
    assert lab.backend.jobs.render(job) == lab.backend.jobs.render(job)
    assert lab.backend.jobs.render(job).documents[-1]["body"]["submission_id"] == f"job-{job.uid}-3"


async def owned(lab: Lab) -> list[JobRef]:
    return [ref async for ref in lab.backend.jobs.owned()]
