"""The packed forward pass against the library's own, and how texts are dealt out to passes."""

from __future__ import annotations

import math
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import BertConfig, BertModel, XLMRobertaConfig, XLMRobertaModel

from model.native import level
from rag.embedders import load_embedder
from rag.embedders.bundled import build_pipeline
from rag.embedders.light import LightPipeline
from rag.embedders.packed import PackedEncoder, passes
from rag.embedders.q4file import Q4File, find_bundled
from rag.embedders.threads import Lanes
from rag.settings import Settings

SIZES = {"hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 96}


@pytest.mark.parametrize("pooled", ["mean", "cls"])
@pytest.mark.parametrize("kind", [(BertConfig, BertModel), (XLMRobertaConfig, XLMRobertaModel)])
def test_each_text_gets_what_the_library_gives_it_alone(kind: tuple[Any, Any], pooled: Any) -> None:
    torch.manual_seed(0)
    config, model = kind
    encoder = model(config(vocab_size=100, max_position_embeddings=70, **SIZES), add_pooling_layer=False)
    encoder.eval()
    rows = [torch.randint(4, 100, (length,)).tolist() for length in (60, 33, 33, 33, 7, 1, 1)]
    with torch.inference_mode():
        expected = []
        for row in rows:
            states = encoder(torch.tensor([row])).last_hidden_state[0]
            expected.append(states[0] if pooled == "cls" else states.mean(dim=0))
        packed = PackedEncoder(encoder, pooled)(rows)
        # the library's model shares the joined weights and still computes the same
        again = encoder(torch.tensor([rows[0]])).last_hidden_state[0]
    assert torch.allclose(packed, torch.stack(expected), atol=1e-5)
    assert torch.allclose(again[0] if pooled == "cls" else again.mean(dim=0), expected[0], atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_bundled_vectors_are_those_of_the_library_in_float32(dtype: torch.dtype) -> None:
    texts = ["passage: " + "the long river flows to the sea " * n for n in (1, 1, 9, 40, 100)]
    texts += ["passage: " + text for text in ("Kernspaltung 1938", "ประเทศไทย", "x")]
    file = Q4File(find_bundled())
    library = build_pipeline(file, torch.float32, "cpu")
    expected = library.encode(texts, normalize_embeddings=True, show_progress_bar=False)
    own = build_pipeline(file, dtype, "cpu")
    first: Any = own[0]
    packed = PackedEncoder.of(own, first.encoder)
    assert packed is not None
    with torch.inference_mode():
        vectors = packed([first.unigram.encode(text, 512) for text in texts]).numpy()
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    assert float((vectors * expected).sum(axis=1).min()) > (0.99999 if dtype is torch.float32 else 0.999)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_built_without_the_library_is_the_same(dtype: torch.dtype) -> None:
    file = Q4File(find_bundled())
    pipeline = build_pipeline(file, dtype, "cpu")
    first: Any = pipeline[0]
    with_library = PackedEncoder.of(pipeline, first.encoder)
    assert with_library is not None
    light = LightPipeline(file, dtype)
    rows = [light.unigram.encode(text, 512) for text in ("x", "the long river " * 40, "Kernspaltung 1938")]
    with torch.inference_mode():
        assert torch.equal(light.packed(rows), with_library(rows))
    assert (light.dimension, light.max_seq_length) == (384, 512)


@pytest.mark.skipif(level() != "amx", reason="this processor, or this system, has no tiles")
def test_tiles_give_what_torch_gives() -> None:
    light = LightPipeline(Q4File(find_bundled()), torch.bfloat16)
    rows = [light.unigram.encode("the long river " * n, 512) for n in (100, 60, 9, 1)]
    with torch.inference_mode():
        qkv = torch.randn(sum(map(len, rows)), 3 * 384).bfloat16()
        by_tiles, by_torch = (
            way(qkv, [len(row) for row in rows]) for way in (light.packed._by_tiles, light.packed._by_torch)
        )
    torch.testing.assert_close(by_tiles, by_torch, rtol=0, atol=2e-2)


def test_the_bundled_embedder_starts_without_the_libraries_of_others() -> None:
    program = (
        "import sys; from rag.embedders import load_embedder; from rag.settings import Settings\n"
        "load_embedder(Settings(_env_file=None, device='cpu')).embed_query('x')\n"
        "print(*{'transformers', 'sentence_transformers', 'sklearn', 'scipy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@given(st.lists(st.integers(1, 512), max_size=60), st.integers(1, 2048))
def test_passes_hold_each_text_once_and_no_more_tokens_than_asked(lengths: list[int], most: int) -> None:
    dealt = list(passes(lengths, most))
    assert sorted(place for batch in dealt for place in batch) == list(range(len(lengths)))
    for batch in dealt:
        assert len(batch) == 1 or sum(lengths[place] for place in batch) <= most
    in_order = [lengths[place] for batch in dealt for place in batch]
    assert in_order == sorted(lengths, reverse=True)


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
def test_each_lane_computes_alone_and_the_caller_as_before() -> None:
    lanes, together = Lanes(), threading.Barrier(2, timeout=60)

    def work(item: int) -> tuple[int, int, int]:
        together.wait()  # ends only where two are at work at once
        return item, torch.get_num_threads(), threading.get_ident()

    found = lanes.map(work, range(6))
    assert [(item, threads) for item, threads, _ in found] == [(item, 1) for item in range(6)]
    assert len({thread for *_, thread in found}) == 2
    assert torch.get_num_threads() == 2
    assert lanes.map(lambda _: torch.get_num_threads(), [0]) == [2]
    with pytest.raises(ZeroDivisionError):
        lanes.map(lambda item: 1 // item, [1, 0, 2])


@given(st.integers(1, 100_000), st.integers(1, 64))
def test_every_lane_has_its_share(tokens: int, count: int) -> None:
    lanes = Lanes()
    lanes.count = count
    size = lanes.size(tokens, 2048)
    assert 256 <= size <= 2048
    if size > 256:
        assert math.ceil(tokens / size) % count == 0


@pytest.mark.usefixtures("two_threads")
def test_vectors_do_not_depend_on_the_lanes() -> None:
    texts = [f"passage {n} of the long river " * (1 + n % 40) for n in range(30)]
    one, two = (load_embedder(Settings(_env_file=None, dtype="float32")) for _ in range(2))
    one._lanes.count = 1  # type: ignore[attr-defined]
    assert two._lanes.count == 2  # type: ignore[attr-defined]
    assert np.allclose(one.embed_passages(texts), two.embed_passages(texts), atol=1e-5)
