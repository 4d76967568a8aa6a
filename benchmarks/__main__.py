"""`python -m benchmarks NAME [--quick] [--json]`."""

import argparse
import importlib
from pathlib import Path

NOT_BENCHMARKS = {"__init__", "__main__", "report", "server", "load", "raypeer"}


def main() -> None:
    """Run one benchmark and print its report; with --json the last line is one object."""
    names = sorted(p.stem for p in Path(__file__).parent.glob("*.py") if p.stem not in NOT_BENCHMARKS)
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("name", choices=names)
    parser.add_argument("--quick", action="store_true", help="fewer rounds: to see that it runs, not for quoting")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    options = parser.parse_args()
    report = importlib.import_module(f"benchmarks.{options.name}").run(quick=options.quick)
    print(report.as_json() if options.json else report.as_text())


if __name__ == "__main__":
    main()
