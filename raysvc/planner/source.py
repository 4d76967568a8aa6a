"""Where a model's files are read: a small protocol, the local implementation, and the resolving of a model's name.

Only `config.json`, the safetensors index and headers are ever read, never weights: 8 bytes and a header of each shard.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from raysvc.errors import Invalid, NotFound

CONFIG = "config.json"
MAX_CONFIG = 16 << 20  # bytes
_REMOTE = re.compile(r"^(hf|https|s3)://")
# A name inside a repository: no directory, no dots that climb, as Hugging Face has them for weights.
_FILE_NAME = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}$")


class Source(Protocol):
    """The files of one model. Implementations refuse names that leave it, and addresses their policy forbids."""

    @property
    def label(self) -> str:
        """What people call it; stands in errors."""

    def size(self, name: str) -> int | None:
        """Return the file's size in bytes, None where it does not exist."""

    def read(self, name: str, *, offset: int, length: int) -> bytes:
        """Return up to `length` bytes from `offset`; fewer only at the end. Raises NotFound, Unavailable."""


@runtime_checkable
class Prefetching(Protocol):
    """A source far away, which can read the beginnings of many files at once."""

    def prefetch(self, names: Sequence[str]) -> None: ...


Reader = Callable[[str], Source]


class LocalSource:
    """A directory. Follows symlinks: Hugging Face's cache is made of them."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @property
    def label(self) -> str:
        return str(self._root)

    def size(self, name: str) -> int | None:
        path = self._root / checked(name)
        return path.stat().st_size if path.is_file() else None

    def read(self, name: str, *, offset: int, length: int) -> bytes:
        try:
            with (self._root / checked(name)).open("rb") as file:
                file.seek(offset)
                return file.read(length)
        except OSError as error:
            raise NotFound(f"{self.label}: {name} cannot be read: {error.strerror}.") from error


class ConfigOnly:
    """A lone `config.json`: what its weights weigh must come from elsewhere."""

    def __init__(self, label: str, config: bytes) -> None:
        self._label = label
        self._config = config

    @property
    def label(self) -> str:
        return self._label

    def size(self, name: str) -> int | None:
        return len(self._config) if name == CONFIG else None

    def read(self, name: str, *, offset: int, length: int) -> bytes:
        if name != CONFIG:
            raise NotFound(f"{self._label}: only {CONFIG} was given, not {name}.")
        return self._config[offset : offset + length]


def checked(name: str) -> str:
    """Return the name if it is a plain file name; raises Invalid for one that could leave the model's directory."""
    if not _FILE_NAME.match(name):
        raise Invalid(f"{name!r} is no file name of a model: no directories, no leading dot.", field="model")
    return name


def resolve(model: str, reader: Reader | None) -> Source:
    """Return the source a model's name means: a directory, a config.json, or a URL through `reader`.

    Raises Invalid where a URL comes without a reader, NotFound where nothing is there.
    """
    if _REMOTE.match(model):
        if reader is None:
            raise Invalid(f"{model}: remote models cannot be read here; give a local directory.", field="model")
        return reader(model)
    if "://" in model:
        raise Invalid(f"{model}: a model is a directory, a config.json, hf://, https:// or s3://.", field="model")
    path = Path(model)
    try:
        if path.is_dir():
            return LocalSource(path)
        if path.is_file():
            return _config_only(model, path)
    except OSError as error:  # such as a name that is too long
        raise NotFound(f"{model[:200]} cannot be read: {error.strerror}.") from error
    raise NotFound(f"There is no model {model!r}: no such directory or config.json, and no entry of the catalogue.")


def _config_only(model: str, path: Path) -> ConfigOnly:
    if path.suffix != ".json" or path.stat().st_size > MAX_CONFIG:
        raise Invalid(f"{model} is a file, but not a config.json or a model directory.", field="model")
    return ConfigOnly(model, path.read_bytes())
