"""Accepted means kept, under `kill -9`: real servers, real Ray, real clients, and a checker of what they all saw.

    python -m tests.chaos [--minutes N] [--seed S] [--database sqlite|postgres]

A server (`server`) is killed again and again: at a failpoint, one life at each commit and each effect on Ray, before
and after it, or at a random moment. The same command then starts it again on the same data directory, where it adopts
the Ray that lives on. Clients (`workload`) submit, stop, delete and list all the while. At the end `evidence` is
gathered (the store, Ray, logs, marks that each job left itself) and `check` says what in it breaks a promise.

Nothing of this is in the product: the failpoints are wrapped round its parts by `server`. A seed chooses what clients
do and where servers die; the threads' order is the machine's own, so that a run repeats its plan and not its timing.
A history with a violation is kept as JSON, and `python -m tests.chaos --check FILE` judges it again.
"""
