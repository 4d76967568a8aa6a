"""Inference keys, and the ledger of tokens. It only adds: a server of the schema before goes on beside it."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_WORD = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "inference_key",
        sa.Column("id", _WORD, primary_key=True),
        sa.Column("project", _WORD, nullable=False),
        sa.Column("digest", _WORD, nullable=False, unique=True),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_index("inference_key_project", "inference_key", ["project", "created_at", "id"])
    op.create_table(
        "usage_day",
        sa.Column("project", _WORD, primary_key=True),
        sa.Column("key", _WORD, primary_key=True),
        sa.Column("service", _WORD, primary_key=True),
        sa.Column("day", _WORD, primary_key=True),
        sa.Column("requests", sa.BigInteger, nullable=False),
        sa.Column("failed", sa.BigInteger, nullable=False),
        sa.Column("prompt_tokens", sa.BigInteger, nullable=False),
        sa.Column("completion_tokens", sa.BigInteger, nullable=False),
        sa.Column("estimated_tokens", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "usage_mark",
        sa.Column("uid", _WORD, primary_key=True),
        sa.Column("replica", _WORD, primary_key=True),
        sa.Column("through", sa.BigInteger, nullable=False),
    )
