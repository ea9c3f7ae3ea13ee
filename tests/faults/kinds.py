"""Every kind of fault: how it strikes, and what goes on meanwhile."""

from __future__ import annotations

import random
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import select

from ingest.keeping.backup import backup
from ingest.keeping.restore import restore
from ingest.keeping.verify import verify
from rag.settings import Settings
from rag.store.session import Database
from rag.store.tables import Version
from tests.faults.child import LEASE_SECONDS
from tests.faults.house import House
from tests.faults.points import PARSER_STEPS, PIPELINE_STEPS, SERVER_STEPS, WORKER_STEPS
from tests.faults.record import Record
from tests.faults.stores import PostgresStore, SqliteStore
from tests.faults.traffic import Traffic

JUMPS = (5.0, 120.0, 7_200.0, 259_200.0, 31_536_000.0)
SPOILS = ("full", "readonly", "io")


@dataclass
class World:
    """What a fault can reach."""

    house: House
    record: Record
    traffic: Traffic
    rng: random.Random


@dataclass(frozen=True)
class Kind:
    """A kind of fault; `strike` tells whether it struck, and leaves the healing to others."""

    name: str
    weight: float
    strike: Callable[[World], bool]


def kinds(house: House) -> list[Kind]:
    """All kinds that this house can suffer."""
    found = [
        Kind("server killed at a step", 14, server_killed),
        Kind("worker killed at a step", 16, worker_killed),
        Kind("worker killed while it recovers", 3, recovery_killed),
        Kind("parser killed at a step", 8, parser_killed),
        Kind("everything killed at any moment", 8, everything_killed),
        Kind("everything stopped in order", 3, everything_stopped),
        Kind("file size limit (EFBIG)", 6, files_limited),
        Kind("server's calls fail (ENOSPC, EROFS, EIO)", 7, server_spoilt),
        Kind("worker's calls fail (ENOSPC, EROFS, EIO)", 7, worker_spoilt),
        Kind("connection cut in mid-upload", 6, uploads_cut),
        Kind("clock jumps", 6, clock_jumps),
        Kind("two of everything, one killed", 4, two_of_everything),
        Kind("worker frozen beyond its lease", 2, worker_frozen),
        Kind("snapshot damaged, foreign or gone", 4, snapshot_damaged),
        Kind("backup while something dies, restored", 4, backup_taken),
    ]
    if house.own_disk:
        found.append(Kind("disk full", 8, disk_full))
    if isinstance(house.store, SqliteStore):
        found += [
            Kind("database file moved away and back", 5, database_moved),
            Kind("database locked by another program", 4, database_locked),
        ]
    else:
        found += [
            Kind("database server killed and back", 4, _database(PostgresStore.crash, 0.6)),
            Kind("database server stopped and back", 4, _database(PostgresStore.stop, 0.6)),
            Kind("database server frozen", 2, _database(PostgresStore.freeze, 1.5)),
            Kind("database connections cut", 5, _database(PostgresStore.cut, 0.1)),
            Kind("database table locked", 2, _database(PostgresStore.lock, 0.0)),
        ]
    return found


def _wait_fired(world: World, seconds: float = 8.0) -> bool:
    deadline = time.monotonic() + seconds
    while not world.house.fired:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def _provoke(world: World, step: str) -> bool:
    """Do what leads to a server's step; True when it was reached."""
    act = {
        "upload": [world.traffic.upload],
        "update": [world.traffic.upload, world.traffic.replace],
        "delete": [world.traffic.upload, world.traffic.delete],
        "cancel": [world.traffic.upload, world.traffic.cancel],
        "retry": [world.traffic.upload, world.traffic.cancel, world.traffic.retry],
        "index": [world.traffic.upload, world.traffic.search],
        "snapshot": [world.traffic.search],
    }[step.partition(".")[0]]
    if step in {"index.built", "snapshot.begun", "snapshot.saved"}:
        # These happen when a server starts or ends.
        if step == "index.built" or world.rng.random() < 0.5:
            world.house.kill("server-a")
            world.house.start("server-a", "server")
        else:
            world.house.signal("server-a", signal.SIGTERM)
    for _ in range(4):
        for action in act:
            action()
            if world.house.fired:
                return True
        if _wait_fired(world, 0.3):
            return True
    return False


def server_killed(world: World) -> bool:
    step = world.rng.choice(sorted(SERVER_STEPS))
    world.house.arm("server", step, "kill", world.rng.choice([1, 1, 1, 2]))
    return _provoke(world, step)


def _worker_step(world: World) -> str:
    steps = [step for step in WORKER_STEPS if not step.startswith("recover.")]
    return world.rng.choice(sorted([*steps, *PIPELINE_STEPS]))


def _feed(world: World, step: str) -> None:
    """Give the worker something that leads to the step."""
    for _ in range(world.rng.randint(1, 4)):
        world.traffic.upload()
    if step in {"read.reused", "publish.old_files"} or world.rng.random() < 0.3:
        world.traffic.replace()


def worker_killed(world: World) -> bool:
    step = _worker_step(world)
    world.house.arm("worker", step, "kill", world.rng.choice([1, 1, 2, 3]))
    _feed(world, step)
    return _wait_fired(world, 4)


def recovery_killed(world: World) -> bool:
    world.traffic.upload()
    world.house.kill("worker-a")
    world.traffic.upload()
    world.house.arm(
        "worker", world.rng.choice(["recover.begun", "recover.reclaimed", "recover.swept"]), "kill"
    )
    world.house.start("worker-a", "worker")
    return _wait_fired(world)


def parser_killed(world: World) -> bool:
    world.house.arm("worker", world.rng.choice(PARSER_STEPS), "kill", world.rng.choice([1, 1, 2, 3]))
    _feed(world, "parser")
    return _wait_fired(world, 4)


def everything_killed(world: World) -> bool:
    world.traffic.some(world.rng.randint(1, 5))
    time.sleep(world.rng.random() * 0.4)
    for name in world.rng.sample(sorted(world.house.processes), len(world.house.processes)):
        world.house.kill(name)
    return True


def everything_stopped(world: World) -> bool:
    world.traffic.some(world.rng.randint(1, 5))
    for process in list(world.house.processes.values()):
        world.house.signal(process.name, signal.SIGTERM)
        deadline = time.monotonic() + 20
        while process.alive:
            assert time.monotonic() < deadline, f"{process.name} does not end"
            time.sleep(0.01)
    return True


def files_limited(world: World) -> bool:
    world.traffic.some(2)
    world.house.limit_files(world.rng.choice([0, 1, 4096, 65_536, 262_144]))
    world.traffic.some(world.rng.randint(2, 5))
    time.sleep(world.rng.random() * 1.5)
    return True


def disk_full(world: World) -> bool:
    world.traffic.some(2)
    world.house.fill_disk()
    world.traffic.some(world.rng.randint(2, 5))
    time.sleep(world.rng.random() * 1.5)
    world.house.fill_disk()
    world.traffic.some(2)
    return True


def server_spoilt(world: World) -> bool:
    step = world.rng.choice([step for step in sorted(SERVER_STEPS) if step.split(".")[0] != "snapshot"])
    world.house.arm("server", step, world.rng.choice(SPOILS))
    struck = _provoke(world, step)
    if struck:
        world.traffic.some(3)
    return struck


def worker_spoilt(world: World) -> bool:
    step = _worker_step(world)
    world.house.arm("worker", step, world.rng.choice(SPOILS), world.rng.choice([1, 2]))
    _feed(world, step)
    struck = _wait_fired(world, 4)
    if struck:
        world.traffic.some(2)
        time.sleep(world.rng.random())
    return struck


def uploads_cut(world: World) -> bool:
    for _ in range(world.rng.randint(1, 4)):
        world.traffic.cut()
    world.traffic.watch_and_leave()
    return True


def clock_jumps(world: World) -> bool:
    world.traffic.some(3)
    for _ in range(world.rng.randint(1, 3)):
        world.house.bend_time(world.rng.choice(JUMPS) * world.rng.choice([-1, 1]))
        world.traffic.some(2)
        time.sleep(world.rng.random() * 0.3)
    world.house.bend_time(0)
    return True


def two_of_everything(world: World) -> bool:
    world.house.start("server-b", "server", ingest_workers=1)
    world.house.start("worker-b", "worker")
    world.traffic.some(6)
    world.house.kill(world.rng.choice(sorted(world.house.processes)))
    world.traffic.some(3)
    return True


def worker_frozen(world: World) -> bool:
    step = _worker_step(world)
    world.house.arm("worker-a", step, "stop")
    _feed(world, step)
    if not _wait_fired(world, 4):
        return False
    world.house.start("worker-b", "worker")
    time.sleep(LEASE_SECONDS + world.rng.random())
    return True


def snapshot_damaged(world: World) -> bool:
    world.house.signal("server-a", signal.SIGTERM)
    world.traffic.some(1)
    deadline = time.monotonic() + 10
    while world.house.processes["server-a"].alive and time.monotonic() < deadline:
        time.sleep(0.02)
    files = [path for path in (world.house.data / "index").rglob("*") if path.is_file()]
    for path in files:
        content = path.read_bytes()
        harm = world.rng.choice(["cut", "flip", "gone", "old"])
        if harm == "cut":
            path.write_bytes(content[: world.rng.randrange(len(content) + 1)])
        elif harm == "flip" and content:
            place = world.rng.randrange(len(content))
            path.write_bytes(content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :])
        elif harm == "gone":
            path.unlink()
    return True


def backup_taken(world: World) -> bool:
    """What is backed up in the middle of things and restored elsewhere is what the store held then."""
    house = world.house
    world.traffic.some(3)
    if world.rng.random() < 0.5:
        house.kill(world.rng.choice(sorted(house.processes)))
    source = Settings(_env_file=None, data_dir=house.data, database_url=house.store.url)
    folder, elsewhere = house.base / "backup", house.base / "restored"
    shutil.rmtree(elsewhere, ignore_errors=True)
    target = Settings(_env_file=None, data_dir=elsewhere)
    databases = Database(source.resolved_database_url), Database(target.resolved_database_url)
    try:
        report = backup(databases[0], source, folder)
        assert report.damaged == [], f"the backup found damage: {report.damaged}"
        restore(databases[1], target, folder)
        held, restored = (_digests(database) for database in databases)
        assert held.keys() == restored.keys(), f"other documents: {held.keys() ^ restored.keys()}"
        for kept in world.record.kept.values():
            sent = {version.sha256 for version in kept.versions}
            assert restored.get(kept.id, min(sent)) in sent, f"{kept.id} has other bytes in the backup"
        problems = verify(databases[1], target).problems
        assert problems == [], f"the restored store is damaged: {problems}"
    finally:
        for database in databases:
            database.dispose()
    return True


def _digests(db: Database) -> dict[str, str]:
    """The digest of the newest file of each document, by its id."""
    query = select(Version.document_id, Version.sha256).order_by(Version.generation)
    with db.read() as session:
        return {row.document_id: row.sha256 for row in session.execute(query)}


def database_moved(world: World) -> bool:
    assert isinstance(world.house.store, SqliteStore)
    world.traffic.some(2)
    world.house.store.move_away()
    if world.rng.random() < 0.3:  # whoever starts now must not begin anew beside the documents
        world.house.kill("worker-a")
        world.house.start("worker-a", "worker")
    world.traffic.some(3)
    time.sleep(world.rng.random())
    return True


def database_locked(world: World) -> bool:
    assert isinstance(world.house.store, SqliteStore)
    world.traffic.upload()
    world.house.store.lock()
    time.sleep(0.5 + world.rng.random())
    world.house.store.heal()
    return True


def _database(harm: Callable[[PostgresStore], None], seconds: float) -> Callable[[World], bool]:
    def strike(world: World) -> bool:
        assert isinstance(world.house.store, PostgresStore)
        world.traffic.some(3)
        harm(world.house.store)
        if harm is not PostgresStore.freeze:  # requests would wait for as long as it lasts
            world.traffic.some(3)
        time.sleep(seconds * (0.5 + world.rng.random()))
        return True

    return strike
