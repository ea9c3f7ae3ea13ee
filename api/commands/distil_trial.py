"""The trial of `longleaf distil`: both models asked the same questions on held-out documents."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
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
from model.weights.files import json_object
from rag.answer import AnswerRequest
from rag.answering import Answerer
from rag.checking import MOST, Checker
from rag.distil.trial import Runs, always, measured, never
from rag.distil.verdict import Verdict, judge
from rag.evaluation.measuring import Measurer
from rag.evaluation.outcome import Outcome
from rag.evaluation.runfile import Journal, Run, write
from rag.retrieval import SearchScope
from rag.settings import Settings
from rag.writer import Standing

WHO = ("base", "student")
Way = Literal["put", "kept"]


def trial(  # noqa: PLR0917 (called by one program alone)
    settings: Settings, wanted: Wanted, parts: Sequence[Part], work: Path, model: Path, base: str
) -> Verdict:
    """Ask both, write their runs beside the model, and judge."""
    found = {who: Runs((), (), ()) for who in WHO}
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
                    runs, more = found[who], _Asking(settings, store, engine, part, work, who).runs()
                    found[who] = Runs(runs.put + more.put, runs.kept + more.kept, runs.margins + more.margins)
    finally:
        student.close()
    shown = measured(found["base"], found["student"])
    used = {"base": found["base"].plain(), "student": shown.used}
    documents = len({each.cluster for each in used["base"]})
    for who, said in used.items():
        about = {
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "set": ", ".join(map(str, wanted.sources or (wanted.docs,))),
            "version": version(),
            "model": names[who],
            "documents": {"count": documents},
            "settings": {"mode": "answer", "max_tokens": settings.max_tokens},
        }
        write(model / f"{who}.json", Run.of(about, said))
    return judge(shown, base, documents=documents, questions=len(used["base"]))


class _Asking:
    """One model asked a part's questions in each of the ways of `Runs`.

    Both write as a model that was found better does: without the best sentence before it.
    """

    def __init__(  # noqa: PLR0917 (called once)
        self, settings: Settings, store: Session, engine: Engine, part: Part, work: Path, who: str
    ) -> None:
        self._settings, self._store, self._engine, self._part = settings, store, engine, part
        self._work, self._who = work, who

    def runs(self) -> Runs:
        """The outcomes of every question and the model's margins, in the part's order."""
        put, kept = self._asked("put"), self._asked("kept")
        margins = self._margins(put)
        asked = self._part.judge
        # The same id may stand in several sets.
        ways = [
            tuple(replace(way[each.id], id=f"{self._part.name} {each.id}") for each in asked)
            for way in (put, kept)
        ]
        return Runs(ways[0], ways[1], tuple(margins[each.id] for each in asked))

    def _answerer(self, way: Way) -> Answerer:
        service, engine = self._store.service, self._engine
        return Answerer(
            service.db, service.retriever.wait(), service.embedder.wait(), lambda: engine, self._settings,
            standing=Standing(better=True),
            judged=always if way == "put" else never,
        )  # fmt: skip

    def _asked(self, way: Way) -> dict[str, Outcome]:
        """What became of the questions; those answered before an interruption are not asked again."""
        settings, questions = self._settings, self._part.judge
        scope = SearchScope(self._store.service.scope.workspace_id, self._store.collection.id)
        request = AnswerRequest("?", scope, mode="answer", max_tokens=settings.max_tokens)
        # No model is asked what is refused, so that is the same of both.
        who = self._who if way == "put" else "either"
        key = self._engine.fingerprint if way == "put" else ""
        path = self._work / f"{self._part.name}-{who}-{way}.json"
        journal = Journal(path, f"{key} {settings.max_tokens}")
        done = dict(journal.done)
        cancel = threading.Event()
        try:
            measurer = Measurer(self._answerer(way), self._store.library, request)
            with progress(f"{self._part.name}: {who}, {way}", len(questions), len(done)) as step:
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

    def _margins(self, put: Mapping[str, Outcome]) -> dict[str, float]:
        """By how much the model finds that the likeliest quote of each question says what is asked."""
        path = self._work / f"{self._part.name}-{self._who}-margins.json"
        key, said = self._engine.fingerprint, json_object(path)
        if said.get("model") != key:
            checker, found = Checker(self._engine), {}
            with progress(f"{self._part.name}: {self._who}, checks", len(put), 0) as step:
                for name, each in put.items():
                    quotes = each.quotes
                    found[name] = checker.margin(each.question, quotes[0].text) if quotes else -MOST
                    step()
            said = {"model": key, "margins": found}
            path.write_text(json.dumps(said), "utf-8")
        return {name: float(margin) for name, margin in said["margins"].items()}
