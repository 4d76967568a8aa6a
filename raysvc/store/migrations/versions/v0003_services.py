"""Services, and the replicas that answer for them. It only adds: a server of the schema before goes on beside it."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_WORD = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "service",
        sa.Column("uid", _WORD, primary_key=True),
        sa.Column("project", _WORD, nullable=False),
        sa.Column("id", _WORD, nullable=False),
        sa.Column("finished_at", sa.BigInteger),
        sa.Column("deleted", sa.Boolean, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_index(
        "service_id",
        "service",
        ["project", "id"],
        unique=True,
        sqlite_where=sa.text("deleted = 0"),
        postgresql_where=sa.text("NOT deleted"),
    )
    op.create_table(
        "service_event",
        sa.Column("uid", _WORD, sa.ForeignKey("service.uid", ondelete="CASCADE"), primary_key=True),
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_table(
        "replica",
        sa.Column("uid", _WORD, sa.ForeignKey("service.uid", ondelete="CASCADE"), primary_key=True),
        sa.Column("replica", _WORD, primary_key=True),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
    )
