"""Keeping shards up: what a cluster has lost for good is started again, by any process that serves."""

from __future__ import annotations

import logging
import threading
from typing import Any

from api.cluster.shard_laying import Laying
from api.cluster.shard_ray import Actors, named
from rag.errors import LongleafError
from rag.settings import Settings
from rag.store.repositories import Collections
from rag.store.repositories.collections import owner_of
from rag.store.repositories.layouts import laid_out
from rag.store.scope import Scope
from rag.store.session import Database

log = logging.getLogger(__name__)
LOOKS = 5.0
"""Seconds between two looks. Ray itself starts a lost process again; this is for what was lost with its node,
and for replicas of one shard that had to share one."""


class ShardKeeper:
    """Looks after the shards of all collections; several may, at the same time."""

    def __init__(self, db: Database, settings: Settings, ray: Any) -> None:
        self._db = db
        self._settings = settings
        self._ray = ray

    def run(self, stop: threading.Event) -> None:
        """Look every few seconds until `stop`."""
        while not stop.is_set():
            try:
                self.look()
            except LongleafError as error:
                log.warning("the shards could not be looked after: %s", error)
            stop.wait(LOOKS)

    def look(self) -> None:
        """Bring back what is missing; trouble with a collection is left for next time. Raises Unavailable."""
        with self._db.read() as session:
            rows = [Collections(session, Scope(each)).get(key) for each, key in laid_out(session)]
            there = {key: owner_of(session, key) is not None for key in named(self._ray)}
        for key, replicas in named(self._ray).items():
            if not there.get(key, True):  # its collection was deleted
                for replica in replicas:
                    Actors(self._ray, self._settings, key, "").end(replica)
        for row in rows:
            try:
                Laying(self._db, self._settings, self._ray, row).ensure()
            except (LongleafError, self._ray.exceptions.RayError) as error:
                log.warning("the shards of collection %s are not as they should be: %s", row.id, error)
