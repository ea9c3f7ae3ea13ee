"""Collections get a budget of their own: the most tokens of documents that an answer reads.

Revision: 0002.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("collections", sa.Column("max_context_tokens", sa.Integer(), nullable=True))


def downgrade() -> None:
    op.drop_column("collections", "max_context_tokens")
