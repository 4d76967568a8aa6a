import subprocess
import sys
import time
from pathlib import Path

_TWO_SERVICES = """
import sys
from pathlib import Path
from tests.cluster.node_init import Services
services = Services("node", Path(sys.argv[1]))
services.start("one", ["echo", "started"])
services.start("two", ["echo", "started"])
services.keep()
"""


def test_services_that_end_at_the_same_time_are_all_started_again(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _TWO_SERVICES, str(tmp_path)]
    with subprocess.Popen(command, cwd=Path(__file__).parents[2], stderr=subprocess.DEVNULL) as init:
        try:
            deadline = time.monotonic() + 60
            while not all(_starts(tmp_path / f"node-{name}.log") >= 3 for name in ("one", "two")):
                assert time.monotonic() < deadline
                time.sleep(0.05)
        finally:
            init.kill()


def _starts(log: Path) -> int:
    return log.read_text().count("started") if log.exists() else 0
