"""Feedback: what people say of answers."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

from api.fields import Comment, Time
from api.schemas.base import Request

_NUMBERS = "Numbers of the citations that don't bear the answer out, or are beside the point."


class NewFeedback(Request):
    """What one says of an answer."""

    correct: bool = Field(description="Whether it was right, a refusal too.")
    comment: Comment | None = Field(default=None, description="In one's own words.")
    wrong_citations: list[Annotated[int, Field(ge=1, le=1000)]] = Field(
        default_factory=list, max_length=1000, description=_NUMBERS
    )


class Feedback(BaseModel):
    """What somebody said of an answer."""

    correct: bool
    comment: str | None
    wrong_citations: list[int] = Field(description=_NUMBERS)
    created_at: Time
    updated_at: Time


class GivenFeedback(Feedback):
    """The same, with what it is about and whose it is."""

    id: str
    answer_id: str
    question: str
    collection: str
    by: str = Field(description="Id of the key or user.")


class FeedbackList(BaseModel):
    """Feedback of the collections that one keeps, newest first."""

    feedback: list[GivenFeedback]
    next_cursor: str | None = Field(description="For `cursor`, where there are more; else null.")
