"""Windows: the sentences around the quotes, which are all that a small model reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rag.answer import Context
from rag.budget import CPU_CONTEXT
from rag.citations import Citation
from rag.framing import Frame
from rag.packing import Dropped, Pack, Passage, Tokenizer, pack_exactly, touching
from rag.sentences import sentence_spans


def windows_of(
    context: Context, citations: Sequence[Citation], tokenizer: Tokenizer, frame: Frame
) -> Context:
    """The ledger of a model that reads the quotes with the sentences around them and nothing else."""
    windows = [
        window(citation, context.pack, score=float(-number)) for number, citation in enumerate(citations)
    ]
    budget = min(context.pack.budget, CPU_CONTEXT)
    pack = pack_exactly(windows, tokenizer, frame, budget, sentence_spans)
    unread = [
        Dropped(segment.passage, "not_quoted", "holds no quote", segment.rank, segment.tokens)
        for segment in context.pack.segments
        if not any(touching(segment.passage, each) for each in windows)
    ]
    pack = replace(pack, mode=context.pack.mode, dropped=(*context.pack.dropped, *unread, *pack.dropped))
    return Context(pack, context.skeleton_tokens)


def window(citation: Citation, pack: Pack, *, score: float) -> Passage:
    """A quote with the sentence before and after it, as far as the pack has them."""
    start, end = citation.start_char_index, citation.end_char_index
    passage = next(
        s.passage
        for s in pack.segments
        if s.passage.document_id == citation.document_id and s.passage.start <= start and end <= s.passage.end
    )
    spans = [(passage.start + a, passage.start + b) for a, b in sentence_spans(passage.text)]
    start = max((a for a, b in spans if b <= start), default=min(start, max(passage.start, start)))
    end = min((b for a, b in spans if a >= end), default=end)
    return replace(
        passage,
        start=start,
        end=end,
        text=passage.text[start - passage.start : end - passage.start],
        score=score,
        chunk_ids=(citation.chunk_id,),
        page_start=citation.page_number,
        page_end=citation.page_number,
    )
