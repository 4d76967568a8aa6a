"""What a replica and the control plane tell each other: one call, from the replica, every second or two.

The replica says where it answers and what it has metered; the control plane says which keys open it and how much each
may use. A replica that hears nothing goes on with what it heard last. The two sides share no import: the JSON Schemas
of these models lie beside the guard (`serving/`), and each side is tested against them.
"""

from enum import StrEnum

from pydantic import Field

from raysvc.domain.model import Instant, Model, Uid


class ReplicaState(StrEnum):
    STARTING = "STARTING"
    READY = "READY"
    DRAINING = "DRAINING"


class Usage(Model):
    """One request that has ended. (replica, sequence) names it for ever: a second report of it is the same one."""

    sequence: int = Field(ge=1, le=2**62)
    key: str = Field(max_length=64, description="id of the inference key, not its secret")
    request_id: str
    at: Instant
    status: int = Field(description="HTTP status; 499: the client went away")
    prompt_tokens: int = Field(ge=0, le=10**9)
    completion_tokens: int = Field(ge=0, le=10**9)
    estimated: bool = Field(default=False, description="settled from a lease, since the spool that knew was lost")


class ReplicaReport(Model):
    """`usage` is what was not acknowledged yet, in order of `sequence`; at most 1,000 a call."""

    service: Uid
    revision: int = Field(ge=1)
    replica: str = Field(min_length=1, max_length=128)
    host: str
    port: int = Field(ge=1, le=65535)
    state: ReplicaState
    running: int = Field(default=0, ge=0)
    waiting: int = Field(default=0, ge=0)
    keys_version: str | None = Field(default=None, description="of the table it has")
    usage: tuple[Usage, ...] = Field(default=(), max_length=1000)


class KeyGrant(Model):
    """A key that opens this service, by the SHA-256 (hex) of its secret, and this replica's share of its limits."""

    id: str
    digest: str = Field(pattern=r"^[0-9a-f]{64}$")
    expires_at: Instant | None = None
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    tokens_left: int | None = Field(default=None, description="of the budget, leased to this replica; None: no budget")


class ReplicaOrders(Model):
    """`keys` None: the table of `keys_version` still holds."""

    usage_through: int = Field(description="all usage up to this sequence is in the ledger and may be forgotten")
    keys_version: str
    keys: tuple[KeyGrant, ...] | None = None


class Sighting(Model):
    """A replica as it last reported, as servers tell it to one another."""

    service: Uid
    replica: str
    revision: int
    host: str
    port: int
    state: ReplicaState
    running: int = 0
    waiting: int = 0
    at: Instant
