"""Ray's records of a job, in our words. The messages are Ray 2.60's own."""

from datetime import UTC, datetime

import pytest

from raysvc.backends.rayjob.api import said
from raysvc.backends.rayjob.status import observation
from raysvc.domain.observation import Observation, Seen
from raysvc.domain.reason import ReasonCode

C = ReasonCode
AT = 1_795_507_813_308


def failed(error_type: str | None, message: str = "", exit_code: int | None = None) -> Observation:
    return observation(
        {"status": "FAILED", "error_type": error_type, "message": message, "driver_exit_code": exit_code}
    )


@pytest.mark.parametrize("status", ["PENDING", "RUNNING", "SUCCEEDED", "FAILED", "STOPPED"])
def test_rays_words_are_ours(status: str) -> None:
    assert observation({"status": status}).seen is Seen(status)


@pytest.mark.parametrize("record", [{}, {"status": None}, {"status": "QUEUED"}, {"status": "running"}])
def test_a_word_we_do_not_know_moves_nothing(record: dict[str, object]) -> None:
    assert observation(record).seen is Seen.UNKNOWN


@pytest.mark.parametrize(
    ("error_type", "exit_code", "cause"),
    [
        ("RUNTIME_ENV_SETUP_FAILURE", None, C.RUNTIME_ENV_FAILED),
        ("JOB_SUPERVISOR_ACTOR_START_TIMEOUT", None, C.START_TIMED_OUT),
        ("JOB_SUPERVISOR_ACTOR_START_FAILURE", None, C.DRIVER_LOST),
        ("JOB_SUPERVISOR_ACTOR_UNSCHEDULABLE", None, C.DRIVER_LOST),
        ("JOB_SUPERVISOR_ACTOR_UNKNOWN_FAILURE", None, C.DRIVER_LOST),
        ("JOB_SUPERVISOR_ACTOR_DIED", None, C.DRIVER_LOST),
        ("JOB_ENTRYPOINT_COMMAND_START_ERROR", None, C.DRIVER_LOST),
        ("JOB_ENTRYPOINT_COMMAND_ERROR", 1, C.ENTRYPOINT_FAILED),
        ("JOB_ENTRYPOINT_COMMAND_ERROR", 126, C.ENTRYPOINT_NOT_FOUND),
        ("JOB_ENTRYPOINT_COMMAND_ERROR", 127, C.ENTRYPOINT_NOT_FOUND),
        ("A_TYPE_OF_TOMORROW", None, C.DRIVER_LOST),
        ("A_TYPE_OF_TOMORROW", 2, C.ENTRYPOINT_FAILED),
        (None, 1, C.ENTRYPOINT_FAILED),
        (None, None, C.DRIVER_LOST),
    ],
)
def test_each_failure_has_its_cause(error_type: str | None, exit_code: int | None, cause: ReasonCode) -> None:
    seen = failed(error_type, exit_code=exit_code)
    assert (seen.cause, seen.exit_code) == (cause, exit_code)


def test_a_package_that_ray_has_lost_is_not_the_users_fault() -> None:
    message = "runtime_env setup failed: Failed to download runtime_env file package gcs://_ray_pkg_1.zip from the GCS"
    assert failed("RUNTIME_ENV_SETUP_FAILURE", message).cause is C.PACKAGE_MISSING


def test_what_ray_refuses_late_is_told_without_its_traceback() -> None:
    env = (
        "Failed to start supervisor actor job-1: 'The 'pip' field and 'conda' field cannot be specified at the same"
        ' time.\'. Full traceback:\nTraceback (most recent call last):\n  File ".../ray/runtime_env/runtime_env.py"'
        ', line 386, in __init__\n    raise ValueError(\nValueError: The "pip" …\n'
    )
    seen = failed("JOB_SUPERVISOR_ACTOR_START_FAILURE", env)
    assert (seen.cause, seen.message) == (
        C.RUNTIME_ENV_FAILED,
        "The 'pip' field and 'conda' field cannot be specified at the same time.",
    )
    options = (
        "Failed to start supervisor actor job-1: 'The quantity of resource num_cpus cannot be negative'. Full "
        'traceback:\nTraceback (most recent call last):\n  File ".../ray/_common/ray_option_utils.py", line 50\n'
    )
    assert failed("JOB_SUPERVISOR_ACTOR_START_FAILURE", options).cause is C.BACKEND_REFUSED


@pytest.mark.parametrize(("exit_code", "name"), [(-9, "SIGKILL"), (137, "SIGKILL"), (-11, "SIGSEGV"), (143, "SIGTERM")])
def test_a_signal_is_named(exit_code: int, name: str) -> None:
    assert f"ended by {name}" in failed("JOB_ENTRYPOINT_COMMAND_ERROR", "tail", exit_code).message


def test_times_and_node_are_taken_over() -> None:
    seen = observation(
        {"status": "SUCCEEDED", "start_time": AT, "end_time": AT + 1500, "driver_node_id": "abc", "driver_exit_code": 0}
    )
    began = datetime.fromtimestamp(AT / 1000, UTC)
    assert (seen.started_at, seen.node, seen.exit_code, seen.cause) == (began, "abc", 0, None)
    assert seen.finished_at
    assert (seen.finished_at - began).total_seconds() == 1.5


def test_a_pending_job_has_not_started() -> None:
    assert observation({"status": "PENDING", "start_time": AT}).started_at is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Job X does not exist\n", "Job X does not exist"),
        ("", "(nothing)"),
        (
            'Traceback (most recent call last):\n  File "x"\nTypeError: values must be strings\n',
            "values must be strings",
        ),
        (
            "RuntimeError: Request failed with status code 400: Traceback:\nValueError: Invalid label key\nNo way\n.\n",
            "Invalid label key\nNo way",
        ),
    ],
)
def test_of_a_traceback_the_last_exception_speaks(text: str, words: str) -> None:
    assert said(text) == words
