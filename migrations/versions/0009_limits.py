"""Limits of keys and workspaces, and what is left of them.

Revision: 0009.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_RATES = ("requests_per_minute", "tokens_per_minute")


def upgrade() -> None:
    for table in ("api_keys", "workspaces"):
        for name in _RATES:
            op.add_column(table, sa.Column(name, sa.Integer(), nullable=True))
    op.add_column("workspaces", sa.Column("max_documents", sa.Integer(), nullable=True))
    op.add_column("workspaces", sa.Column("max_bytes", sa.BigInteger(), nullable=True))
    op.create_table(
        "rate_buckets",
        sa.Column("subject", sa.String(length=40), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("level", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("subject", "kind", name=op.f("pk_rate_buckets")),
    )
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER TABLE rate_buckets SET UNLOGGED")


def downgrade() -> None:
    op.drop_table("rate_buckets")
    for name in ("max_bytes", "max_documents"):
        op.drop_column("workspaces", name)
    for table in ("workspaces", "api_keys"):
        for name in _RATES:
            op.drop_column(table, name)
