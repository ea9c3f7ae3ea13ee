"""Roles that follow what a sign-in service says of a user.

Revision: 0010.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("memberships", sa.Column("provided", sa.String(length=10), nullable=True))


def downgrade() -> None:
    op.drop_column("memberships", "provided")
