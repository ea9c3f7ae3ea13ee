"""What constraints and the sampler take between two forward passes, in microseconds.

    python -m bench.constraints

No model runs: logits are random, and of the ids that a constraint allows one is taken at random.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial

import torch

from model.constraints import ConstraintSpec, JsonSchema, Regex, Span, bind
from model.params import SamplingParams
from model.sampling import Sampler
from model.text.tokenizer import Tokenizer
from model.weights.checkpoint import open_checkpoint
from model.weights.hub import resolve

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 3},
    },
    "required": ["name", "age", "tags"],
    "additionalProperties": False,
}
SAMPLERS = {
    "greedy": SamplingParams(),
    "greedy, 5 logprobs": SamplingParams(logprobs=True, top_logprobs=5),
    "temperature": SamplingParams(temperature=1, seed=1),
    "top-k 40": SamplingParams(temperature=1, top_k=40, seed=1),
    "top-p 0.9": SamplingParams(temperature=1, top_p=0.9, seed=1),
    "min-p 0.05": SamplingParams(temperature=1, min_p=0.05, seed=1),
    "all penalties": SamplingParams(repetition_penalty=1.1, presence_penalty=1, frequency_penalty=1),
}
LONGEST = 131_072


def seconds(work: Callable[[], object]) -> float:
    """How long `work` takes once."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def samplers() -> None:
    """Print a line for each way to sample, for logits as peaked as a model's and for flat ones."""
    for vocabulary in (49_152, 128_256):
        for name, params in SAMPLERS.items():
            cells = []
            for scale in (3, 1):
                # Squared: few tokens far above the rest, as models have them; unsquared there are none.
                row = torch.randn(vocabulary, generator=torch.Generator().manual_seed(0))
                row = row * row.abs() * scale if scale > 1 else row
                sampler = Sampler(params, (1,), row)
                taken = [seconds(partial(sampler.next, row)) for _ in range(100)]
                cells.append(f"{statistics.median(taken) * 1e6:8.0f}")
            print(f"{vocabulary:8,} ids, {name:20} peaked {cells[0]} µs, flat {cells[1]} µs", flush=True)


def follow(name: str, tokenizer: Tokenizer, spec: ConstraintSpec, prompt: Sequence[int]) -> None:
    """Print what ten answers of at most 60 tokens take."""
    generator, stops = random.Random(0), tokenizer.stop_ids
    first = seconds(partial(bind, spec, tokenizer, prompt, stops))
    binding, allowing, advancing = [], [], []
    for _ in range(10):
        binding.append(seconds(partial(bind, spec, tokenizer, prompt, stops)))
        state = bind(spec, tokenizer, prompt, stops)
        for _ in range(60):
            start = time.perf_counter()
            ids = state.allowed()
            allowing.append(time.perf_counter() - start)
            assert ids is not None
            token = int(ids[generator.randrange(len(ids))])
            if token in stops:
                break
            advancing.append(seconds(partial(state.advance, token)))
    bound, allowed, advanced = (statistics.median(each) * 1e6 for each in (binding, allowing, advancing))
    print(
        f"{name:34} bind first {first * 1e6:8.0f}, later {bound:6.0f}; allowed {allowed:5.0f}, "
        f"at most {max(allowing) * 1e6:6.0f}; advance {advanced:5.0f} µs",
        flush=True,
    )


def main() -> None:
    """One thread: other work has the others."""
    torch.set_num_threads(1)
    samplers()
    tokenizer = open_checkpoint(resolve("auto")).tokenizer()
    sentence = "The longleaf pine is native to the Southeastern United States, from Texas to Virginia. "
    follow("JSON schema", tokenizer, JsonSchema(SCHEMA), ())
    follow("regular expression", tokenizer, Regex("[0-9]{4}-[0-9]{2}(, [a-z]+){1,5}"), ())
    repeated = tokenizer.encode(sentence * 2000)[:16_384]
    follow("spans of 512", tokenizer, Span(((0, 512),), 8, 200), repeated)
    follow("spans of 16,384, one sentence", tokenizer, Span(((0, 16_384),), 8, 200), repeated)
    generator = random.Random(0)
    mixed = [generator.randrange(20, tokenizer.vocab_size) for _ in range(LONGEST)]
    follow("spans of 131,072, random", tokenizer, Span(((0, LONGEST),), 8, 200), mixed)
    follow("spans of 131,072, one token", tokenizer, Span(((0, LONGEST),), 8, 200), [50] * LONGEST)


if __name__ == "__main__":
    main()
