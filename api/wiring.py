"""The composition root: the parts of the service, how they depend on each other, and when each is loaded."""

from __future__ import annotations

import copy
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING

from api.assembling import make_answerer, make_indexes, make_retriever, make_worker
from api.auditor import Auditor
from api.deed import Deed
from api.first_key import ensure_first_key
from api.following import Follower
from api.lines import Lines
from api.loaders import Loaders
from api.metrics.recorder import Metrics
from api.metrics.watching import ServiceCollector
from api.oidc.config import sign_in_config
from api.oidc.provider import Provider
from api.part import Part, unforeseen
from api.tracing import Tracing, tracing_of
from api.webhooks.sender import Sender
from ingest.blobs import refuse_foreign_folder
from ingest.originals.choice import check_place
from rag.errors import Forbidden, LongleafError, NotFound, Unavailable
from rag.observing import Observer, Several
from rag.principal import LOCAL, Principal
from rag.rates import OwnRates, Rates
from rag.roles import Role
from rag.settings import Settings
from rag.store.migrate import check, prepare_for_serving
from rag.store.opening import open_database
from rag.store.records import CollectionRow
from rag.store.repositories import Collections, Layouts
from rag.store.repositories.collections import check_collection_name, owner_of
from rag.store.repositories.rates import SharedRates
from rag.store.scope import DEFAULT_SCOPE, Scope

if TYPE_CHECKING:
    from ingest.worker import Worker
    from model import Engine
    from rag.answering import Answerer
    from rag.embedders.base import Embedder
    from rag.finding import Search
    from rag.index.live import LiveIndexes

log = logging.getLogger(__name__)

DEFAULT_COLLECTION = "default"
NOTHING = Scope("", frozenset(), frozenset())
"""What nobody sees."""
ANSWER_THREADS = 16
"""Questions that are worked on at a time."""
_FLUSH_SECONDS = 5.0
"""How long a stop waits for what was read to be on the disk; what is not will be read again."""


class Service:
    """All parts of one process. `start` returns at once; the models come in the background."""

    def __init__(
        self, settings: Settings, loaders: Loaders | None = None, tracing: Tracing | None = None
    ) -> None:
        """Connects to nothing yet. `tracing` is by default what the settings ask for.

        Raises BadDatabaseUrl, BadSignIn, ExtraMissing; InvalidRequest, Unavailable for a `LONGLEAF_OBJECTS`
        that can't be used.
        """
        self.settings = settings
        if settings.objects:
            from rag.objects.place import open_objects  # noqa: PLC0415

            open_objects(settings)  # what is wrong with it is said before anything runs
        check_place(settings)
        self.loaders = loaders or Loaders()
        self.scope: Scope = DEFAULT_SCOPE
        self.principal: Principal | None = LOCAL
        self.deed = Deed()
        """What a request is about; each has its own."""
        self.db = open_database(settings)
        self.indexes: Part[LiveIndexes] = Part("index")
        self.embedder: Part[Embedder] = Part("embedder")
        self.retriever: Part[Search] = Part("retriever")
        self.engine: Part[Engine] = Part("engine")
        self.answerer: Part[Answerer] = Part("answerer")
        self.worker: Part[Worker] = Part("worker")
        self.answers = ThreadPoolExecutor(ANSWER_THREADS, thread_name_prefix="answer")
        self._later = ThreadPoolExecutor(1, thread_name_prefix="later")
        self.auditor = Auditor(self.db, self.background) if settings.auth == "on" else None
        signing = sign_in_config(settings)
        self.provider = None if signing is None else Provider(signing)
        self.metrics = Metrics()
        self.metrics.registry.register(ServiceCollector(self))
        self.tracing = tracing or tracing_of(settings)
        self.observer: Observer = (
            self.metrics if self.tracing is None else Several(self.tracing, self.metrics)
        )
        # one process alone writes to SQLite as a rule, and each write of it waits for the disk
        self.rates: Rates = SharedRates(self.db) if self.db.dialect == "postgresql" else OwnRates()
        self.lines = Lines(settings, self.db, ANSWER_THREADS)
        self.leaving = threading.Event()
        """Set when nothing more should be sent here; what comes all the same is answered until `stopping`."""
        self.stopping = threading.Event()
        self._only_worker = False
        self._threads: list[threading.Thread] = []

    @property
    def asker(self) -> str:
        """The id of the key or person that this acts for; "" for nobody."""
        return "" if self.principal is None else self.principal.id

    def acting_for(
        self, principal: Principal | None, needed: Role = "reader", deed: Deed | None = None
    ) -> Service:
        """The same service as somebody sees it, for what needs that role; nobody sees nothing."""
        seen = copy.copy(self)
        seen.deed = deed or Deed()
        seen.principal = principal
        seen.scope = NOTHING if principal is None else principal.scope(needed)
        return seen

    def open(self) -> None:
        """Make the data folder and the schema fit for use. Raises Unmigrated, Unavailable."""
        self.settings.data_dir.mkdir(parents=True, exist_ok=True)
        refuse_foreign_folder(self.db, self.settings)
        prepare_for_serving(self.db)

    def start(self, *, ingest: bool = True, engine: bool = True) -> None:
        """Open the store and begin to load the models. Raises Unmigrated, Unavailable."""
        self.open()
        if self.settings.auth == "on":
            ensure_first_key(self.db, self.settings)
        self.run_beside("load-retrieval", lambda: self._load_retrieval(ingest=ingest))
        if ingest:
            sender = Sender(self.db, self.settings, sent=self.metrics.sent)
            self.run_beside("webhooks", lambda: sender.run(self.stopping))
        if engine:
            self.run_beside("load-engine", self._load_engine)
            self.run_beside("follow", lambda: Follower(self.db, self._forget_text).run(self.stopping))

    def start_worker(self) -> None:
        """Open the store and begin to take jobs; no question is answered. Raises Unmigrated, Unavailable."""
        self._only_worker = True
        self.open()
        self.run_beside("load-worker", self._load_worker)

    def stop(self) -> None:
        """End what runs: work in threads is cancelled, jobs are given back, indexes are saved."""
        self.stopping.set()
        for thread in self._threads:
            thread.join(timeout=60)
        if (worker := self.worker.now()) is not None:
            worker.stop()
        self.answers.shutdown(wait=True, cancel_futures=True)
        self._later.shutdown(wait=True)
        if (engine := self.engine.now()) is not None and engine.failure is None:
            engine.flush(_FLUSH_SECONDS)
        for part in (self.indexes, self.embedder, self.retriever, self.engine, self.answerer, self.worker):
            part.give_up()
        if (indexes := self.indexes.now()) is not None:
            indexes.close()
        self.db.dispose()
        if self.tracing is not None:
            self.tracing.close()

    def checks(self) -> dict[str, str]:
        """State of each part for `/readyz`: `ok`, or the reason why not."""
        checks = {"database": "ok", "schema": "ok"}
        try:
            check(self.db)
        except LongleafError as error:
            checks["schema" if error.code == "unmigrated" else "database"] = error.detail
        checks["embedder"] = self.embedder.state
        if not self._only_worker:
            checks["engine"] = self.engine.state if self.engine_failure is None else str(self.engine_failure)
        checks["worker"] = self.worker.state if self.settings.ingest_workers else "ok"
        if self.leaving.is_set():
            checks["service"] = "stopping"
        return checks

    def collection(self, name: str) -> CollectionRow:
        """The collection of that name; the default one is made when it is missing.

        Raises NotFound (`collection_not_found`), Unavailable.
        """
        with self.db.glance() as session:
            found = Collections(session, self.scope).find(name)
        if found is not None:
            return found
        if name != DEFAULT_COLLECTION or not self.scope.whole:
            raise NotFound(
                f"There is no collection {name!r}; upload to it, or POST /collections.",
                code="collection_not_found",
            )
        return self.ensure_collection(name)

    def ensure_collection(self, name: str) -> CollectionRow:
        """The collection of that name, made for the present embedder when it is missing.

        Raises InvalidRequest (`invalid_collection_name`), Forbidden, Unavailable while the embedder is not
        known.
        """
        with self.db.read() as session:
            found = Collections(session, self.scope).find(name)
        if found is not None:
            return found
        self.check_may_add_to(name)
        check_collection_name(name)
        fingerprint = self.embedder.wait().fingerprint
        with self.db.session() as session:
            return Collections(session, self.scope).ensure(name, fingerprint)

    def check_may_add_to(self, name: str) -> None:
        """Raise Forbidden for who may send nothing to the collection of that name, be it there or not."""
        with self.db.read() as session:
            found = Collections(session, self.scope).find(name)
        if found is None and not self.scope.whole:
            raise Forbidden("Your role in this workspace does not allow you to make collections.")

    def forget(self, collection_id: str, document_id: str | None = None) -> None:
        """Take a deleted document, or collection, out of the indexes and the KV cache of this process.

        Raises OSError, Unavailable when something of it had to stay on the disk.
        """
        try:
            self.indexes.wait().forget(collection_id, document_id)
        finally:
            if document_id is not None:
                self._forget_text(document_id)

    def _forget_text(self, document_id: str) -> None:
        """Take what was read of a document out of the engine, if one is loaded: pool, memory and files."""
        if (engine := self.engine.now()) is None or engine.failure is not None:
            return
        from model.errors import CacheError, EngineDeadError  # noqa: PLC0415

        try:
            engine.purge(document_id)
        except EngineDeadError:
            return  # it holds nothing any more
        except CacheError as error:
            raise Unavailable(str(error), code="storage_unavailable") from error

    @property
    def engine_failure(self) -> Exception | None:
        """Why the loaded engine takes no more requests; None while it does, or is not loaded."""
        return engine.failure if (engine := self.engine.now()) is not None else None

    def background(self, work: Callable[[], None]) -> None:
        """Do something small soon, in another thread; that it fails is logged and nothing else."""

        def run() -> None:
            try:
                work()
            except Exception as error:
                log.warning("what was left for later failed: %s", error, exc_info=unforeseen(error))

        with suppress(RuntimeError):  # the service is stopping
            self._later.submit(run)

    def run_beside(self, name: str, work: Callable[[], None]) -> None:
        """Do something in a thread of its own, which `stop` waits for."""
        thread = threading.Thread(target=work, name=name, daemon=True)
        thread.start()
        self._threads.append(thread)

    def _load_retrieval(self, *, ingest: bool) -> None:
        self.indexes.load(lambda: make_indexes(self))
        self.embedder.load(lambda: self.loaders.embedder(self.settings))
        self.retriever.load(self._make_retriever)
        self.answerer.load(lambda: make_answerer(self))
        if not ingest or self.stopping.is_set():
            return
        if self.settings.ingest_workers:
            # where indexes are held elsewhere, those there follow the log of changes
            published = self._published if self.loaders.search is None else None
            self.worker.load(lambda: make_worker(self, published))
        else:
            self._clear_up()

    def _load_worker(self) -> None:
        self.embedder.load(lambda: self.loaders.embedder(self.settings))
        if not self.stopping.is_set():
            # it has no indexes; those who search follow the log of changes
            self.worker.load(lambda: make_worker(self, None))

    def _clear_up(self) -> None:
        """Remove what crashes left, as a worker does when it starts."""
        from ingest.worker import recover  # noqa: PLC0415

        try:
            recover(self.db, self.settings)
        except (LongleafError, OSError) as error:
            log.warning("what crashes left was not all removed: %s", error)

    def _load_engine(self) -> None:
        self.engine.load(lambda: self.loaders.engine(self.settings))

    def _make_retriever(self) -> Search:
        self.ensure_collection(DEFAULT_COLLECTION)
        return make_retriever(self)

    def _published(self, collection_id: str, _document_id: str) -> None:
        with self.db.read() as session:
            workspace = owner_of(session, collection_id)
            if workspace is None:
                return
            if self.settings.cluster and Layouts(session, Scope(workspace)).find(collection_id) is not None:
                return  # its replicas follow by themselves; the whole of it need not fit here
        self.indexes.wait().follow(collection_id, workspace)
