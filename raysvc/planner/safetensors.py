"""Tensors of a checkpoint, from safetensors headers alone.

Format: 8 bytes little-endian header length, then JSON {name: {dtype, shape, data_offsets}}
(https://github.com/huggingface/safetensors#format). Which files belong to a model is what
`model.safetensors.index.json` says, never what a glob finds: repositories carry second copies
(gpt-oss's `original/` doubled KAITO's catalogue).
"""

import json
from dataclasses import dataclass
from math import prod
from typing import Any

from raysvc.errors import Invalid
from raysvc.planner.source import Prefetching, Source, checked

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
# The format's own cap on a header; an index of the largest public models is below 20 MB.
_MAX_HEADER = 100_000_000
_MAX_INDEX = 64 << 20
_SHOWN = 5

# Bits per element. F4/F6/F8_E8M0 came with the OCP microscaling formats.
BITS = {
    "F64": 64, "I64": 64, "U64": 64, "F32": 32, "I32": 32, "U32": 32, "F16": 16, "BF16": 16, "I16": 16, "U16": 16,
    "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "I8": 8, "U8": 8, "BOOL": 8,
    "F6_E2M3": 6, "F6_E3M2": 6, "F4": 4,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor of a checkpoint: its name, dtype as safetensors spells it, and shape."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def elements(self) -> int:
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.elements * BITS[self.dtype] // 8


def read_tensors(source: Source) -> tuple[Tensor, ...] | None:
    """Return the checkpoint's tensors; None where the source has no safetensors files at all.

    Raises Invalid for an index that names missing files or tensors, and for a file that is not safetensors.
    """
    size = source.size(INDEX)
    if size is None:
        return tuple(_header(source, SINGLE).values()) if source.size(SINGLE) is not None else None
    if size > _MAX_INDEX:
        raise Invalid(f"{source.label}: {INDEX} has {size} bytes; that is no index of a model.", field="model")
    weight_map = _weight_map(source, _index(source, size))
    files = sorted(set(weight_map.values()))
    if isinstance(source, Prefetching):
        source.prefetch([checked(name) for name in files])
    missing = [name for name in files if source.size(checked(name)) is None]
    if missing:
        raise Invalid(
            f"{source.label}: {INDEX} names {len(missing)} of {len(files)} files that are not there: "
            f"{_some(missing)}. Finish the download, or give --weights-bytes with the config.json alone.",
            field="model",
        )
    headers = {name: _header(source, name) for name in files}
    absent = [tensor for tensor, name in weight_map.items() if tensor not in headers[name]]
    if absent:
        raise Invalid(
            f"{source.label}: {len(absent)} tensors of {INDEX} are not in the files it names: {_some(absent)}.",
            field="model",
        )
    return tuple(headers[name][tensor] for tensor, name in weight_map.items())


def indexed_bytes(source: Source) -> int | None:
    """Return the size that an index states for weights of which no file is here; None where some are, or no index is.

    Raises Invalid for an index that does not parse.
    """
    size = source.size(INDEX)
    if size is None or size > _MAX_INDEX:
        return None
    document = _index(source, size)
    if any(source.size(checked(name)) is not None for name in set(_weight_map(source, document).values())):
        return None
    metadata = document.get("metadata")
    total = metadata.get("total_size") if isinstance(metadata, dict) else None
    total = int(total) if isinstance(total, float) and total.is_integer() else total
    return total if isinstance(total, int) and not isinstance(total, bool) and total > 0 else None


def _index(source: Source, size: int) -> dict[str, Any]:
    try:
        document = json.loads(source.read(INDEX, offset=0, length=size))
    except (ValueError, RecursionError) as error:
        raise Invalid(f"{source.label}: {INDEX} is no safetensors index: {error!r}.", field="model") from error
    if not isinstance(document, dict) or "weight_map" not in document:
        raise Invalid(f"{source.label}: {INDEX} is no safetensors index: it has no weight_map.", field="model")
    return document


def _weight_map(source: Source, document: dict[str, Any]) -> dict[str, str]:
    weight_map = document["weight_map"]
    if not isinstance(weight_map, dict) or not all(isinstance(name, str) for name in weight_map.values()):
        raise Invalid(f"{source.label}: weight_map of {INDEX} must map tensors to files.", field="model")
    return weight_map


def _header(source: Source, name: str) -> dict[str, Tensor]:
    length = int.from_bytes(source.read(name, offset=0, length=8), "little")
    if not len("{}") <= length <= _MAX_HEADER:
        raise Invalid(f"{source.label}: {name} is no safetensors file (header of {length} bytes).", field="model")
    raw = source.read(name, offset=8, length=length)
    if len(raw) < length:
        raise Invalid(f"{source.label}: {name} ends inside its header; the download is not complete.", field="model")
    try:
        entries: dict[str, Any] = json.loads(raw)
        return {key: _tensor(key, entry) for key, entry in entries.items() if key != "__metadata__"}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Invalid(f"{source.label}: the header of {name} does not parse: {error!r}.", field="model") from error


def _tensor(name: str, entry: dict[str, Any]) -> Tensor:
    dtype = entry["dtype"]
    if dtype not in BITS:
        message = f"unknown dtype {dtype!r} of {name}"
        raise ValueError(message)
    shape = tuple(entry["shape"])
    if not all(isinstance(size, int) and size >= 0 for size in shape):
        message = f"shape {shape} of {name}"
        raise ValueError(message)
    return Tensor(name, dtype, shape)


def _some(names: list[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
