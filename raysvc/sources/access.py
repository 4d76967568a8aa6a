"""Where models lie and with whose credentials they are read: what the environment says."""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import urlsplit

HF = "https://huggingface.co"
_EMPTY = hashlib.sha256(b"").hexdigest()


@dataclass(frozen=True)
class S3Keys:
    """An account of S3, or of what speaks like it."""

    access: str
    secret: str = field(repr=False)
    session: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Access:
    """`hf_endpoint` and `s3_endpoint`, where they were named, are trusted: they may be private and plain HTTP."""

    hf_endpoint: str = HF
    hf_token: str | None = field(default=None, repr=False)
    s3_endpoint: str | None = None
    s3_region: str = "us-east-1"
    s3_keys: S3Keys | None = None
    allow_private: bool = False

    @property
    def trusted(self) -> frozenset[str]:
        """The `host:port` that the environment names."""
        named = [self.s3_endpoint] + ([self.hf_endpoint] if self.hf_endpoint != HF else [])
        return frozenset(_place(url) for url in named if url)


def access_of(environment: Mapping[str, str], *, credentials: bool, allow_private: bool = False) -> Access:
    """Return what Hugging Face's and AWS's own variables say.

    `credentials`: whether those of the environment go along. A server's are not its users' to read models with.
    """
    key, secret = environment.get("AWS_ACCESS_KEY_ID"), environment.get("AWS_SECRET_ACCESS_KEY")
    keys = S3Keys(key, secret, environment.get("AWS_SESSION_TOKEN")) if key and secret else None
    return Access(
        hf_endpoint=(environment.get("HF_ENDPOINT") or HF).rstrip("/"),
        hf_token=environment.get("HF_TOKEN") or None if credentials else None,
        s3_endpoint=environment.get("AWS_ENDPOINT_URL_S3") or environment.get("AWS_ENDPOINT_URL"),
        s3_region=environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION") or "us-east-1",
        s3_keys=keys if credentials else None,
        allow_private=allow_private,
    )


def sign_s3(url: str, keys: S3Keys, region: str, now: datetime) -> dict[str, str]:
    """Return the headers of a signed GET without a body: AWS Signature Version 4, S3's form.

    docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html. The URL's path must be encoded already.
    """
    parts = urlsplit(url)
    stamp = now.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    headers = {"host": parts.netloc, "x-amz-content-sha256": _EMPTY, "x-amz-date": stamp}
    if keys.session:
        headers["x-amz-security-token"] = keys.session
    names = ";".join(headers)
    lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
    request = "\n".join(("GET", parts.path or "/", parts.query, lines, names, _EMPTY))
    scope = f"{stamp[:8]}/{region}/s3/aws4_request"
    text = "\n".join(("AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(request.encode()).hexdigest()))
    key = f"AWS4{keys.secret}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    del headers["host"]  # the client's own
    credential = f"{keys.access}/{scope}"
    headers["authorization"] = f"AWS4-HMAC-SHA256 Credential={credential},SignedHeaders={names},Signature={signature}"
    return headers


def _place(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)}"
