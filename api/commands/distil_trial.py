"""The trial of `longleaf distil`: both models asked the same questions on held-out documents."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from api.commands.distil_session import Part, Wanted
from api.commands.eval import progress
from api.commands.eval_session import Session
from api.loaders import load_engine
from api.version import version
from model import Engine
from rag.answer import AnswerRequest
from rag.answering import Answerer
from rag.distil.trial import beside_quotes, changes
from rag.distil.verdict import Verdict, judge
from rag.evaluation.measuring import Measurer
from rag.evaluation.outcome import Outcome
from rag.evaluation.runfile import Journal, Run, write
from rag.retrieval import SearchScope
from rag.settings import Settings


def trial(  # noqa: PLR0917 (called by one program alone)
    settings: Settings, wanted: Wanted, parts: Sequence[Part], work: Path, model: Path, base: str
) -> Verdict:
    """Ask both, write their runs beside the model, and judge."""
    outcomes: dict[str, list[Outcome]] = {"base": [], "student": []}
    names: dict[str, str] = {}
    # The folder of the KV cache is the store's own engine's.
    allowed = settings.model_copy(
        update={"model": str(model), "allow_worse_model": True, "kv_disk_bytes": 0, "kv_shared_bytes": 0}
    )
    student = load_engine(allowed)
    try:
        for part in parts:
            if not part.judge:
                continue
            with part.store(settings, work, judged=True) as store:
                engines = {"base": store.service.engine.wait(), "student": student}
                for who, engine in engines.items():
                    names[who] = f"{engine.name} {engine.fingerprint[:16]}"
                    outcomes[who] += _asked(
                        settings, store, engine, part, work / f"{part.name}-{who}.json", who
                    )
    finally:
        student.close()
    for who, found in outcomes.items():
        about = {
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "set": ", ".join(map(str, wanted.sources or (wanted.docs,))),
            "version": version(),
            "model": names[who],
            "documents": {"count": len({each.cluster for each in found})},
            "settings": {"mode": "answer", "max_tokens": settings.max_tokens},
        }
        write(model / f"{who}.json", Run.of(about, found))
    documents = len({each.cluster for each in outcomes["base"]})
    measured = changes(outcomes["base"], outcomes["student"])
    beside = beside_quotes(outcomes["student"])
    return judge(measured, base, documents=documents, questions=len(outcomes["base"]), beside=beside)


def _asked(  # noqa: PLR0917
    settings: Settings, store: Session, engine: Engine, part: Part, path: Path, who: str
) -> list[Outcome]:
    """What became of a part's questions; those answered before an interruption are not asked again."""
    service = store.service
    # Both write as a model that was found better does: without the best sentence before it.
    answerer = Answerer(
        service.db, service.retriever.wait(), service.embedder.wait(), lambda: engine, settings,
        standing="better",
    )  # fmt: skip
    scope = SearchScope(service.scope.workspace_id, store.collection.id)
    request = AnswerRequest("?", scope, mode="answer", max_tokens=settings.max_tokens)
    journal = Journal(path, f"{engine.fingerprint} {settings.max_tokens}")
    done = dict(journal.done)
    cancel = threading.Event()
    try:
        measurer = Measurer(answerer, store.library, request)
        with progress(f"{part.name}: {who}", len(part.judge), len(done)) as step:
            for question in part.judge:
                if question.id not in done:
                    done[question.id] = measurer.measure(question, cancel)
                    journal.add(done[question.id])
                    step()
    except BaseException:
        cancel.set()
        raise
    finally:
        journal.close(finished=False)
    # The same id may stand in several sets.
    return [replace(done[each.id], id=f"{part.name} {each.id}") for each in part.judge]
