"""The long run, on one database or on both in turn."""

import argparse
import contextlib
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.chaos.check import check
from tests.chaos.history import History, Outcome, Verb
from tests.chaos.loop import Tally, run
from tests.postgres import PostgresServer

DATABASES = ("sqlite", "postgres")


def main() -> int:
    """Return 0 where no promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0, help="of killing, for each database")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--database", choices=DATABASES, action="append", help="both where none is named")
    parser.add_argument("--check", type=Path, metavar="FILE", help="only judge a history that was kept")
    options = parser.parse_args()
    if options.check:
        return _judge(History.model_validate_json(options.check.read_text()), Tally())
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that no server is left behind
    failed = 0
    for database in options.database or DATABASES:
        folder = Path(tempfile.mkdtemp(prefix=f"raysvc-chaos-{database}-"))
        _say(f"{database}: {options.minutes:g} minutes, seed {options.seed}, in {folder}")
        with _url(database) as url:
            history, tally = run(folder, options.minutes * 60, options.seed, url, _say)
        (folder / "history.json").write_text(history.model_dump_json())
        broken = _judge(history, tally)
        failed += broken
        if not broken:
            shutil.rmtree(folder)
    return min(failed, 1)


@contextlib.contextmanager
def _url(database: str) -> Iterator[str | None]:
    if database == "sqlite":
        yield None
        return
    server = PostgresServer()
    try:
        server.start()
        yield server.url(server.create())
    finally:
        server.remove()


def _judge(history: History, tally: Tally) -> int:
    submits = sum(op.verb is Verb.SUBMIT and op.outcome is Outcome.OK for op in history.ops)
    attempts = sum(len(job.attempts) for job in history.jobs)
    _say(f"{tally.kills} kills, {len(history.ops)} calls, {submits} submits accepted, {attempts} attempts")
    for place, count in sorted(tally.items()):
        _say(f"  died {count} times: {place}")
    violations = check(history)
    for violation in violations:
        _say(f"BROKEN: {violation.promise}: {violation.what}")
    _say(f"{len(violations)} violations")
    return int(bool(violations))


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
