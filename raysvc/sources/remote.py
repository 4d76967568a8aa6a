"""A model's files behind a URL: `hf://owner/name[@revision]`, `s3://bucket/prefix`, `https://host/folder`."""

import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from urllib.parse import quote, urlsplit

from raysvc.errors import Invalid, NotFound
from raysvc.sources.access import Access, sign_s3
from raysvc.sources.fetch import Ask, Fetcher, Headers, Slice

CONFIG = "config.json"
# One request tells a file's size and, but for the largest, all of its safetensors header.
_BEGINNING = 128 << 10
_AT_ONCE = 8
_LARGEST_PAGE = 4 << 20
_REPOSITORY = re.compile(
    r"([A-Za-z0-9][A-Za-z0-9_.-]{0,95}(?:/[A-Za-z0-9][A-Za-z0-9_.-]{0,95})?)(?:@([A-Za-z0-9_./-]{1,128}))?"
)
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_STEP = re.compile(r"(?:^|/)\.{1,2}(?:/|$)")
# A name inside the model: no folder, nothing that climbs.
_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}")


class RemoteSource:
    """The files of one model. What was read of a file's beginning is kept, so that it is asked for once."""

    def __init__(
        self, label: str, base: str, fetcher: Fetcher, headers: Headers | None = None, *, hides: bool = False
    ) -> None:
        """`hides`: the server answers 403 for what is not there, as S3 does to those who may not list."""
        self._label = label
        self._base = base
        self._fetcher = fetcher
        self._headers = headers
        self._hides = hides
        self._begun: dict[str, Slice | None] = {}

    @property
    def label(self) -> str:
        return self._label

    def size(self, name: str) -> int | None:
        """Return the file's size; None where it is not there. Raises Invalid, Unavailable."""
        beginning = self._beginning(name)
        if beginning is None:
            return None
        if beginning.total is None:
            raise Invalid(f"{self._label}: the server does not say how large {name} is.", field="model")
        return beginning.total

    def read(self, name: str, *, offset: int, length: int) -> bytes:
        """Return up to `length` bytes; fewer only at the end. Raises NotFound, Invalid, Unavailable."""
        beginning = self._beginning(name)
        if beginning is None:
            raise NotFound(f"{self._label} has no {name}.")
        if offset + length <= len(beginning.data) or beginning.total == len(beginning.data):
            return beginning.data[offset : offset + length]
        found = self._fetcher.get(self._ask(name, offset, length))
        if found is None or found.total != beginning.total:
            raise Invalid(f"{self._label}: {name} changed while it was read; try again.", field="model")
        return found.data

    def prefetch(self, names: Sequence[str]) -> None:
        """Read the beginnings of many files at once, so that asking for one after the other need not wait."""
        missing = [name for name in names if name not in self._begun]
        with ThreadPoolExecutor(max_workers=_AT_ONCE, thread_name_prefix="raysvc-source") as threads:
            list(threads.map(self._beginning, missing))

    def _beginning(self, name: str) -> Slice | None:
        if name not in self._begun:
            self._begun[name] = self._fetcher.get(self._ask(name, 0, _BEGINNING))
        return self._begun[name]

    def _ask(self, name: str, offset: int, length: int) -> Ask:
        if not _FILE.fullmatch(name):
            raise Invalid(f"{name!r} is no file name of a model: no folders, no leading dot.", field="model")
        # Every model has a config.json: where that is refused, it is the model that may not be read.
        absent = {404, 403} if self._hides and name != CONFIG else {404}
        return Ask(f"{self._base}/{name}", length, offset, self._headers, frozenset(absent))


def remote_source(model: str, access: Access, fetcher: Fetcher, now: Callable[[], datetime]) -> RemoteSource:
    """Return the files behind a model's URL. Nothing is fetched yet. Raises Invalid for a URL that is none."""
    scheme, _, rest = model.partition("://")
    if scheme == "hf":
        return _hugging_face(model, rest, access, fetcher)
    if scheme == "s3":
        return _s3(model, rest, access, fetcher, now)
    return RemoteSource(model, _folder(model), fetcher)


def opener(access: Access, fetcher: Fetcher) -> Callable[[str], RemoteSource]:
    """Return what opens a model's URL with this access, as the planner takes it."""
    return lambda model: remote_source(model, access, fetcher, lambda: datetime.now(UTC))


def fetcher_of(access: Access) -> Fetcher:
    """Return a Fetcher that trusts what the access names."""
    return Fetcher(trusted=access.trusted, allow_private=access.allow_private)


def body_fetcher(fetcher: Fetcher) -> Callable[[str], bytes]:
    """Return what gets a whole small document, such as a page of prices. It raises NotFound, Invalid, Unavailable."""

    def fetch(url: str) -> bytes:
        found = fetcher.get(Ask(url, _LARGEST_PAGE))
        if found is None:
            raise NotFound(f"{urlsplit(url).hostname} has no such page.")
        return found.data

    return fetch


def _hugging_face(model: str, rest: str, access: Access, fetcher: Fetcher) -> RemoteSource:
    match = _REPOSITORY.fullmatch(rest)
    if match is None or ".." in rest:
        raise Invalid(
            f"{model}: a model of Hugging Face is hf://owner/name, or hf://owner/name@revision.", field="model"
        )
    token = access.hf_token
    headers: Headers | None = (lambda _: {"Authorization": f"Bearer {token}"}) if token else None
    base = f"{access.hf_endpoint}/{match[1]}/resolve/{quote(match[2] or 'main', safe='')}"
    return RemoteSource(model, base, fetcher, headers)


def _s3(model: str, rest: str, access: Access, fetcher: Fetcher, now: Callable[[], datetime]) -> RemoteSource:
    bucket, _, prefix = rest.partition("/")
    if not _BUCKET.fullmatch(bucket) or _STEP.search(prefix) or "//" in prefix:
        raise Invalid(f"{model}: a model in S3 is s3://bucket/folder.", field="model")
    host = access.s3_endpoint or f"https://s3.{access.s3_region}.amazonaws.com"
    # The bucket in the path, not in the host: a wildcard certificate does not cover names with dots.
    base = "/".join(part for part in (host.rstrip("/"), bucket, quote(prefix.strip("/"), safe="/~")) if part)
    keys = access.s3_keys
    headers: Headers | None = (lambda url: sign_s3(url, keys, access.s3_region, now())) if keys else None
    return RemoteSource(model, base, fetcher, headers, hides=True)


def _folder(model: str) -> str:
    parts = urlsplit(model)
    if not parts.hostname or parts.username is not None or parts.query or parts.fragment or _STEP.search(parts.path):
        raise Invalid(
            f"{parts.scheme}://{parts.hostname or ''}{parts.path}: a model's URL is https://host/folder, without a "
            "user, a query or steps like `..`.",
            field="model",
        )
    return f"{parts.scheme}://{parts.netloc}{quote(parts.path.removesuffix(CONFIG).rstrip('/'), safe='/%~')}"
