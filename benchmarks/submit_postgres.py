"""`submit` on a PostgreSQL with its defaults (fsync, synchronous_commit) on the same machine. It has no peer."""

from benchmarks.report import Report, median
from benchmarks.submit import accepting, measure
from tests.postgres import PostgresServer


def run(*, quick: bool) -> Report:
    """Load one server whose store is a PostgreSQL beside it, reached by a socket."""
    database = PostgresServer(fsync=True)
    try:
        database.start()
        with accepting("--database-url", database.url(database.create())) as server:
            samples = measure(server, 2 if quick else 5, 2.0 if quick else 6.0)
    finally:
        database.remove()
    return Report("submit_postgres", {name: median(values) for name, values in samples.items()}, {}, {}, samples)
