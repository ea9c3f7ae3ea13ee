"""Every exception that leaves this package, in one tree."""

from __future__ import annotations


class ModelError(Exception):
    """Base of all errors of the engine; the message names the value and what to do about it."""


class CheckpointError(ModelError):
    """A model file or folder is missing, damaged, or of a kind that this engine does not read."""


class TokenizerError(ModelError):
    """The checkpoint's tokenizer is missing or is not one that can be rebuilt exactly."""


class ChatFormatError(ModelError):
    """The dialogue cannot be rendered: unknown chat template, unknown role, or a malformed message."""


class ParameterError(ModelError, ValueError):
    """A sampling or loading parameter is out of range; names the parameter, its value and its limits."""


class PromptError(ModelError, ValueError):
    """The prompt is empty, holds ids outside the vocabulary, or does not fit the context."""


class PromptTooLongError(PromptError):
    """The prompt leaves no room for a single new token.

    Attributes:
        tokens: length of the prompt.
        limit: the longest prompt that this model reads.
    """

    def __init__(self, tokens: int, limit: int) -> None:
        super().__init__(f"the prompt has {tokens} tokens; this model reads at most {limit}: shorten it")
        self.tokens = tokens
        self.limit = limit


class HardwareError(ModelError):
    """The requested device or dtype does not exist or does not work on this machine."""


class StepError(ModelError):
    """A forward pass failed; the requests in it end with this, the engine goes on."""


class EngineDeadError(ModelError):
    """The engine has failed for good or was closed; it takes no more requests."""


class CacheError(ModelError):
    """What was to be removed from the cache on disk is still there; names the folder and the cause."""


class ConstraintError(ModelError):
    """A constraint on the answer cannot be followed: its library is missing, or it reached a dead end."""
