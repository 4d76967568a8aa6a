"""Secrets at rest, and what a driver fetches at the moment of sending."""

import hashlib
import hmac
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

from cryptography.fernet import Fernet, InvalidToken

from raysvc.domain.project import Package, Secret
from raysvc.errors import Damaged, Unavailable
from raysvc.ports import Blobs, Clock, Packages, Secrets

_KEY = re.compile(r"packages/(?P<project>[a-z0-9-]+)/[0-9a-f]{16}-[0-9a-f]{64}-(?P<born>[0-9]{1,18})")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def package_key(package: Package) -> str:
    """Return where a package's bytes are kept: by project, so that no tenant can plant bytes for another.

    Each upload has a key of its own, by name, contents and time: one that is refused later overwrites nothing, and
    collecting an old package cannot take the bytes of the same one that is sent again meanwhile.
    """
    name = hashlib.sha256(package.name.encode()).hexdigest()[:16]
    born = int(package.created_at.timestamp() * 1_000_000)
    return f"packages/{package.project}/{name}-{package.sha256}-{born}"


def upload_of(key: str) -> tuple[str, datetime] | None:
    """Return whose package a key holds and when its upload began; None for a key that `package_key` does not make."""
    match = _KEY.fullmatch(key)
    return (match["project"], _EPOCH + timedelta(microseconds=int(match["born"]))) if match else None


class Vault:
    """Encrypts secrets with the platform's key (Fernet: AES-128-CBC and HMAC-SHA-256). Implements `Materials`."""

    def __init__(self, key: bytes, secrets: Secrets, packages: Packages, blobs: Blobs, clock: Clock) -> None:
        self._fernet = Fernet(key)
        self._key = key
        self._secrets = secrets
        self._packages = packages
        self._blobs = blobs
        self._clock = clock

    async def put(self, project: str, name: str, value: str) -> Secret:
        """Keep a secret, replacing an earlier value."""
        now = self._clock.now()
        digest = hmac.new(self._key, f"{project}\0{name}\0{value}".encode(), hashlib.sha256).hexdigest()
        secret = Secret(name=name, project=project, digest=digest, created_at=now, updated_at=now)
        await self._secrets.put(secret, self._fernet.encrypt(value.encode()))
        return secret

    async def secret(self, project: str, name: str) -> str:
        """Return the value; raises NotFound, or Unavailable where it was kept under another key."""
        _, ciphertext = await self._secrets.get(project, name)
        try:
            return self._fernet.decrypt(ciphertext).decode()
        except InvalidToken as error:
            raise Unavailable(
                f"Secret {name!r} of project {project} was encrypted with another key. Restore the `secret-key` file "
                "of the data directory, or set the secret again."
            ) from error

    def replica_token(self, uid: str) -> str:
        """Return what a service's replicas report with: it opens that and nothing else, and need not be kept."""
        return hmac.new(self._key, b"raysvc replica\0" + uid.encode(), hashlib.sha256).hexdigest()

    async def package(self, project: str, name: str) -> tuple[int, AsyncIterator[bytes]]:
        """Return a package's size and bytes; raises NotFound, and the bytes at their end Damaged."""
        package = await self._packages.get(project, name)
        return package.size, self._sound(package)

    async def _sound(self, package: Package) -> AsyncIterator[bytes]:
        seen = hashlib.sha256()
        async for chunk in self._blobs.read(package_key(package)):
            seen.update(chunk)
            yield chunk
        if seen.hexdigest() != package.sha256:
            raise Damaged(
                f"Package {package.name} is damaged on this server's disk: its bytes are not those that were uploaded.",
                field="packages",
            )
