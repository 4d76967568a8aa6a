"""What clients saw and what was found in the end: all that the checker knows. Plain data, kept as JSON."""

from enum import StrEnum

from pydantic import Field

from raysvc.domain.event import Event
from raysvc.domain.job import Job, JobPhase
from raysvc.domain.model import Model


class Verb(StrEnum):
    SUBMIT = "submit"
    REUSE = "reuse"  # a submit under a key that was used for another body
    STOP = "stop"
    DELETE = "delete"
    GET = "get"
    LIST = "list"


class Outcome(StrEnum):
    OK = "ok"  # the reply was a 2xx
    REFUSED = "refused"  # the server said no
    EXISTS = "exists"  # the server said that this id is taken
    UNKNOWN = "unknown"  # no reply, or a 503: it may have happened or not


class Op(Model):
    """One call of one client. Times are nanoseconds of this machine's clock; `tag` is the job that was meant."""

    verb: Verb
    outcome: Outcome
    began: int
    ended: int
    tag: str = ""
    job_id: str = ""
    uid: str = ""
    phase: JobPhase | None = None
    live: bool = False  # a stop's reply: the job had not ended
    listed: tuple[str, ...] = ()  # the ids in a list's reply
    detail: str = ""


class Plan(Model):
    """What a job does, and what is promised of it. `once`: repeated submits are to give one job (a key, or an id)."""

    tag: str
    key: str | None = None
    once: bool = True
    lines: int = 1
    fails: int = 0  # its first attempts exit with 7
    package: str = ""  # what the file of its working_dir says


class MarkKind(StrEnum):
    BEGIN = "begin"
    END = "end"
    OVERLAP = "overlap"  # it found another attempt of its job alive
    FOREIGN = "foreign"  # its working_dir was not the one it was submitted with


class Mark(Model):
    """What an attempt wrote about itself."""

    kind: MarkKind
    tag: str
    attempt: int
    pid: int
    exit_code: int
    at: int


class Key(Model):
    """An idempotency key as the store has it."""

    key: str
    uid: str


class OnRay(Model):
    """A job that Ray knows and that carries our name. `claimed` as the sweep sees it."""

    uid: str
    attempt: int
    status: str
    claimed: bool


class PackageFound(Model):
    """A package that the store has, and how many bytes the blob store has of it."""

    name: str
    size: int
    kept: int


class History(Model):
    """One run. `held`: tags whose job's processes were alive when all had ended."""

    plans: tuple[Plan, ...] = ()
    ops: tuple[Op, ...] = ()
    jobs: tuple[Job, ...] = ()
    events: dict[str, tuple[Event, ...]] = Field(default_factory=dict)
    keys: tuple[Key, ...] = ()
    marks: tuple[Mark, ...] = ()
    on_ray: tuple[OnRay, ...] = ()
    logs: dict[str, str] = Field(default_factory=dict)
    packages: tuple[PackageFound, ...] = ()
    held: tuple[str, ...] = ()


class Violation(Model):
    """A promise that was broken, and what shows it."""

    promise: str
    what: str


# Under this name the tag of a job's plan stands in its metadata.
TAG = "chaos-tag"


def tag_of(job: Job) -> str:
    return job.spec.metadata.get(TAG, "")
