"""How pages write times, sizes and logs. Pure."""

import re
from datetime import datetime, timedelta

from markupsafe import Markup, escape

_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
_CODE = re.compile(r"`([^`\n]+)`")
_UNSHOWN = re.compile(r"[\x00-\x08\x0b-\x0c\x0e-\x1f\x7f]")


def lasting(span: timedelta) -> str:
    """Return a duration in its two largest units: 3 d 4 h, 12 min 5 s, 0.4 s."""
    seconds = max(0.0, span.total_seconds())
    if seconds < 10:  # noqa: PLR2004 below that, tenths matter
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (rest, "s")]
    while parts[0][0] == 0:
        parts.pop(0)
    return " ".join(f"{amount} {unit}" for amount, unit in parts[:2] if amount)


def instant(at: datetime) -> str:
    """Return the time for people: to the second, UTC."""
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"


def size(count: int) -> str:
    """Return a number of bytes in the largest unit that fits."""
    amount = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:  # noqa: PLR2004 KiB
            return f"{amount:.0f} B" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"


def count(amount: float, unit: str) -> str:
    """Return an amount with its unit, in the plural where there is not just one."""
    return f"{amount:g} {unit}{'' if amount == 1 else 's'}"


def code(text: str) -> Markup:
    """Return the text with what stands in `backticks` as code; all of it is escaped."""
    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(text))))  # noqa: S704 escaped just before


def screen(log: bytes) -> str:
    """Return a log as a terminal would show it: no colours, and of a line that is written over, its last state."""
    text = _ESCAPES.sub("", log.decode("utf-8", "replace")).replace("\r\n", "\n")
    lines = (line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n"))
    return _UNSHOWN.sub("", "\n".join(lines))
