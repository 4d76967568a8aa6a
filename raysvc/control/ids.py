"""New identities. The one place that draws randomness."""

from datetime import datetime
from random import Random, SystemRandom
from secrets import token_urlsafe

from raysvc.domain.model import make_uid

# Ray leaves out what is easily confused (job_manager.py, generate_job_id).
_LETTERS = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ123456789"


class RandomIds:
    """Ids from the system's randomness, or from a seeded source for a simulation."""

    def __init__(self, source: Random | None = None) -> None:
        self._source = source or SystemRandom()
        self._seeded = source is not None

    def uid(self, now: datetime) -> str:
        return make_uid(int(now.timestamp() * 1000), self._source.getrandbits(30))

    def job_id(self) -> str:
        return "raysubmit_" + "".join(self._source.choices(_LETTERS, k=16))

    def secret(self) -> str:
        return f"{self._source.getrandbits(256):064x}" if self._seeded else token_urlsafe(32)
