"""What all types of the domain share."""

from functools import cached_property
from typing import Annotated, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, StringConstraints


class Model(BaseModel):
    """Frozen, and closed: an unknown field is an error, so that a typing mistake never passes silently."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Written(Model):
    """A model that is kept as its JSON, which is written once."""

    @cached_property
    def text(self) -> str:
        """Its JSON."""
        return self.model_dump_json()

    def __copy__(self) -> Self:
        # A copy is made to be changed: it writes its own text.
        copied = super().__copy__()
        copied.__dict__.pop("text", None)
        return copied


# A job's id stands in URLs that Ray's client does not encode, in file names and in headers.
JobId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$")]
# Projects, queues, clusters, secrets: DNS labels, so that they can become Kubernetes names.
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
# A secret's or variable's name, as a shell has them.
EnvName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$")]
# Ours, never reused: 10 characters of milliseconds and 6 of randomness, in Crockford's base 32, lower case.
Uid = Annotated[str, StringConstraints(pattern=r"^[0-9a-hjkmnp-tv-z]{16}$")]
Instant = AwareDatetime

UID_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
# Two characters for each 10 bits: a submit makes two uids, and one by one the characters cost twice as much.
_PAIRS = [first + second for first in UID_ALPHABET for second in UID_ALPHABET]


def make_uid(milliseconds: int, random_bits: int) -> str:
    """Return the uid of an instant (ms since the epoch) and 30 random bits: uids sort by their time of birth."""
    number = (milliseconds & ((1 << 50) - 1)) << 30 | (random_bits & ((1 << 30) - 1))
    return "".join([_PAIRS[number >> shift & 1023] for shift in range(70, -1, -10)])
