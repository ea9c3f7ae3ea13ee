"""Reranking: by sentences, and by a cross-encoder from a folder; off unless it is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from filled_store import Library

from rag.embedders import Embedder
from rag.errors import Unavailable
from rag.index.live import LiveIndexes
from rag.rerank import CrossEncoderReranker, SentenceReranker, load_reranker
from rag.retrieval import Retriever, SearchScope
from rag.settings import Settings
from rag.store.session import Database
from rag.store.tables import DEFAULT_WORKSPACE

WORDS = ["river", "engine", "condenser", "steam", "nile", "sea", "the", "of"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cross-encoder of one tiny layer with random weights, written as transformers does."""
    import torch  # noqa: PLC0415
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast  # noqa: PLC0415

    folder = tmp_path_factory.mktemp("cross-encoder")
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    shape = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=64,
        num_labels=1,
    )
    BertForSequenceClassification(shape).save_pretrained(folder)
    return folder


def test_a_sentence_decides_that_a_long_chunk_hides(embedder: Embedder) -> None:
    hidden = (
        "Ships were built of oak. Taxes rose. James Watt added a separate condenser in 1765. Wine was dear."
    )
    texts = ["Engines have many parts, and condensers are one of them.", hidden, ""]
    scores = SentenceReranker(embedder).scores(
        "When did James Watt add a separate condenser?", texts, np.zeros(3, dtype=np.float32), 0.03
    )
    assert scores.shape == (3,)
    assert int(np.argmax(scores)) == 1


def test_a_cross_encoder_orders_as_its_own_scores_do(
    checkpoint: Path, database: Database, embedder: Embedder, settings: Settings
) -> None:
    from sentence_transformers import CrossEncoder  # noqa: PLC0415

    library = Library.open(database, embedder)
    texts = ["the nile", "the sea of steam", "engine condenser", "river river river"]
    library.add("Texts", texts)
    scope = SearchScope(DEFAULT_WORKSPACE, library.collection_id)
    indexes = LiveIndexes(database, settings)
    reranker = load_reranker(settings.model_copy(update={"reranker": str(checkpoint)}), embedder)
    assert isinstance(reranker, CrossEncoderReranker)
    plain = Retriever(database, indexes, embedder).search("steam of the river\ud800", scope)
    found = Retriever(database, indexes, embedder, reranker).search("steam of the river\ud800", scope)
    values = CrossEncoder(str(checkpoint)).predict([("steam of the river?", text) for text in texts])
    assert [c.text for c in found] == [texts[at] for at in np.argsort(-values, kind="stable")]
    # the order is new, the scores say as before how good the best is
    assert [c.score for c in found] == [c.score for c in plain]
    first = Retriever(database, indexes, embedder, reranker).search("steam of the river", scope, top_k=1)
    assert [c.text for c in first] == [found[0].text]


def test_none_is_the_default_and_what_does_not_load_is_said(
    settings: Settings, embedder: Embedder, tmp_path: Path
) -> None:
    assert load_reranker(settings, embedder) is None
    assert isinstance(
        load_reranker(settings.model_copy(update={"reranker": "sentences"}), embedder), SentenceReranker
    )
    for name in (str(tmp_path), "nobody/nothing"):
        missing = CrossEncoderReranker(name)
        with pytest.raises(Unavailable, match="LONGLEAF_RERANKER") as caught:
            missing.scores("a", ["b"], np.zeros(1, dtype=np.float32), 1.0)
        assert caught.value.code == "reranker_missing"
