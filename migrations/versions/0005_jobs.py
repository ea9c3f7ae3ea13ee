"""Jobs have a priority by the size of their file, and count the waits for the machine's sake apart.

Revision: 0005.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ("priority", "waits"):
        op.add_column("ingest_jobs", sa.Column(name, sa.Integer(), server_default="0", nullable=False))
    # the classes of `ingest.queue` as they were when this was written
    op.execute(
        "UPDATE ingest_jobs SET priority = (SELECT CASE WHEN bytes <= 65536 THEN 0 "
        "WHEN bytes <= 1048576 THEN 1 WHEN bytes <= 16777216 THEN 2 ELSE 3 END "
        "FROM documents WHERE documents.id = document_id)"
    )
    op.create_index(
        op.f("ix_ingest_jobs_status_priority_id"), "ingest_jobs", ["status", "priority", "id"], unique=False
    )


def downgrade() -> None:
    op.drop_index(op.f("ix_ingest_jobs_status_priority_id"), table_name="ingest_jobs")
    op.drop_column("ingest_jobs", "waits")
    op.drop_column("ingest_jobs", "priority")
