"""Node pools, and nodes in quarantine. Two tables more: a server of the schema before goes on beside them."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_WORD = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "pool",
        sa.Column("name", _WORD, primary_key=True),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_table(
        "quarantine",
        sa.Column("node", _WORD, primary_key=True),
        sa.Column("body", sa.Text, nullable=False),
    )
