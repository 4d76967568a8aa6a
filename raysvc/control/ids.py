"""New identities. The one place that draws randomness."""

from datetime import datetime
from random import Random, SystemRandom
from secrets import token_urlsafe

from raysvc.domain.model import make_uid

# Ray leaves out what is easily confused (job_manager.py, generate_job_id).
_LETTERS = b"abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ123456789"
# Bytes to letters, all equally likely: each letter stands for four bytes, and the 28 bytes left over for none.
_EVEN = 256 // len(_LETTERS) * len(_LETTERS)
_LETTER_OF = bytes(_LETTERS[byte % len(_LETTERS)] for byte in range(256))
_NONE = bytes(range(_EVEN, 256))
_LENGTH = 16


class RandomIds:
    """Ids from the system's randomness, or from a seeded source for a simulation."""

    def __init__(self, source: Random | None = None) -> None:
        self._source = source or SystemRandom()
        self._seeded = source is not None

    def uid(self, now: datetime) -> str:
        return make_uid(int(now.timestamp() * 1000), self._source.getrandbits(30))

    def job_id(self) -> str:
        letters = b""
        while len(letters) < _LENGTH:
            letters += self._source.randbytes(2 * _LENGTH).translate(_LETTER_OF, _NONE)
        return f"raysubmit_{letters[:_LENGTH].decode()}"

    def secret(self) -> str:
        return f"{self._source.getrandbits(256):064x}" if self._seeded else token_urlsafe(32)
