"""Vectors of another embedder are built beside those in use, and then take their place.

Revision: 0006.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

BIG_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("collections", sa.Column("next_embedder", sa.Text(), nullable=True))
    op.create_table(
        "next_vectors",
        sa.Column("chunk_id", BIG_KEY, autoincrement=False, nullable=False),
        sa.Column("collection_id", sa.String(length=40), nullable=False),
        sa.Column("embedder", sa.Text(), nullable=False),
        sa.Column("vector", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["chunk_id"], ["chunks.id"], name=op.f("fk_next_vectors_chunk_id_chunks"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("chunk_id", name=op.f("pk_next_vectors")),
    )
    op.create_index(op.f("ix_next_vectors_collection_id"), "next_vectors", ["collection_id"], unique=False)


def downgrade() -> None:
    op.drop_table("next_vectors")
    op.drop_column("collections", "next_embedder")
    # An older service takes every entry for one of a document.
    op.execute("DELETE FROM changes WHERE kind = 'reembed'")
