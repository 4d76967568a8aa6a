"""Every error raysvc raises on purpose, in one tree.

RaysvcError
├── Refused                the request is understood and will not be done (CLI exit 3)
│   ├── Invalid            a field is wrong: says which and what is allowed         400
│   ├── Denied             a policy refused: names its rule                         422
│   ├── OverLimit          a limit of the project or the server is reached          429
│   ├── Conflict           the state does not allow it now                          409
│   │   ├── AlreadyExists  the id or name is taken
│   │   ├── KeyReused      one Idempotency-Key, two different bodies
│   │   └── StaleVersion   somebody else saved first; read again
│   ├── Unauthenticated    no token, or one that is not known                       401
│   └── Forbidden          this token may not                                       403
├── NotFound               no such record in this project (CLI exit 4)              404
├── Unavailable            try again later: the store or cluster does not answer    503
│   ├── DiskFull           nothing was accepted, free some space                    507
│   └── Damaged            what is stored cannot be trusted: the server stops       503
├── DataDirError           the data directory is in use, too new, or not ours
└── IllegalTransition      a bug: a phase change the state machine does not have

An error's text is for the person who reads it: what happened, which field or rule, what to do.
"""

from typing import ClassVar


class RaysvcError(Exception):
    """The root. `status` is the HTTP status that both APIs answer with; `code` is stable for programs."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal"

    def __init__(self, message: str, *, field: str | None = None, rule: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.rule = rule


class Refused(RaysvcError):
    status = 400
    code = "refused"


class Invalid(Refused):
    code = "invalid"


class Denied(Refused):
    """A policy said no. 422, not 403: Ray's client replaces a 403's text with help about tokens."""

    status = 422
    code = "denied"


class OverLimit(Refused):
    status = 429
    code = "over_limit"


class Conflict(Refused):
    status = 409
    code = "conflict"


class AlreadyExists(Conflict):
    code = "already_exists"


class KeyReused(Conflict):
    code = "idempotency_key_reused"


class StaleVersion(Conflict):
    code = "stale_version"


class Unauthenticated(Refused):
    status = 401
    code = "unauthenticated"


class Forbidden(Refused):
    status = 403
    code = "forbidden"


class NotFound(RaysvcError):
    status = 404
    code = "not_found"


class Unavailable(RaysvcError):
    status = 503
    code = "unavailable"


class DiskFull(Unavailable):
    status = 507
    code = "disk_full"


class Damaged(Unavailable):
    code = "damaged"


class DataDirError(RaysvcError):
    code = "data_dir"


class IllegalTransition(RaysvcError):
    code = "illegal_transition"
