"""Documents change in place: versions with the progress of each, digests of what chunks' vectors come from,
limits of collections, and which file of a mirrored folder a document stands for.

Revision: 0004.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "versions",
        sa.Column("document_id", sa.String(length=40), nullable=False),
        sa.Column("generation", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("filename", sa.Text(), nullable=False),
        sa.Column("media_type", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("error_code", sa.String(length=60), nullable=True),
        sa.Column("error_detail", sa.Text(), nullable=True),
        sa.Column("pages_done", sa.Integer(), nullable=False),
        sa.Column("pages_total", sa.Integer(), nullable=False),
        sa.Column("chunks_done", sa.Integer(), nullable=False),
        sa.Column("chunks_total", sa.Integer(), nullable=False),
        sa.Column("characters", sa.BigInteger(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["document_id"],
            ["documents.id"],
            name=op.f("fk_versions_document_id_documents"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("document_id", "generation", name=op.f("pk_versions")),
    )
    op.create_index(op.f("ix_versions_sha256"), "versions", ["sha256"], unique=False)
    op.create_table(
        "synced_files",
        sa.Column("collection_id", sa.String(length=40), nullable=False),
        sa.Column("root", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("document_id", sa.String(length=40), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("mtime_ns", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["collection_id"],
            ["collections.id"],
            name=op.f("fk_synced_files_collection_id_collections"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["document_id"],
            ["documents.id"],
            name=op.f("fk_synced_files_document_id_documents"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("collection_id", "root", "path", name=op.f("pk_synced_files")),
    )
    op.create_index(op.f("ix_synced_files_document_id"), "synced_files", ["document_id"], unique=False)
    op.add_column("chunks", sa.Column("digest", sa.LargeBinary(), nullable=True))
    op.add_column("collections", sa.Column("max_documents", sa.BigInteger(), nullable=True))
    op.add_column("collections", sa.Column("max_bytes", sa.BigInteger(), nullable=True))
    # What is there is each document's only version. One that was never read is on its way to generation 1.
    op.execute(
        "INSERT INTO versions (document_id, generation, sha256, bytes, filename, media_type, title, status, "
        "error_code, error_detail, pages_done, pages_total, chunks_done, chunks_total, characters, "
        "created_at, updated_at) "
        "SELECT id, CASE WHEN generation > 0 THEN generation ELSE 1 END, sha256, bytes, filename, "
        "media_type, title, status, error_code, error_detail, pages_done, pages_total, chunks_done, "
        "chunks_total, characters, created_at, updated_at FROM documents"
    )


def downgrade() -> None:
    op.drop_column("collections", "max_bytes")
    op.drop_column("collections", "max_documents")
    op.drop_column("chunks", "digest")
    op.drop_table("synced_files")
    op.drop_table("versions")
