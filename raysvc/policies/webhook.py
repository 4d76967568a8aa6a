"""A webhook's review: the admission goes out signed, the reply is believed only as far as its format reaches."""

import hashlib
import hmac
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from raysvc.domain.admission import Admission, Amend, Deny, Verdict, Warn
from raysvc.domain.model import Model
from raysvc.policies.call import Call, Unheard, post
from raysvc.policies.expression import shown
from raysvc.ports import Clock

SIGNATURE = "X-Raysvc-Signature"
MAX_MESSAGE = 1000


class Reply(Model):
    """What a webhook may answer."""

    verdict: Literal["allow", "deny", "warn", "amend"]
    message: str = ""
    changes: dict[str, Any] = Field(default_factory=dict, description="as of Amend; only with amend")

    @model_validator(mode="after")
    def _changes_with_amend(self) -> "Reply":
        if bool(self.changes) != (self.verdict == "amend"):
            raise ValueError("`changes` belong to an amend, and an amend has some")
        return self


class Webhook:
    """Asks one endpoint. Each review makes one call on a connection of its own, so its address is checked anew."""

    def __init__(self, name: str, call: Call, key: bytes, clock: Clock, *, closed: bool = True) -> None:
        self.name = name
        self._call = call
        self._key = key
        self._clock = clock
        self._closed = closed

    async def review(self, admission: Admission) -> Verdict | None:
        """Return the webhook's verdict, None where it allows; what it does not answer is `failed`. Never raises."""
        body = admission.model_dump_json().encode()
        signed = signature(self._key, int(self._clock.now().timestamp()), body)
        try:
            reply = _parse(await post(self._call, body, {"Content-Type": "application/json", SIGNATURE: signed}))
        except Unheard as error:
            return self.failed(str(error))
        message = shown(reply.message, MAX_MESSAGE)
        match reply.verdict:
            case "allow":
                return None
            case "deny":
                return Deny(rule=self.name, message=message or "The webhook refused the job and gave no reason.")
            case "warn":
                return Warn(rule=self.name, message=message or "The webhook warned and gave no reason.")
            case "amend":
                fields = shown(", ".join(reply.changes))
                return Amend(rule=self.name, message=message or f"sets {fields}", changes=reply.changes)

    def failed(self, why: str) -> Verdict:
        """Return what is said where the webhook has no valid answer."""
        if self._closed:
            return Deny(
                rule=self.name,
                message=f"The webhook could not be asked, so the job is refused: {why}. Try again, or ask its keeper.",
            )
        return Warn(rule=self.name, message=f"The webhook could not be asked, and was passed over: {why}.")


def signature(key: bytes, timestamp: int, body: bytes) -> str:
    """Return the value of the signature header for a body sent at `timestamp` (unix seconds)."""
    mac = hmac.new(key, b"%d." % timestamp + body, hashlib.sha256)
    return f"t={timestamp},v1={mac.hexdigest()}"


def _parse(body: bytes) -> Reply:
    try:
        return Reply.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        why = " ".join((".".join(map(str, first["loc"])), first["msg"])).strip()
        raise Unheard(f"its reply is not valid: {shown(why)}") from error
