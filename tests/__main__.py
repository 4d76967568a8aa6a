"""Sets up what a fresh machine lacks, then runs every gate: `python -m tests [pytest options]`."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryFile

BIN = Path(sys.executable).parent
GATES: dict[str, tuple[str | Path, ...]] = {
    "format": (BIN / "ruff", "format", "--check", "-q", "."),
    "lint": (BIN / "ruff", "check", "-q", "."),
    "types": (BIN / "mypy",),
    "layers": (BIN / "lint-imports",),
}
# Half of the time, most of it spent waiting for a Ray to start: so the other half runs beside it.
HALF = "tests/real"


def main(arguments: list[str]) -> int:
    """Return 0 where all gates are green. With arguments: only pytest, with these."""
    install_browser()
    # A shell's background job ignores Ctrl-C and would hand that on to what the tests start, and interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if arguments:
        return subprocess.run((BIN / "pytest", *arguments), check=False).returncode
    failed = sum(not passed(name, command) for name, command in GATES.items())
    pytest = (BIN / "pytest", "-q", "-p", "no:cacheprovider")
    with TemporaryFile() as output:
        with subprocess.Popen((*pytest, HALF), stdout=output, stderr=subprocess.STDOUT) as beside:
            failed += not passed("other tests", (*pytest, "tests", f"--ignore={HALF}"))
        output.seek(0)
        shutil.copyfileobj(output, sys.stdout.buffer)
    failed += not said(HALF, beside.returncode)
    return min(failed, 1)


def passed(name: str, command: Sequence[str | Path]) -> bool:
    """Run a gate, and tell whether it is green."""
    began = time.monotonic()
    return said(name, subprocess.run(command, check=False).returncode, f", {time.monotonic() - began:.0f} s")


def said(name: str, code: int, detail: str = "") -> bool:
    print(f"== {name}: {'ok' if code == 0 else f'FAILED (exit {code})'}{detail}", flush=True)  # noqa: T201 its output
    return code == 0


def install_browser() -> None:
    """Make sure that there is a Chromium: Debian's where we may install packages, Playwright's own elsewhere."""
    if shutil.which("chromium"):
        return
    if shutil.which("apt-get") and os.geteuid() == 0:
        subprocess.run(("apt-get", "-qq", "update"), check=False)
        subprocess.run(("apt-get", "-qq", "install", "-y", "--no-install-recommends", "chromium"), check=False)
    if not shutil.which("chromium"):
        subprocess.run((sys.executable, "-m", "playwright", "install", "--with-deps", "chromium"), check=False)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
