"""Text as people may send it: what every database keeps, every command line takes and no screen is fooled by.

Checked where something new comes in, not by the types: a record that an older version accepted must stay readable.
"""

import re
from collections.abc import Mapping, Sized
from typing import Any

from raysvc.domain.job import ArchiveCode, ImageCode, JobSpec
from raysvc.errors import Invalid

# Controls (C0, DEL, C1), the two separators that some editors take for line ends, and what turns the direction of text
# around: in a name they forge lines of a log or of a table.
_UNFIT_IN_LINE = re.compile("[\0-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_UNFIT_IN_PROSE = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
MOST_LABELS = 64
MOST_WORKER_GROUPS = 64
MOST_CUSTOM_RESOURCES = 64
MOST_SECRETS = 256
# Of runtime_env and metadata together, in characters. A list shows a thousand specs; real ones have some hundred.
LONGEST_FREE_FORM = 256 << 10
# Key and value stand in one row of an index, which holds 2,704 bytes in PostgreSQL; a character has up to 4.
LONGEST_KEY = 128
LONGEST_VALUE = 256
LONGEST_IDEMPOTENCY_KEY = 255


def check_line(text: str, field: str) -> None:
    """Return for text of one line without control characters; raise Invalid for any other."""
    if not text.isprintable():
        _refuse(_UNFIT_IN_LINE.search(text), field)


def check_prose(text: str, field: str) -> None:
    """Like `check_line`, for text that may have several lines and tabs."""
    if not text.isprintable():
        _refuse(_UNFIT_IN_PROSE.search(text), field)


def check_idempotency_key(key: str) -> None:
    """Return for 1 to 255 printable characters; raise Invalid for any other."""
    if not 0 < len(key) <= LONGEST_IDEMPOTENCY_KEY or not key.isprintable():
        raise Invalid(
            f"An idempotency key has 1 to {LONGEST_IDEMPOTENCY_KEY} printable characters, such as a UUID.",
            field="idempotency_key",
        )


def check_spec(spec: JobSpec) -> None:
    """Return for a spec all of whose texts can be kept, sent and shown; raise Invalid, naming the field."""
    if "\0" in spec.entrypoint:
        raise Invalid("entrypoint holds a NUL character, which no command may have.", field="entrypoint")
    if spec.name is not None:
        check_line(spec.name, "name")
    if isinstance(spec.code, ImageCode):
        check_line(spec.code.image, "code.image")
    elif isinstance(spec.code, ArchiveCode):
        check_line(spec.code.uri, "code.uri")
    if spec.labels:
        _check_labels(spec.labels)
    for key, value in spec.label_selector.items():
        check_line(key, "label_selector")
        check_line(value, "label_selector")
    _check_size(spec)
    _check_most(spec.secrets, MOST_SECRETS, "secrets")
    _check_custom(spec.resources.custom, "resources.custom")
    if spec.shape.workers:
        _check_most(spec.shape.workers, MOST_WORKER_GROUPS, "shape.workers")
        for group in spec.shape.workers:
            _check_name(group.name, "shape.workers")
            _check_custom(group.resources.custom, "shape.workers")


def _check_labels(labels: Mapping[str, str]) -> None:
    _check_most(labels, MOST_LABELS, "labels")
    for key, value in labels.items():
        check_line(key, "labels")
        check_line(value, "labels")
        if not 0 < len(key) <= LONGEST_KEY or len(value) > LONGEST_VALUE:
            raise Invalid(
                f"A label's key has 1 to {LONGEST_KEY} characters and its value at most {LONGEST_VALUE}; the label "
                f"{key[:40]!r} has {len(key)} and {len(value)}. Longer texts belong into metadata.",
                field="labels",
            )


def _check_custom(custom: Mapping[str, Any], field: str) -> None:
    if custom:
        _check_most(custom, MOST_CUSTOM_RESOURCES, field)
        for name in custom:
            _check_name(name, field)


def _check_name(name: str, field: str) -> None:
    check_line(name, field)
    if len(name) > LONGEST_KEY:
        raise Invalid(
            f"{field} has a name of {len(name)} characters, and at most {LONGEST_KEY} are taken.", field=field
        )


def _check_size(spec: JobSpec) -> None:
    # As Python writes them, which is about as long as the JSON and costs a microsecond.
    size = sum(len(str(part)) for part in (spec.runtime_env, spec.metadata, spec.label_selector) if part)
    if size > LONGEST_FREE_FORM:
        raise Invalid(
            f"runtime_env and metadata have {size:,} characters, and at most {LONGEST_FREE_FORM:,} are taken. Put data "
            "into files of working_dir.",
            field="runtime_env",
        )


def _check_most(things: Sized, most: int, field: str) -> None:
    if len(things) > most:
        raise Invalid(f"{field} has {len(things)} entries, and at most {most} are taken.", field=field)


def _refuse(found: re.Match[str] | None, field: str) -> None:
    if found is not None:
        raise Invalid(
            f"{field} holds the character U+{ord(found[0]):04X} (the {found.start() + 1}. of it), which is not for "
            "printing. Leave it out.",
            field=field,
        )
