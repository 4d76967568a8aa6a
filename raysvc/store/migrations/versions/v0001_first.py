"""The first schema. What each column and index is for stands in `raysvc/store/schema.py`; this file never changes."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_WORD = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    _jobs()
    _packages()
    op.create_table(
        "lease",
        sa.Column("name", _WORD, primary_key=True),
        sa.Column("holder", sa.Text, nullable=False),
        sa.Column("token", sa.BigInteger, nullable=False),
        sa.Column("deadline", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "project",
        sa.Column("name", _WORD, primary_key=True),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_table(
        "token",
        sa.Column("id", _WORD, primary_key=True),
        sa.Column("secret_hash", _WORD, nullable=False, unique=True),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_table(
        "secret",
        sa.Column("project", _WORD, primary_key=True),
        sa.Column("name", _WORD, primary_key=True),
        sa.Column("ciphertext", sa.LargeBinary, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_table(
        "flag",
        sa.Column("name", _WORD, primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
    )


def _jobs() -> None:
    op.create_table(
        "job",
        sa.Column("uid", _WORD, primary_key=True),
        sa.Column("project", _WORD, nullable=False),
        sa.Column("id", _WORD, nullable=False),
        sa.Column("name", _WORD, nullable=False),
        sa.Column("owner", _WORD, nullable=False),
        sa.Column("phase", _WORD, nullable=False),
        sa.Column("queue", _WORD, nullable=False),
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("not_before", sa.BigInteger),
        sa.Column("due_at", sa.BigInteger),
        sa.Column("finished_at", sa.BigInteger),
        sa.Column("lane", _WORD),
        sa.Column("turn", sa.BigInteger, nullable=False),
        sa.Column("demand", sa.Text, nullable=False),
        sa.Column("finalised", sa.Boolean, nullable=False),
        sa.Column("deleted", sa.Boolean, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
    )
    there = {"postgresql": sa.text("NOT deleted"), "sqlite": sa.text("deleted = 0")}
    _index("job_id", "job", ["project", "id"], there, unique=True)
    _index("job_project", "job", ["project", "phase", "created_at", "uid", "owner", "name", "deleted"], there)
    _index("job_phase", "job", ["phase", "created_at", "uid", "project", "owner", "name", "deleted"], there)
    _index("job_owner", "job", ["owner", "phase", "created_at", "uid", "project", "name", "deleted"], there)
    _index("job_name", "job", ["name", "created_at", "uid", "project", "phase", "owner", "deleted"], there)
    _index("job_due", "job", ["due_at", "uid", "version", "phase"], _both("due_at IS NOT NULL"))
    _index("job_waiting", "job", ["lane", "turn", "uid"], _both("lane IS NOT NULL"))
    finalised = {"postgresql": sa.text("finalised = true"), "sqlite": sa.text("finalised = 1")}
    _index("job_finalised", "job", ["finished_at", "uid"], finalised)
    op.create_table(
        "event",
        sa.Column("uid", _WORD, sa.ForeignKey("job.uid", ondelete="CASCADE"), primary_key=True),
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_table(
        "label",
        sa.Column("uid", _WORD, sa.ForeignKey("job.uid", ondelete="CASCADE"), primary_key=True),
        sa.Column("key", _WORD, primary_key=True),
        sa.Column("value", _WORD, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
    )
    op.create_index("label_value", "label", ["key", "value", "created_at", "uid"])
    op.create_table(
        "idempotency",
        sa.Column("project", _WORD, primary_key=True),
        sa.Column("key", _WORD, primary_key=True),
        sa.Column("body_digest", sa.Text, nullable=False),
        sa.Column("uid", _WORD, sa.ForeignKey("job.uid", ondelete="CASCADE"), nullable=False),
    )
    op.create_index("idempotency_uid", "idempotency", ["uid"])


def _packages() -> None:
    op.create_table(
        "package",
        sa.Column("project", _WORD, primary_key=True),
        sa.Column("name", _WORD, primary_key=True),
        sa.Column("pinned_until", sa.BigInteger, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_index("package_pinned_until", "package", ["pinned_until"])
    op.create_table(
        "package_ref",
        sa.Column("project", _WORD, primary_key=True),
        sa.Column("name", _WORD, primary_key=True),
        sa.Column("uid", _WORD, sa.ForeignKey("job.uid", ondelete="CASCADE"), primary_key=True),
        sa.ForeignKeyConstraint(["project", "name"], ["package.project", "package.name"], name="package_ref_package"),
    )
    op.create_index("package_ref_uid", "package_ref", ["uid"])


def _both(where: str) -> dict[str, sa.TextClause]:
    return {"postgresql": sa.text(where), "sqlite": sa.text(where)}


def _index(name: str, table: str, columns: list[str], where: dict[str, sa.TextClause], *, unique: bool = False) -> None:
    op.create_index(
        name, table, columns, unique=unique, sqlite_where=where["sqlite"], postgresql_where=where["postgresql"]
    )
