"""Conversations: questions and answers that were kept in their order."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

from api.fields import CollectionName, Time
from api.schemas.answers import StoredAnswer
from api.schemas.base import Request

Title = Annotated[
    str,
    Field(
        min_length=1, max_length=200, json_schema_extra={"pattern": r"^[^\x00-\x1f\x7f]*\S[^\x00-\x1f\x7f]*$"}
    ),
]


class NewConversation(Request):
    """A conversation to be begun."""

    collection: CollectionName = Field(default="default", description="What it is about.")
    title: Title | None = Field(default=None, description="By default its first question.")


class ConversationChange(Request):
    """What is to change of a conversation; what is left out stays."""

    title: Title | None = None
    shared: bool | None = Field(
        default=None, description="Whether everybody of the workspace who sees the collection may read it."
    )


class Conversation(BaseModel):
    """A conversation without its turns."""

    id: str
    title: str = Field(description="Empty until something is asked.")
    collection: str
    own: bool = Field(description="Whether it is one's own, to be continued, changed and deleted.")
    shared: bool
    turns: int
    created_at: Time
    updated_at: Time


class ConversationList(BaseModel):
    """One's own conversations, newest first."""

    conversations: list[Conversation]
    next_cursor: str | None = Field(description="For `cursor`, where there are more; else null.")


class WholeConversation(Conversation):
    """A conversation with its answers, oldest first, as far as their documents are still there."""

    answers: list[StoredAnswer]
