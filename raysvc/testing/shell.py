"""The few words of a shell that a fake backend understands: enough to say what a job does, and when."""

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field

FOREVER = float("inf")
_JOINTS = frozenset({";", "&&", "\n"})
# A joint, or what stands between two: words in which quotes and backslashes hide the joints.
_PART = re.compile(r"""&&|[;\n]|(?:[^;&\n'"\\]|&(?!&)|\\.|'[^']*'|"(?:[^"\\]|\\.)*"|['"\\])+""", re.DOTALL)


@dataclass
class Run:
    """What a command does, foreseen: `lines` are (seconds after its start, output); it ends with `exit_code`."""

    lines: list[tuple[float, bytes]] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    seconds: float = 0.0
    exit_code: int = 0

    def say(self, text: str) -> None:
        self.lines.append((self.seconds, text.encode()))


def foresee(entrypoint: str, environment: Mapping[str, str]) -> Run:
    """Return what an entrypoint will do.

    Known are `echo TEXT [> FILE]`, `printenv NAME`, `sleep SECONDS`, `exit CODE`, `true` and `false`, joined by `;`,
    `&&` or a new line outside quotes. Of FILE the last part counts: it lies in the output folder. Any other command
    does not exist (exit 127); quotes that do not close end it before it begins (exit 2).
    """
    run, joined = Run(), False
    try:
        parts = [(part, shlex.split(part)) for part in _PART.findall(entrypoint)]
    except ValueError:
        run.say("/bin/sh: 1: Syntax error: Unterminated quoted string\n")
        run.exit_code = 2
        return run
    for part, words in parts:
        if part in _JOINTS:
            joined = part == "&&"
        elif words and not (joined and run.exit_code):
            ended = _step(run, words, environment)
            if ended or run.seconds == FOREVER:
                break
    return run


def _step(run: Run, words: list[str], environment: Mapping[str, str]) -> bool:
    """Add one command to the run; return whether it ends it."""
    run.exit_code = 0
    match words:
        case ["echo", *texts, ">", file]:
            run.files[file.rpartition("/")[2]] = (" ".join(texts) + "\n").encode()
        case ["echo", *texts]:
            run.say(" ".join(texts) + "\n")
        case ["printenv", name] if name in environment:
            run.say(environment[name] + "\n")
        case ["printenv", _] | ["false"]:
            run.exit_code = 1
        case ["sleep", seconds]:
            run.seconds += FOREVER if seconds == "infinity" else float(seconds)
        case ["exit", code]:
            run.exit_code = int(code) % 256
            return True
        case ["true"]:
            pass
        case [name, *_]:
            run.say(f"/bin/sh: 1: {name}: not found\n")
            run.exit_code = 127
    return False
