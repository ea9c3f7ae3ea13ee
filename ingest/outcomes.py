"""What an error in the work on a job means for the job: another time, or never."""

from __future__ import annotations

import errno
import logging
from typing import Literal

from ingest import jobs
from ingest.errors import ParseCancelled, ParserKilled
from ingest.leases import Lease, LeaseLost
from rag.errors import LongleafError, Unavailable
from rag.store.session import Database

log = logging.getLogger(__name__)

MACHINE_TROUBLE = frozenset(
    {
        *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG),
        *(errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN),
    }
)
"""What a document is not to blame for: it waits until the machine may do again."""

Outcome = Literal["done", "failed", "postponed", "released", "lost"]


class Interrupted(Exception):
    """The worker is stopping, or the lease is gone."""


def settle(db: Database, lease: Lease, error: Exception) -> Outcome:
    """Do with the job what follows from the error that ended an attempt; the outcome is in the store then.

    Raises LeaseLost, also where that is the error; Unavailable when the store itself can't be written.
    """
    if isinstance(error, LeaseLost):
        raise error
    if isinstance(error, (ParseCancelled, Interrupted)):
        jobs.release(db, lease)
        return "released"
    if isinstance(error, (Unavailable, OSError, MemoryError, ParserKilled)):  # what another time may not have
        log.warning("job %s of %s is put off: %s", lease.job_id, lease.document_id, error, exc_info=error)
        if isinstance(error, ParserKilled):
            again = jobs.postpone(db, lease, error.detail, code=error.code)
        elif isinstance(error, Unavailable) or getattr(error, "errno", None) in MACHINE_TROUBLE:
            again = jobs.wait(db, lease, f"{type(error).__name__}: {error}")
        else:
            again = jobs.postpone(db, lease, f"{type(error).__name__}: {error}")
        return "postponed" if again else "failed"
    if isinstance(error, LongleafError):
        jobs.fail(db, lease, error.code, error.detail)
        return "failed"
    log.error("job %s of document %s failed unexpectedly", lease.job_id, lease.document_id, exc_info=error)
    jobs.fail(
        db,
        lease,
        "internal",
        f"reading failed unexpectedly ({type(error).__name__}); the server's log says where",
    )
    return "failed"
