"""Each published number, repeatable by one command, as a ratio against the peer in the same run.

`python -m benchmarks NAME [--quick] [--json]`; a module here is a benchmark whose `run(quick)` returns a Report.
"""
