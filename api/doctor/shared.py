"""Check of the place that all processes reach: does it take, give and remove what is asked of it?"""

from __future__ import annotations

import os

from api.doctor.finding import Case, Finding, failure, ok, warning
from ingest.originals.choice import check_place
from rag.errors import LongleafError
from rag.ids import new_id
from rag.objects.place import open_objects
from rag.objects.sealed import Damaged

PROBE_BYTES = 1000


def shared_place(case: Case) -> Finding:
    """Whether the place of `LONGLEAF_OBJECTS` works, by an object that is gone afterwards."""
    settings = case.settings
    remedy = "see to that place and to the settings LONGLEAF_OBJECTS…"
    try:
        check_place(settings)
        objects = open_objects(settings)
        if objects is None:
            return ok("nothing is kept outside of the data folder and the database")
        name, content = f"doctor/{new_id('probe')}", os.urandom(PROBE_BYTES)
        objects.put(name, content)
        same = objects.get(name) == content
        objects.delete([name])
        if not same or objects.size(name) is not None:
            return failure(f"{settings.objects} does not give back what it was given", remedy)
    except LongleafError as error:
        return failure(error.detail, remedy)
    except Damaged as error:
        return failure(str(error), remedy)
    if not settings.objects_keys_file and settings.objects.startswith("s3:"):
        return warning(
            f"{settings.objects} works, and who may read it can read what is kept there",
            "openssl rand -base64 32 makes a key; name its file in LONGLEAF_OBJECTS_KEYS_FILE",
        )
    return ok(f"{settings.objects} works")
