"""Python entrypoints under a warm driver: what is forked, and that it cannot be told from a new interpreter."""

import os
import sys
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from raysvc.backends.local.warm.python import Program, plain, same
from tests.unit.backends.warm import Warm, pool


@pytest.mark.parametrize(
    ("entrypoint", "program"),
    [
        ("python train.py", Program("", "train.py", ())),
        (
            "python3 -u a/b-c.py --x=1 'two words' \"and 'these'\"",
            Program("", "a/b-c.py", ("--x=1", "two words", "and 'these'")),
        ),
        ("python -c 'print($HOME; `id`)' $", None),
        ("python -c 'print(\"$HOME; `id`\")' -v", Program("-c", 'print("$HOME; `id`")', ("-v",))),
        ("python -m pkg.mod a", Program("-m", "pkg.mod", ("a",))),
        *(
            (text, None)
            for text in ("python", "python -", "python -V", "python -m", "python -c", "python -O a.py", "pypy a.py")
        ),
        *(
            (f"python a.py{rest}", None)
            for rest in ("; ls", " && ls", " | cat", " > x", " $X", " ~", " *.txt", "\nls", " &", " #x")
        ),
        *((f"{first}python a.py", None) for first in ("X=1 ", "cd x && ", "nohup ", "/usr/bin/")),
        ("python -c \"print('$HOME')\"", None),
        ("python a.py {1,2}", None),
        ("python a.py \\n", None),
        ("python 'a.py", None),
        ("python script", None),  # no .py: perhaps an archive or compiled
    ],
)
def test_only_a_plain_python_command_is_taken_for_one(entrypoint: str, program: Program | None) -> None:
    assert plain(entrypoint) == program


def test_what_changes_an_interpreters_start_needs_a_new_one() -> None:
    here = str(Path(sys.executable).parent / "python")
    own = {"PATH": "/bin", "PYTHONUNBUFFERED": "1", "LANG": "C.UTF-8"}
    assert same(here, {**own, "COLOUR": "blue", "PYTHONPATH": "/x", "OMP_NUM_THREADS": "1"}, own)
    for name in ("PYTHONOPTIMIZE", "PYTHONHASHSEED", "LD_PRELOAD", "RAY_BACKEND_LOG_LEVEL", "LC_ALL", "LANG", "TZ"):
        assert not same(here, {**own, name: "x"}, own), name
    assert not same(here, {"PATH": "/bin"}, {**own, "PYTHONDEVMODE": "1"})
    assert not same("/usr/bin/python", own, own)
    assert not same(None, own, own)


FILES = {
    "who.py": """
        import os, sys, threading
        print(sys.argv, __name__, __file__, __spec__, os.getcwd(), sys.stdin.read() == "", threading.active_count())
        print([entry for entry in sys.path if "thirdparty_files" not in entry and "/ray/" not in entry])
        print(sorted(os.listdir("/proc/self/fd")), sys.flags.optimize, os.getpgid(0) == os.getpid())
        print(sorted(globals()))
    """,
    "raises.py": """
        def inner(): raise ValueError("deep")
        def outer():
            try: 1 / 0
            except ZeroDivisionError: inner()
        outer()
    """,
    "syntax.py": "print('never')\nif True print",
    "finalised.py": """
        import atexit, threading, time, weakref
        class Thing:
            def __del__(self): print("deleted")
        thing = Thing()
        atexit.register(print, "atexit")
        threading.Thread(target=lambda: (time.sleep(0.1), print("thread"))).start()
        left_open = open("left", "w"); left_open.write("flushed")
        print("main")
    """,
    "exits.py": "import sys; print('out', flush=False); sys.exit(sys.argv[1] if len(sys.argv) > 1 else 5)",
    "killed.py": "import os, signal; print('up'); os.kill(os.getpid(), signal.SIGTERM)",
    "interrupt.py": "import ray\nraise KeyboardInterrupt",  # once ray is imported, such an end is a 1, not SIGINT
    "pkg/__init__.py": "print('package')",
    "pkg/__main__.py": "import sys; from pkg import other; print(__name__, __package__, sys.argv[1:], other.WORD)",
    "pkg/other.py": "WORD = 'mellon'",
    "pickled.py": """
        import multiprocessing, pickle
        class Mine: pass
        def twice(n): return 2 * n
        if __name__ == "__main__":
            print(type(pickle.loads(pickle.dumps(Mine()))))
            with multiprocessing.get_context("spawn").Pool(1) as workers: print(workers.map(twice, [1, 2]))
    """,
}
COMMANDS = [
    "python who.py a 'b c'",
    "python ./who.py",
    "python raises.py",
    "python syntax.py",
    "python finalised.py",
    "python exits.py",
    "python exits.py said",
    "python killed.py",
    "python interrupt.py",
    "python -m pkg x",
    "python -m no_such_module",
    "python missing.py",
    "python pickled.py",
    "python -c 'import sys; print(sys.argv, __name__, sys.path[0])' x",
    "python -c 'import pkg.other as o; print(o.WORD, o.__file__)'",
    "python -c 'def f(: pass'",
    "python -c 'input()'",
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def warm(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Warm]:
    async with pool(tmp_path_factory.mktemp("warm")) as made:
        for name, text in FILES.items():
            lines = text.strip("\n").splitlines()
            indent = len(lines[0]) - len(lines[0].lstrip())
            file = made.area.home / name
            file.parent.mkdir(exist_ok=True)
            file.write_text("\n".join(line[indent:] for line in lines))
        yield made


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("command", COMMANDS)
async def test_a_forked_program_says_and_ends_as_a_new_interpreter_would(warm: Warm, command: str) -> None:
    assert plain(command)
    number = COMMANDS.index(command)
    forked = await warm.run(f"forked-{number}", command)
    fresh = await warm.run(f"fresh-{number}", f"exec {command}")
    assert forked.get("driver_exit_code") == fresh.get("driver_exit_code")
    assert warm.output(f"forked-{number}") == warm.output(f"fresh-{number}")
    if "finalised" in command:
        assert (warm.area.home / "left").read_text() == "flushed"


@pytest.mark.asyncio(loop_scope="module")
async def test_programs_share_ray_and_neither_dice_nor_memory(warm: Warm) -> None:
    program = (
        "import os, random, sys; print(os.getppid(), random.random(), os.urandom(4).hex()); "
        'print(hasattr(sys, "mine"), "ray" in sys.modules); sys.mine = 1'
    )
    for name in ("one", "two"):
        await warm.run(name, f"python -c '{program}'")
    (parent, *dice), (other, *others) = (warm.output(name).split() for name in ("one", "two"))
    assert parent == other == str(warm.process.pid)
    assert dice[:2] != others[:2]
    assert dice[2:] == others[2:] == ["False", "True"]


@pytest.mark.asyncio(loop_scope="module")
async def test_a_program_finds_nothing_of_the_pool(warm: Warm) -> None:
    secret = os.urandom(8).hex()
    await warm.run("holder", "python -c 'import os; print(len(os.environ[\"WORD\"]))'", variables={"WORD": secret})
    program = (
        'import gc, os; kinds = ("Pool", "Run", "Wire"); '
        'print(os.environ.get("WORD"), sum(type(o).__name__ in kinds for o in gc.get_objects()))'
    )
    await warm.run("seeker", f"python -c '{program}'")
    assert warm.output("seeker").split() == ["None", "0"]


@pytest.mark.asyncio(loop_scope="module")
async def test_a_programs_own_module_wins_over_one_that_is_loaded_here(warm: Warm) -> None:
    package, folder = warm.area.root / "code.zip", warm.area.pools / warm.name / "run-own"
    with zipfile.ZipFile(package, "w") as archive:
        archive.writestr("main.py", "import psutil; print(psutil.WORD)")
        archive.writestr("psutil.py", "WORD = 'mine'")
    await warm.run("own", "python main.py", package=str(package), folder=str(folder))
    assert warm.output("own") == "mine\n"
