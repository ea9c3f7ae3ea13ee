"""What runs on the nodes: one kind of actor reads and cuts files, the other makes vectors.

Both are the functions of a Ray Data pipeline. What goes in at its head are tickets, each worth one turn at
the desk, so that a ticket that Ray hands out again after a loss does no harm. What goes from one kind to the
other are bundles of parts of documents.
"""

from __future__ import annotations

import logging
import os
import pickle
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from api.cluster.ingest_messages import Embedded, Hand, Office, Part, Task, Turn
from api.version import version
from ingest.blobs import mark_of
from ingest.drafting import cut, read_file
from ingest.embedding import BATCH
from ingest.files import passing_file
from rag.embedders import Embedder, load_embedder
from rag.errors import Unavailable
from rag.ids import new_id

log = logging.getLogger(__name__)

BEAT_SECONDS = 2.0
PAUSE_SECONDS = 0.2

Row = dict[str, list[Any]]


class Link:
    """An actor's line to the desk: it calls, and says every other second that it lives."""

    def __init__(self, office: Office) -> None:
        """Raises Unavailable (`cluster_unlike`) where this node has another Longleaf or another embedder."""
        import ray  # noqa: PLC0415

        os.environ["TOKENIZERS_PARALLELISM"] = "false"
        self._ray = ray
        self._desk = office.desk
        context = ray.get_runtime_context()
        self.hand = Hand(str(context.get_actor_id()), new_id("life"), str(context.get_node_id()))
        self._mine: frozenset[str] = frozenset()
        self.embedder: Embedder = load_embedder(office.settings)
        here = (version(), self.embedder.fingerprint)
        if here != (office.release, office.fingerprint):
            raise Unavailable(
                f"a node has Longleaf {here[0]} with the embedder {here[1]}, the command was given to "
                f"{office.release} with {office.fingerprint}; install the same on every node",
                code="cluster_unlike",
            )
        self._beat()
        threading.Thread(target=self._live, name="beat", daemon=True).start()

    def ask(self, method: str, *arguments: object) -> Any:
        """What a method of the desk returns."""
        return self._ray.get(getattr(self._desk, method).remote(*arguments))

    def lost(self, token: str) -> Callable[[], bool]:
        """Whether a lease that was taken now is this actor's no more; as new as the last beat."""
        from_then_on = time.monotonic()
        return lambda: self._beaten > from_then_on and token not in self._mine

    def _beat(self) -> None:
        asked = time.monotonic()
        self._mine = frozenset(self.ask("hear", self.hand))
        self._beaten = asked

    def _live(self) -> None:
        while True:
            time.sleep(BEAT_SECONDS)
            try:
                self._beat()
            except Exception:  # the desk is gone, and this actor with it soon
                log.debug("the desk does not answer", exc_info=True)


class Reader:
    """Turns tickets into bundles: takes jobs, reads and cuts files, and has the desk write what it made."""

    def __init__(self, office: Office, number: int, bundle: int) -> None:
        """`number` is the round's; a bundle has so many chunks, where there are as many."""
        self._bundle = bundle
        tokens_alone = office.settings.model_copy(update={"device": "cpu"})
        self._link = Link(replace(office, settings=tokens_alone))
        self._settings = office.settings
        self._round = number

    def __call__(self, tickets: dict[str, Any]) -> Iterator[Row]:
        """A row with one bundle for each ticket, as long as there is work."""
        for _ in tickets["ticket"]:
            parts = self._gather()
            if not parts:
                return
            yield {"bundle": [pickle.dumps(parts)]}

    def _gather(self) -> list[Part]:
        """Parts of as many documents as make a bundle; fewer where no more can be had; none at the end."""
        parts: list[Part] = []
        while sum(len(part.keys) for part in parts) < self._bundle:
            turn: Turn = self._link.ask("take", self._link.hand, self._round)
            if turn.state == "end":
                break
            if turn.state == "wait":
                if parts:
                    break
                time.sleep(PAUSE_SECONDS)
            elif turn.task is not None:
                parts += self._read(turn.task)
            else:
                parts += turn.parts
        return parts

    def _read(self, task: Task) -> Sequence[Part]:
        ask, hand = self._link.ask, self._link.hand
        try:
            with file_of(task, lambda start: ask("piece", task.lease, start)) as path:
                parsed = read_file(
                    path, task.order, self._settings, cancelled=self._link.lost(task.lease.token)
                )
            rows = cut(parsed, task.order, self._link.embedder.token_spans, self._settings.chunk_tokens)
        except Exception as error:
            ask("fail", task.lease, portable(error))
            return ()
        parts: Sequence[Part] = ask("enter", hand, task.lease, task.order, parsed, rows)
        return parts


@contextmanager
def file_of(task: Task, piece: Callable[[int], bytes]) -> Iterator[Path]:
    """The task's file: where it lies, if this node shares the desk's folder, which its mark tells; else a
    copy that is gone afterwards, and with this process. `piece` is what the desk has from a byte on."""
    path = Path(task.path)
    if task.mark is not None and mark_of(path.parent) == task.mark and path.exists():
        yield path
        return
    with passing_file() as (copy, passing):
        while some := piece(copy.tell()):
            copy.write(some)
        copy.flush()
        yield passing


class Vectoriser:
    """Turns bundles into vectors, which the desk writes; a row says how many parts were wanted."""

    def __init__(self, office: Office, threads: int) -> None:
        """`threads` are the cores that it may use."""
        import torch  # noqa: PLC0415

        torch.set_num_threads(threads)
        self._link = Link(office)

    def __call__(self, bundles: dict[str, Any]) -> Row:
        """Embed what is still wanted of the bundles."""
        parts: list[Part] = [part for bundle in bundles["bundle"] for part in pickle.loads(bundle)]  # noqa: S301
        ask, hand = self._link.ask, self._link.hand
        wanted = ask("claim", hand, [(part.lease, part.number) for part in parts])
        mine = [part for part, is_wanted in zip(parts, wanted, strict=True) if is_wanted]
        ask("store", hand, embed(self._link.embedder, mine))
        return {"parts": [len(mine)]}


def embed(embedder: Embedder, parts: Sequence[Part]) -> list[Embedded]:
    """The vectors of several documents' parts, made in batches of like length across them.

    Where that fails each part is tried alone, so that it costs none but the one that it is about.
    """
    if not parts:
        return []
    try:
        return _embed(embedder, parts)
    except Exception as error:
        if len(parts) == 1:
            return [Embedded(parts[0], None, portable(error))]
        return [made for part in parts for made in embed(embedder, [part])]


def _embed(embedder: Embedder, parts: Sequence[Part]) -> list[Embedded]:
    found = [np.empty((len(part.keys), embedder.dimension), np.float32) for part in parts]
    places = [(number, place) for number, part in enumerate(parts) for place in range(len(part.keys))]
    places.sort(key=lambda at: parts[at[0]].tokens[at[1]])
    for first in range(0, len(places), BATCH):
        some = places[first : first + BATCH]
        vectors = embedder.embed_passages([parts[number].inputs[place] for number, place in some])
        for (number, place), vector in zip(some, vectors, strict=True):
            found[number][place] = vector
    return [Embedded(part, vectors) for part, vectors in zip(parts, found, strict=True)]


def portable(error: Exception) -> Exception:
    """The error, or one that says the same where it can't be sent to another process."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 (our own)
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
