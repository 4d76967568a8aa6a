"""Sets up what a fresh machine lacks, then runs every gate: `python -m tests [pytest options]`."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

BIN = Path(sys.executable).parent
GATES: dict[str, tuple[str | Path, ...]] = {
    "format": (BIN / "ruff", "format", "--check", "-q", "."),
    "lint": (BIN / "ruff", "check", "-q", "."),
    "types": (BIN / "mypy",),
    "layers": (BIN / "lint-imports",),
}


def main(arguments: list[str]) -> int:
    """Return 0 where all gates are green. With arguments: only pytest, with these."""
    install_browser()
    # A shell's background job ignores Ctrl-C and would hand that on to what the tests start, and interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    gates = {} if arguments else GATES
    failed = 0
    tests: tuple[str | Path, ...] = (BIN / "pytest", *(arguments or ["-q"]))
    for name, command in {**gates, "tests": tests}.items():
        began = time.monotonic()
        code = subprocess.run(command, check=False).returncode
        verdict = "ok" if code == 0 else f"FAILED (exit {code})"
        print(f"== {name}: {verdict}, {time.monotonic() - began:.0f} s", flush=True)  # noqa: T201 its output
        failed += code != 0
    return min(failed, 1)


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
