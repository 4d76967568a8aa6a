"""Clusters that jobs share. It only adds: a server of the schema before goes on beside it."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_WORD = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "cluster",
        sa.Column("uid", _WORD, primary_key=True),
        sa.Column("project", _WORD, nullable=False),
        sa.Column("id", _WORD, nullable=False),
        sa.Column("finished_at", sa.BigInteger),
        sa.Column("deleted", sa.Boolean, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_index(
        "cluster_id",
        "cluster",
        ["project", "id"],
        unique=True,
        sqlite_where=sa.text("deleted = 0"),
        postgresql_where=sa.text("NOT deleted"),
    )
    op.create_table(
        "cluster_event",
        sa.Column("uid", _WORD, sa.ForeignKey("cluster.uid", ondelete="CASCADE"), primary_key=True),
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_table(
        "sharing",
        sa.Column("uid", _WORD, sa.ForeignKey("job.uid", ondelete="CASCADE"), primary_key=True),
        sa.Column("project", _WORD, nullable=False),
        sa.Column("cluster", _WORD, nullable=False),
    )
