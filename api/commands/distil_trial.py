"""The trial of `longleaf distil`: both models asked the same questions on held-out documents."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from api.commands.distil_session import Part, Wanted
from api.commands.eval import progress
from api.commands.eval_session import Session
from api.loaders import load_engine
from api.version import version
from model import Engine
from rag import refusal
from rag.answer import AnswerRequest
from rag.answering import Answerer
from rag.distil.trial import Runs, always, measured, refused_unasked
from rag.distil.verdict import Verdict, judge
from rag.evaluation.measuring import Measurer
from rag.evaluation.outcome import Outcome
from rag.evaluation.questions import GoldQuestion
from rag.evaluation.runfile import Journal, Run, write
from rag.retrieval import SearchScope
from rag.settings import Settings
from rag.writer import Standing

WHO = ("base", "student")
Way = Literal["believed", "doubted", "alone"]
WAYS: tuple[Way, ...] = ("believed", "doubted", "alone")


def trial(  # noqa: PLR0917 (called by one program alone)
    settings: Settings, wanted: Wanted, parts: Sequence[Part], work: Path, model: Path, base: str
) -> Verdict:
    """Ask both, write their runs beside the model, and judge."""
    ways: dict[str, dict[Way, list[Outcome]]] = {who: {way: [] for way in WAYS} for who in WHO}
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
                    asking = _Asking(settings, store, engine, part, work, who)
                    for way, outcomes in asking.every_way().items():
                        ways[who][way] += outcomes
    finally:
        student.close()
    runs = {who: Runs(**{way: tuple(each) for way, each in asked.items()}) for who, asked in ways.items()}
    found = measured(runs["base"], runs["student"])
    shown = {"base": runs["base"].doubted, "student": runs["student"].used(refuses=found.refuses)}
    documents = len({each.cluster for each in shown["base"]})
    for who, said in shown.items():
        about = {
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "set": ", ".join(map(str, wanted.sources or (wanted.docs,))),
            "version": version(),
            "model": names[who],
            "documents": {"count": documents},
            "settings": {"mode": "answer", "max_tokens": settings.max_tokens},
        }
        write(model / f"{who}.json", Run.of(about, said))
    return judge(found, base, documents=documents, questions=len(shown["base"]))


class _Asking:
    """One model asked a part's questions in each of the ways of `Runs`.

    Both write as a model that was found better does: without the best sentence before it. What differs
    between two ways alone is asked again.
    """

    def __init__(  # noqa: PLR0917 (called once)
        self, settings: Settings, store: Session, engine: Engine, part: Part, work: Path, who: str
    ) -> None:
        self._settings, self._store, self._engine, self._part = settings, store, engine, part
        self._work, self._who = work, who

    def every_way(self) -> dict[Way, list[Outcome]]:
        """The outcomes of every question, in the part's order."""
        believed = self._asked("believed", self._part.judge)
        refused = [each for each in self._part.judge if believed[each.id].status == "insufficient_evidence"]
        unasked = {each.id for each in refused if refused_unasked(believed[each.id])}
        doubted = self._asked("doubted", [each for each in refused if each.id not in unasked])
        alone = self._asked("alone", [each for each in refused if each.id in unasked])
        found = {"believed": believed, "doubted": {**believed, **doubted}, "alone": {**believed, **alone}}
        # The same id may stand in several sets.
        return {
            way: [
                replace(found[way][each.id], id=f"{self._part.name} {each.id}") for each in self._part.judge
            ]
            for way in WAYS
        }

    def _asked(self, way: Way, questions: Sequence[GoldQuestion]) -> dict[str, Outcome]:
        """What became of them; those answered before an interruption are not asked again."""
        if not questions:
            return {}
        service, settings, engine = self._store.service, self._settings, self._engine
        answerer = Answerer(
            service.db, service.retriever.wait(), service.embedder.wait(), lambda: engine, settings,
            standing=Standing(better=True, refuses=way != "doubted"),
            judged=always if way == "alone" else refusal.judge,
        )  # fmt: skip
        scope = SearchScope(service.scope.workspace_id, self._store.collection.id)
        request = AnswerRequest("?", scope, mode="answer", max_tokens=settings.max_tokens)
        path = self._work / f"{self._part.name}-{self._who}-{way}.json"
        journal = Journal(path, f"{engine.fingerprint} {settings.max_tokens}")
        done = dict(journal.done)
        cancel = threading.Event()
        try:
            measurer = Measurer(answerer, self._store.library, request)
            with progress(f"{self._part.name}: {self._who}, {way}", len(questions), len(done)) as step:
                for question in questions:
                    if question.id not in done:
                        done[question.id] = measurer.measure(question, cancel)
                        journal.add(done[question.id])
                        step()
        except BaseException:
            cancel.set()
            raise
        finally:
            journal.close(finished=False)
        return done
