"""`python -m raysvc_warm FOLDER --runs FOLDER …`: the program that the server starts on the cluster."""

import argparse
from pathlib import Path

from .pool import Options, Pool
from .python import become


def main() -> None:
    """Serve until idle. In a forked child, be the user's program from here on, to the end of the process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--most", type=int, required=True)
    parser.add_argument("--idle-s", type=float, required=True)
    parser.add_argument("--grace-s", type=float, required=True)
    given = parser.parse_args()
    program = Pool(Options(given.folder, given.runs, given.most, given.idle_s, given.grace_s)).serve()
    if program is not None:
        become(*program)


if __name__ == "__main__":
    main()
