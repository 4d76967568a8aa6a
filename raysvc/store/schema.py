"""The tables. `body` is the record itself, as JSON; the columns beside it are copies for finding and ordering.

JSON is kept as text, not as jsonb: jsonb refuses U+0000 and loses the order of keys, and nothing here looks inside.
Each change of this file is a new migration in `migrations/versions/` and a new HEAD.
"""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

HEAD = "0005"
"""The schema this code speaks: a number, so that an older one and a newer one can be told apart."""

metadata = sa.MetaData()

# Byte order everywhere: PostgreSQL would sort by the language of the database, SQLite sorts bytes.
WORD = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
MICROS = sa.BigInteger()

# Alembic's own table, of one row.
version = sa.Table(
    "raysvc_version",
    metadata,
    sa.Column("version_num", sa.String(32), nullable=False),
    sa.PrimaryKeyConstraint("version_num", name="raysvc_version_pkc"),
)

job = sa.Table(
    "job",
    metadata,
    sa.Column("uid", WORD, primary_key=True),
    sa.Column("project", WORD, nullable=False),
    sa.Column("id", WORD, nullable=False),
    sa.Column("name", WORD, nullable=False),
    sa.Column("owner", WORD, nullable=False),
    sa.Column("phase", WORD, nullable=False),
    sa.Column("queue", WORD, nullable=False),
    sa.Column("priority", sa.Integer, nullable=False),
    sa.Column("created_at", MICROS, nullable=False),
    sa.Column("not_before", MICROS),
    sa.Column("due_at", MICROS),
    sa.Column("finished_at", MICROS),
    # "project/queue" while the job is QUEUED, otherwise null: where it waits; for a shared cluster with "/cluster".
    sa.Column("lane", WORD),
    # Its place in the lane: priority (higher first), then age, in one number. See `job_row.turn`.
    sa.Column("turn", sa.BigInteger, nullable=False),
    sa.Column("demand", sa.Text, nullable=False),
    sa.Column("finalised", sa.Boolean, nullable=False),
    sa.Column("deleted", sa.Boolean, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    # Last, so that SQLite reads the columns above without walking through the pages that the body spills over.
    sa.Column("body", sa.Text, nullable=False),
)

event = sa.Table(
    "event",
    metadata,
    sa.Column("uid", WORD, sa.ForeignKey("job.uid", ondelete="CASCADE"), primary_key=True),
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("at", MICROS, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
)

label = sa.Table(
    "label",
    metadata,
    sa.Column("uid", WORD, sa.ForeignKey("job.uid", ondelete="CASCADE"), primary_key=True),
    sa.Column("key", WORD, primary_key=True),
    sa.Column("value", WORD, nullable=False),
    # The job's, so that the jobs of a label can be walked newest first in the index alone.
    sa.Column("created_at", MICROS, nullable=False),
)

idempotency = sa.Table(
    "idempotency",
    metadata,
    sa.Column("project", WORD, primary_key=True),
    sa.Column("key", WORD, primary_key=True),
    sa.Column("body_digest", sa.Text, nullable=False),
    sa.Column("uid", WORD, sa.ForeignKey("job.uid", ondelete="CASCADE"), nullable=False),
)

package = sa.Table(
    "package",
    metadata,
    sa.Column("project", WORD, primary_key=True),
    sa.Column("name", WORD, primary_key=True),
    sa.Column("pinned_until", MICROS, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
)

# One row for each package that a live job names. No cascade from the package: it must stay while it is named.
package_ref = sa.Table(
    "package_ref",
    metadata,
    sa.Column("project", WORD, primary_key=True),
    sa.Column("name", WORD, primary_key=True),
    sa.Column("uid", WORD, sa.ForeignKey("job.uid", ondelete="CASCADE"), primary_key=True),
    sa.ForeignKeyConstraint(["project", "name"], ["package.project", "package.name"], name="package_ref_package"),
)

# A row stays when its lease is released, so that `token` only ever grows.
lease = sa.Table(
    "lease",
    metadata,
    sa.Column("name", WORD, primary_key=True),
    sa.Column("holder", sa.Text, nullable=False),
    sa.Column("token", sa.BigInteger, nullable=False),
    sa.Column("deadline", MICROS, nullable=False),
)

project = sa.Table(
    "project",
    metadata,
    sa.Column("name", WORD, primary_key=True),
    sa.Column("body", sa.Text, nullable=False),
)

token = sa.Table(
    "token",
    metadata,
    sa.Column("id", WORD, primary_key=True),
    sa.Column("secret_hash", WORD, nullable=False, unique=True),
    sa.Column("created_at", MICROS, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
)

secret = sa.Table(
    "secret",
    metadata,
    sa.Column("project", WORD, primary_key=True),
    sa.Column("name", WORD, primary_key=True),
    sa.Column("ciphertext", sa.LargeBinary, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
)

flag = sa.Table(
    "flag",
    metadata,
    sa.Column("name", WORD, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)

pool = sa.Table(
    "pool",
    metadata,
    sa.Column("name", WORD, primary_key=True),
    sa.Column("body", sa.Text, nullable=False),
)

quarantine = sa.Table(
    "quarantine",
    metadata,
    sa.Column("node", WORD, primary_key=True),
    sa.Column("body", sa.Text, nullable=False),
)


def _records(name: str) -> tuple[sa.Table, sa.Table]:
    """Return the tables of records that there are hundreds of, and of their events, which go with them."""
    records = sa.Table(
        name,
        metadata,
        sa.Column("uid", WORD, primary_key=True),
        sa.Column("project", WORD, nullable=False),
        sa.Column("id", WORD, nullable=False),
        sa.Column("finished_at", MICROS),
        sa.Column("deleted", sa.Boolean, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
    )
    events = sa.Table(
        f"{name}_event",
        metadata,
        sa.Column("uid", WORD, sa.ForeignKey(f"{name}.uid", ondelete="CASCADE"), primary_key=True),
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("at", MICROS, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
    )
    return records, events


service, service_event = _records("service")
cluster, cluster_event = _records("cluster")

# Replicas as they last reported: every server hears of those that report to another.
replica = sa.Table(
    "replica",
    metadata,
    sa.Column("uid", WORD, sa.ForeignKey("service.uid", ondelete="CASCADE"), primary_key=True),
    sa.Column("replica", WORD, primary_key=True),
    sa.Column("at", MICROS, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
)

# One row for each live job that names a cluster: few, and all of them are read at each pass.
sharing = sa.Table(
    "sharing",
    metadata,
    sa.Column("uid", WORD, sa.ForeignKey("job.uid", ondelete="CASCADE"), primary_key=True),
    sa.Column("project", WORD, nullable=False),
    sa.Column("cluster", WORD, nullable=False),
)

# Inference keys by the SHA-256 (hex) of their secrets.
inference_key = sa.Table(
    "inference_key",
    metadata,
    sa.Column("id", WORD, primary_key=True),
    sa.Column("project", WORD, nullable=False),
    sa.Column("digest", WORD, nullable=False, unique=True),
    sa.Column("created_at", MICROS, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
)

# The ledger: sums by day (UTC, as YYYY-MM-DD). What makes them exact is the mark beside them, in one transaction.
usage_day = sa.Table(
    "usage_day",
    metadata,
    sa.Column("project", WORD, primary_key=True),
    sa.Column("key", WORD, primary_key=True),
    sa.Column("service", WORD, primary_key=True),
    sa.Column("day", WORD, primary_key=True),
    sa.Column("requests", sa.BigInteger, nullable=False),
    sa.Column("failed", sa.BigInteger, nullable=False),
    sa.Column("prompt_tokens", sa.BigInteger, nullable=False),
    sa.Column("completion_tokens", sa.BigInteger, nullable=False),
    sa.Column("estimated_tokens", sa.BigInteger, nullable=False),
)

# The highest sequence number of each replica that is in the ledger. `uid` is its service's.
usage_mark = sa.Table(
    "usage_mark",
    metadata,
    sa.Column("uid", WORD, primary_key=True),
    sa.Column("replica", WORD, primary_key=True),
    sa.Column("through", sa.BigInteger, nullable=False),
)


# As SQLite must meet it in a query, word for word, to use an index that has it as a condition.
FINALISED = job.c.finalised == sa.true()


def _index(name: str, *columns: sa.Column[object], where: sa.ColumnElement[bool], unique: bool = False) -> None:
    sa.Index(name, *columns, unique=unique, sqlite_where=where)


@sa.event.listens_for(metadata, "before_create")
def _tell_postgres(_target: sa.MetaData, connection: Connection, **_: Any) -> None:
    """Give PostgreSQL's indexes their conditions. Not at once: to name its options loads its dialect, some 2 MB."""
    if connection.dialect.name == "postgresql":
        for table in metadata.tables.values():
            for index in table.indexes:
                index.dialect_options["postgresql"]["where"] = index.dialect_options["sqlite"]["where"]


# `get`, and what makes an id unique among the jobs that are not deleted.
_index("job_id", job.c.project, job.c.id, where=~job.c.deleted, unique=True)
# `find` walks these newest first, each in the order of the page, and then those by the beginning of a name, where few
# jobs have it. Each holds all that `find` filters by, so that what it skips costs no look at the job (`deleted` too, or
# SQLite goes and looks). `placed` uses job_phase.
_j = job.c
_born = (_j.created_at, _j.uid)
_index("job_project", _j.project, _j.phase, *_born, _j.owner, _j.name, _j.deleted, where=~_j.deleted)
_index("job_phase", _j.phase, *_born, _j.project, _j.owner, _j.name, _j.deleted, where=~_j.deleted)
_index("job_owner", _j.owner, _j.phase, *_born, _j.project, _j.name, _j.deleted, where=~_j.deleted)
_index("job_name", _j.name, *_born, _j.project, _j.phase, _j.owner, _j.deleted, where=~_j.deleted)
# `due`: only jobs that the reconciler still has to look at are in it, and all that it asks of them.
_index("job_due", job.c.due_at, job.c.uid, job.c.version, job.c.phase, where=job.c.due_at.is_not(None))
# `waiting` and `count_queued`: only jobs that wait are in it.
_index("job_waiting", job.c.lane, job.c.turn, job.c.uid, where=job.c.lane.is_not(None))
# `prune`: what may go, oldest end first.
_index("job_finalised", job.c.finished_at, job.c.uid, where=FINALISED)
# `find` by a label, newest first.
sa.Index("label_value", label.c.key, label.c.value, label.c.created_at, label.c.uid)
# `get`, and what makes a name unique among the services that are not deleted.
_index("service_id", service.c.project, service.c.id, where=~service.c.deleted, unique=True)
# The same of clusters.
_index("cluster_id", cluster.c.project, cluster.c.id, where=~cluster.c.deleted, unique=True)
# The cascade of `prune`, and letting go of a finished job's packages.
sa.Index("idempotency_uid", idempotency.c.uid)
sa.Index("package_ref_uid", package_ref.c.uid)
# `remove_unreferenced`: those whose pin is over.
sa.Index("package_pinned_until", package.c.pinned_until)
# `find` of keys, oldest first.
sa.Index("inference_key_project", inference_key.c.project, inference_key.c.created_at, inference_key.c.id)
