"""Runs a command so that it and all below it end with the process that asked for it, however that one dies.

The asker holds the other end of our standard input: when that closes, it has let go or is gone. What the command starts
stays in our process group, which goes as a whole.
"""

import os
import signal
import subprocess
import sys
import threading

# Between SIGTERM and SIGKILL: vLLM ends its streams and frees its shared memory.
GRACE_S = 5.0


def main(command: list[str]) -> None:
    """Never returns: this process ends with its group."""
    # A handler, not SIG_IGN, which the command would inherit.
    signal.signal(signal.SIGTERM, lambda *_: None)
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)  # noqa: S603 our own command line
    threading.Thread(target=_until_let_go, daemon=True).start()
    status = child.wait()
    print(f"the engine has ended with status {status}", file=sys.stderr, flush=True)
    os.killpg(0, signal.SIGKILL)


def _until_let_go() -> None:
    while os.read(0, 4096):
        pass
    os.killpg(0, signal.SIGTERM)
    threading.Event().wait(GRACE_S)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main(sys.argv[1:])
