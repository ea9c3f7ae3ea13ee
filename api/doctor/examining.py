"""All checks in their order, each on its own: one that breaks says so and keeps no other from its work."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from api.doctor import database, machine, models, postgres, serving, shared, storage, work
from api.doctor.finding import Case, Finding, failure

Check = Callable[[Case], Finding]

CHECKS: dict[str, Check] = {
    "python": machine.python,
    "packages": machine.packages,
    "data-folder": storage.data_folder,
    "disk-space": storage.disk_space,
    "inodes": storage.inodes,
    "file-system": storage.file_system,
    "database": database.database,
    "database-version": database.database_version,
    "connections": postgres.connections,
    "schema": database.schema,
    "store": database.store,
    "replicas": postgres.replicas,
    "clock": database.clock,
    "generator": models.generator,
    "model-files": models.model_files,
    "embedder": models.embedder,
    "collections": models.collections,
    "parser": work.parser,
    "parser-limits": work.parser_limits,
    "ocr": work.ocr,
    "address": serving.address,
    "port": serving.port,
    "sign-in": serving.sign_in,
    "descriptors": machine.descriptors,
    "memory": machine.memory,
    "number-format": machine.number_format,
    "threads": machine.threads,
    "jobs": work.jobs,
    "indexes": work.indexes,
    "kv-disk": storage.kv_disk,
    "shared-place": shared.shared_place,
    "secrets": storage.secrets,
    "backup": storage.backup,
}


def examine(case: Case) -> Iterator[tuple[str, Finding]]:
    """Each check's name with what it found, one after the other; reads and writes nothing of the store."""
    for name, look in CHECKS.items():
        try:
            found = look(case)
        except Exception as error:
            found = failure(
                f"the check broke off: {type(error).__name__}: {error}",
                "LONGLEAF_LOG_LEVEL=debug longleaf status may say more; the other checks hold all the same",
            )
        yield name, found
