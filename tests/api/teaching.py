"""Small Llama 3 checkpoints that were taught a few dialogues by heart: real weights, real attention, and no
more to say than that."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import LlamaForCausalLM

from model.text.chat import Llama3Chat
from model.text.vocabulary import tokenizer_from_folder
from tests.model.checkpoints import CONTROL, LLAMA3_TEMPLATE, tiny_model, tiny_tokenizer

_WIDTH = 512
_SURE = 20.0
"""Logit of a token that was learnt; those of all others are 0 there."""


@dataclass(frozen=True)
class Lesson:
    """A dialogue as the engine renders it, and what is to be written after it."""

    messages: Sequence[dict[str, Any]]
    answer: str
    tools: Sequence[dict[str, Any]] = ()


def teach(folder: Path, lessons: Sequence[Lesson]) -> Path:
    """Write a checkpoint that greedily answers each of the lessons."""
    texts = [json.dumps([lesson.messages, lesson.tools], indent=4) + lesson.answer for lesson in lessons]
    vocabulary = _tokenizer(texts)
    folder.mkdir(parents=True)
    vocabulary.save(str(folder / "tokenizer.json"))
    settings = {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>", "chat_template": LLAMA3_TEMPLATE}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    tokenizer = tokenizer_from_folder(folder)
    chat = Llama3Chat(tokenizer)
    pairs = []
    for lesson in lessons:
        prompt = chat.render(lesson.messages, tools=lesson.tools)
        answer = [*tokenizer.encode(lesson.answer), tokenizer.control["<|eot_id|>"]]
        pairs.append((prompt, answer))
    model = tiny_model(vocab_size=vocabulary.get_vocab_size(), hidden_size=_WIDTH, intermediate_size=256)
    _learn(model, pairs)
    model.save_pretrained(folder)
    return folder


def _tokenizer(texts: Sequence[str]) -> Tokenizer:
    like = tiny_tokenizer()
    tokenizer = Tokenizer(models.BPE(ignore_merges=True))
    tokenizer.pre_tokenizer, tokenizer.decoder = like.pre_tokenizer, like.decoder
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=2000, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_special_tokens(CONTROL)
    return tokenizer


def _learn(model: LlamaForCausalLM, pairs: Sequence[tuple[list[int], list[int]]]) -> None:
    """Choose the head so that each answer's tokens are the likeliest after the hidden states before them.

    A random transformer's states of different contexts are different; as there are fewer of them than a state
    has numbers, the equations have a solution.
    """
    states, targets = [], []
    for prompt, answer in pairs:
        with torch.no_grad():
            found = model.model(torch.tensor([prompt + answer])).last_hidden_state[0]
        states.append(found[len(prompt) - 1 : -1])
        targets += answer
    known = torch.cat(states).double()
    wanted = torch.zeros(len(targets), model.config.vocab_size, dtype=torch.double)
    wanted[torch.arange(len(targets)), torch.tensor(targets)] = _SURE
    head = torch.linalg.lstsq(known, wanted, driver="gelsd").solution
    assert torch.allclose(known @ head, wanted, atol=1.0), "the lessons are too alike for so small a model"
    with torch.no_grad():
        model.lm_head.weight.copy_(head.T.float())
