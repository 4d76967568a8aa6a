"""The program itself: what it loads, how it helps, what its errors become."""

import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from raysvc.cli import app as program
from raysvc.cli import parse
from raysvc.cli.app import app
from raysvc.cli.exit import Code, code_of
from raysvc.errors import (
    AlreadyExists,
    DataDirError,
    Denied,
    DiskFull,
    Forbidden,
    IllegalTransition,
    Invalid,
    NotFound,
    OverLimit,
    RaysvcError,
    Unauthenticated,
    Unavailable,
)

HEAVY = {"fastapi", "sqlalchemy", "alembic", "uvicorn", "ray", "torch", "kubernetes", "cel", "cryptography"}


@pytest.mark.parametrize(
    "words", [["--help"], ["--version"], ["job", "list"], ["job", "submit", "--help"], ["doctor", "--help"]]
)
def test_a_client_command_loads_nothing_of_the_server(words: list[str]) -> None:
    look = (
        "import sys\n"
        "from raysvc.cli.app import app\n"
        f"try: app({words!r})\n"
        "except SystemExit: pass\n"
        "print(*sorted(sys.modules), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", look],
        capture_output=True,
        text=True,
        check=True,
        env={"RAYSVC_URL": "http://127.0.0.1:9"},
    )
    loaded = {name.partition(".")[0] for name in done.stderr.split()}
    assert "raysvc" in loaded
    assert not HEAVY & loaded


def test_help_loads_not_even_the_sdk() -> None:
    look = "import sys\nfrom raysvc.cli.app import app\ntry: app(['--help'])\nexcept SystemExit: pass\n"
    look += "assert not {'httpx', 'psutil'} & set(sys.modules)\n"
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    for name, entry in program.COMMANDS.items():
        assert name in done.stdout
        assert entry.help[:40] in done.stdout


def test_every_command_loads_and_helps() -> None:
    for name in program.COMMANDS:
        result = CliRunner().invoke(app, [name, "--help"])
        assert result.exit_code == 0, (name, result.exception)
        assert "--help" in result.stdout


def test_an_unknown_command_is_usage() -> None:
    assert CliRunner().invoke(app, ["jbo"]).exit_code == 2


def test_the_shell_completes_commands_and_options() -> None:
    environment = {"_RAYSVC_COMPLETE": "complete_bash", "COMP_WORDS": "raysvc ad", "COMP_CWORD": "1"}
    assert CliRunner().invoke(app, prog_name="raysvc", env=environment).stdout.split() == ["admission"]
    environment |= {"COMP_WORDS": "raysvc job submit --idem", "COMP_CWORD": "3"}
    assert CliRunner().invoke(app, prog_name="raysvc", env=environment).stdout.split() == ["--idempotency-key"]


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (Invalid, 3),
        (Denied, 3),
        (OverLimit, 3),
        (AlreadyExists, 3),
        (Unauthenticated, 3),
        (Forbidden, 3),
        (DataDirError, 3),
        (NotFound, 4),
        (Unavailable, 5),
        (DiskFull, 5),
        (RaysvcError, 70),
        (IllegalTransition, 70),
    ],
)
def test_each_error_has_its_exit_code(kind: type[RaysvcError], code: int) -> None:
    assert code_of(kind("why")) == code
    assert isinstance(code_of(kind("why")), Code)


@pytest.mark.parametrize(
    ("text", "amount"),
    [("1073741824", 1 << 30), ("512MiB", 512 << 20), ("2g", 2 * 10**9), ("1.5 GiB", 3 << 29), ("10KB", 10_000)],
)
def test_amounts_of_memory(text: str, amount: int) -> None:
    assert parse.size(text) == amount


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("90s", 90), ("1.5h", 5400), ("30m", 1800), ("2D", 172800)])
def test_lengths_of_time(text: str, seconds: float) -> None:
    assert parse.duration(text) == seconds


@pytest.mark.parametrize("text", ["", "x", "-1", "5 parsecs", "1e9"])
def test_neither_is_guessed(text: str) -> None:
    for reader in (parse.size, parse.duration):
        with pytest.raises(typer.BadParameter):
            reader(text)
