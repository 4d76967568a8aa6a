"""Python entrypoints without a new interpreter: a forked process that goes on as `python …` would have begun.

Only where the difference cannot be seen: a plain command (nothing for a shell to expand), this very interpreter, and
no variable that is read at an interpreter's or a library's start. Whatever else goes to a shell.
"""

import builtins
import io
import os
import random
import re
import runpy
import shlex
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.machinery import BuiltinImporter, SourceFileLoader
from pathlib import Path
from types import ModuleType, TracebackType

# Words and quoted texts in which a shell finds nothing to do.
_PLAIN = re.compile(r"""(?:[A-Za-z0-9_./:=,@%+ \t-]|'[^'\0]*'|"[^"$`\\\0]*")+""")
_NAMES = frozenset({"python", "python3"})
# Read when the interpreter, the C library, ray or what it imports starts: too late to change.
_EARLY = re.compile(r"(PYTHON|LD_|MALLOC_|GLIBC_|LC_|LANG|RAY_|GRPC_|PROTOCOL_BUFFERS_|PYDANTIC_)|(TZ|TMPDIR)$")
_EMULATED = frozenset({"PYTHONPATH", "PYTHONUNBUFFERED", "RAY_JOB_CONFIG_JSON_ENV_VAR"})
_PACKAGE = __name__.partition(".")[0]


@dataclass(frozen=True)
class Program:
    """`python -c TEXT`, `-m MODULE` or `PATH` (`flag` empty), with its arguments."""

    flag: str
    target: str
    arguments: tuple[str, ...]


def plain(entrypoint: str) -> Program | None:
    """Return the Python program that a shell would start for this, and nothing besides; None for all else."""
    if not _PLAIN.fullmatch(entrypoint):
        return None
    name, *words = shlex.split(entrypoint)
    if name not in _NAMES:
        return None
    if words[:1] == ["-u"]:
        words = words[1:]
    flag = words[0] if words[:1] in (["-c"], ["-m"]) else ""
    words = words[1:] if flag else words
    if not words or (not flag and (words[0].startswith("-") or not words[0].endswith(".py"))):
        return None
    return Program(flag, words[0], tuple(words[1:]))


def same(name_path: str | None, environment: Mapping[str, str], own: Mapping[str, str]) -> bool:
    """Tell whether `python` in that environment is what runs here. `name_path`: what its PATH finds."""
    if name_path is None or Path(name_path).parent != Path(sys.executable).parent:
        return False
    changed = {name for name in environment.keys() | own.keys() if environment.get(name) != own.get(name)}
    return not any(_EARLY.match(name) and name not in _EMULATED for name in changed)


def forkable(entrypoint: str, environment: Mapping[str, str], own: Mapping[str, str]) -> Program | None:
    """Return the program where this process may become it. `own`: what this one began with. Called in its folder."""
    program = plain(entrypoint)
    if program is None or not same(shutil.which("python", path=environment.get("PATH")), environment, own):
        return None
    if not program.flag and not Path(program.target).is_file():
        return None  # Python itself says best what is wrong
    # What is imported here already would stand in the way of the program's own module of that name.
    loaded = {name.partition(".")[0] for name in sys.modules}
    return None if loaded & set(_names(_paths(program, environment))) else program


def become(program: Program, environment: Mapping[str, str]) -> None:
    """Run the program in this process, as `__main__`; returns, or raises, where it ends."""
    launcher = sys.modules["__main__"]
    kept = {name: os.environ[name] for name in _set_by_ray(environment)}
    os.environ.clear()
    os.environ.update({**environment, **kept})
    random.seed()
    sys.path.remove(str(Path(__file__).parent.parent))
    sys.path[:0] = _paths(program, environment)
    main = ModuleType("__main__")
    main.__dict__.update(__builtins__=builtins, __annotations__={})
    sys.modules["__main__"] = main
    sys.excepthook = lambda kind, error, trace: _show(kind, error, _theirs(trace, launcher))
    _run(program, main)


def _paths(program: Program, environment: Mapping[str, str]) -> list[str]:
    """Return what comes before the standard library on the program's `sys.path`."""
    first = {"-c": "", "-m": str(Path.cwd())}.get(program.flag, os.path.realpath(Path(program.target).parent))
    return [first, *filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))]


def _names(paths: Iterable[str]) -> Iterator[str]:
    """Yield the top-level modules that stand in those folders, and some names that are none."""
    for path in paths:
        with suppress(OSError):
            yield from (name.partition(".")[0] for name in os.listdir(path or os.curdir))  # noqa: PTH208 only names


def _run(program: Program, main: ModuleType) -> None:
    if program.flag == "-m":
        sys.argv = ["-m", *program.arguments]
        runpy._run_module_as_main(program.target)  # type: ignore[attr-defined]  # noqa: SLF001 what `python -m` calls
        return
    if program.flag == "-c":
        sys.argv = ["-c", *program.arguments]
        source: str | bytes = program.target
        name = "<string>"
        main.__loader__ = BuiltinImporter
    else:
        sys.argv = [program.target, *program.arguments]
        name = program.target if program.target.startswith("/") else f"{Path.cwd()}/{program.target}"
        main.__dict__.update(__file__=name, __cached__=None, __loader__=SourceFileLoader("__main__", name))
        with io.open_code(name) as file:
            source = file.read()
    exec(compile(source, name, "exec", dont_inherit=True), main.__dict__)  # noqa: S102 the user's program


def _set_by_ray(environment: Mapping[str, str]) -> list[str]:
    """Return the variables that importing ray has set in this process, and would set in any."""
    return [name for name in os.environ if name.startswith("RAY_") and name not in environment]


def _show(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    sys.__excepthook__(kind, error.with_traceback(trace), trace)


def _theirs(trace: TracebackType | None, launcher: ModuleType) -> TracebackType | None:
    """Return the traceback from where the user's program begins."""
    while trace is not None:
        inside = trace.tb_frame.f_globals
        if inside is not launcher.__dict__ and not str(inside.get("__name__")).startswith(_PACKAGE):
            break
        trace = trace.tb_next
    return trace
