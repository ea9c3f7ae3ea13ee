"""Texts lie in shorter segments: of 16,384 code points, where they had 65,536.

A search reads some thousand characters of a segment, and PostgreSQL unpacks all of it before them.

Revision: 0015.
"""

from __future__ import annotations

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

LONG, SHORT = 65_536, 16_384


def upgrade() -> None:
    for part in range(SHORT, LONG, SHORT):
        op.execute(
            "INSERT INTO texts (document_id, generation, start, text) "  # noqa: S608  # numbers of ours
            f"SELECT document_id, generation, start + {part}, substr(text, {part + 1}, {SHORT}) "
            f"FROM texts WHERE length(text) > {part} AND start % {LONG} = 0"
        )
    op.execute(
        f"UPDATE texts SET text = substr(text, 1, {SHORT}) WHERE length(text) > {SHORT}"  # noqa: S608
    )


def downgrade() -> None:
    for part in range(SHORT, LONG, SHORT):
        next_one = (
            "FROM texts AS more WHERE more.document_id = texts.document_id "
            f"AND more.generation = texts.generation AND more.start = texts.start + {part}"
        )
        op.execute(
            f"UPDATE texts SET text = text || (SELECT more.text {next_one}) "  # noqa: S608
            f"WHERE start % {LONG} = 0 AND EXISTS (SELECT 1 {next_one})"
        )
    op.execute(f"DELETE FROM texts WHERE start % {LONG} <> 0 AND start % {SHORT} = 0")  # noqa: S608
