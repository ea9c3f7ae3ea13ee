"""Answers keep their words apart from their numbers, with the sources whose deletion withdraws them.

Revision: 0003.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("answers", sa.Column("words", sa.Text(), nullable=True))
    op.create_table(
        "answer_sources",
        sa.Column("answer_id", sa.String(length=40), nullable=False),
        sa.Column("source_id", sa.String(length=40), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["answer_id"],
            ["answers.id"],
            name=op.f("fk_answer_sources_answer_id_answers"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("answer_id", "source_id", name=op.f("pk_answer_sources")),
    )
    op.create_index(op.f("ix_answer_sources_source_id"), "answer_sources", ["source_id"], unique=False)


def downgrade() -> None:
    op.drop_table("answer_sources")
    op.drop_column("answers", "words")
