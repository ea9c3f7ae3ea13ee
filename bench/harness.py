"""lm-evaluation-harness through `POST /v1/completions`, beside its own transformers backend.

    pip install lm-eval
    python -m bench.harness --data DIR [--questions 60] [--dtype bfloat16]

The task is made from XQuAD's English questions, so that nothing is downloaded: a passage, a question, and
four answers, of which three belong to other questions about the same passage. Both backends score each
answer's tokens with the same weights; what is compared is the score of each, and which of the four is the
likeliest. transformers computes in float32 with the weights dequantised; the service in the format that
`--dtype` names, on its packed weights.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn
from lm_eval import simple_evaluate  # type: ignore[import-not-found]
from lm_eval.api.task import ConfigurableTask  # type: ignore[import-not-found]
from lm_eval.models.huggingface import HFLM  # type: ignore[import-not-found]
from lm_eval.models.openai_completions import LocalCompletionsAPI  # type: ignore[import-not-found]
from transformers import AutoModelForCausalLM, AutoTokenizer

from api.app import create_app
from model.weights.hub import resolve
from rag.settings import Settings

CHOICES = 4


def questions(data: Path, most: int) -> list[dict[str, Any]]:
    """Passages with a question and four answers each; the place of the right one is drawn."""
    draw = random.Random(1)
    by_passage: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for line in (data / "xquad" / "questions.jsonl").read_text("utf-8").splitlines():
        entry = json.loads(line)
        if entry["language"] == "en":
            place = entry["context"]
            text = (data / "xquad" / "docs" / place["doc"]).read_text("utf-8")
            passage = text[place["start"] : place["end"]]
            by_passage[passage].append((entry["question"], entry["answers"][0]))
    found = []
    for passage, entries in by_passage.items():
        for question, right in entries:
            others = sorted({answer for _, answer in entries} - {right})
            if len(others) >= CHOICES - 1:
                choices = [right, *draw.sample(others, CHOICES - 1)]
                draw.shuffle(choices)
                label = choices.index(right)
                found.append({"context": passage, "question": question, "choices": choices, "label": label})
    return found[:most]


def task(file: Path) -> Any:
    """The task, as the harness has it."""
    return ConfigurableTask(
        config={
            "task": "passages",
            "dataset_path": "json",
            "dataset_kwargs": {"data_files": {"test": str(file)}},
            "output_type": "multiple_choice",
            "test_split": "test",
            "doc_to_text": "{{context}}\nQuestion: {{question}}\nAnswer:",
            "doc_to_choice": "{{choices}}",
            "doc_to_target": "label",
        }
    )


def evaluated(model: Any, file: Path) -> tuple[float, list[list[float]], float]:
    """Share of right answers, the scores of each question's answers, and seconds."""
    began = time.perf_counter()
    result = simple_evaluate(model=model, tasks=[task(file)], log_samples=True, bootstrap_iters=0)
    seconds = time.perf_counter() - began
    samples = sorted(result["samples"]["passages"], key=lambda sample: sample["doc_id"])
    scores = [[float(score) for score, _ in sample["filtered_resps"]] for sample in samples]
    return float(result["results"]["passages"]["acc,none"]), scores, seconds


@contextmanager
def served(dtype: str) -> Iterator[str]:
    """Address of a service with the bundled model."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(_env_file=None, data_dir=Path(folder), dtype=dtype)
        server = uvicorn.Server(uvicorn.Config(create_app(settings), port=0, log_level="error"))
        thread = threading.Thread(target=server.run)
        thread.start()
        while not server.started:
            time.sleep(0.1)
        try:
            yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def main() -> None:
    """Print both, and how far they are apart."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder that holds `xquad`")
    parser.add_argument("--questions", type=int, default=60)
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    options = parser.parse_args()
    path = resolve("auto")
    tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file = folder / "test.json"
        file.write_text(json.dumps(questions(options.data, options.questions)), encoding="utf-8")
        tokenizer.save_pretrained(folder / "tokenizer")
        weights = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype="float32")
        theirs = evaluated(HFLM(pretrained=weights, tokenizer=tokenizer, device="cpu"), file)
        with served(options.dtype) as url:
            client = LocalCompletionsAPI(
                model="longleaf/raw",
                base_url=f"{url}/v1/completions",
                tokenizer=str(folder / "tokenizer"),
                tokenizer_backend="huggingface",
                max_length=weights.config.max_position_embeddings,
                num_concurrent=4,
            )
            ours = evaluated(client, file)
    pairs = list(zip(theirs[1], ours[1], strict=True))
    apart = [abs(a - b) for one, other in pairs for a, b in zip(one, other, strict=True)]
    same = statistics.mean(
        max(range(CHOICES), key=one.__getitem__) == max(range(CHOICES), key=other.__getitem__)
        for one, other in pairs
    )
    print(f"{path.stem}, {len(pairs)} questions of {CHOICES} answers")
    print(f"{'backend':44}{'accuracy':>9}{'seconds':>9}")
    print(f"{'transformers, float32':44}{theirs[0]:9.3f}{theirs[2]:9.1f}")
    print(f"{'local-completions at Longleaf, ' + options.dtype:44}{ours[0]:9.3f}{ours[2]:9.1f}")
    print(
        f"same choice in {same:.1%}; log-probabilities of an answer differ by {statistics.median(apart):.4f} "
        f"(median), {max(apart):.4f} (most), of {statistics.median(-s for one in theirs[1] for s in one):.1f}"
    )


if __name__ == "__main__":
    main()
