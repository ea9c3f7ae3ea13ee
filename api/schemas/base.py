"""What all bodies share: strictness, and the form of an error."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Request(BaseModel):
    """A request's body: a member that is not known, or of another type, is an error, so that a slip of the
    pen is noticed."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True, strict=True)


class Problem(BaseModel):
    """An error (RFC 9457). `code` is stable and meant for programs; some codes bring further members."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "examples": [
                {
                    "type": "urn:longleaf:problem:document_not_found",
                    "title": "Document not found",
                    "status": 404,
                    "detail": "There is no document 'doc_01kv9m3e5c7x2n8q4t6w0z1y3b'.",
                    "code": "document_not_found",
                    "instance": "/documents/doc_01kv9m3e5c7x2n8q4t6w0z1y3b",
                }
            ]
        },
    )

    type: str = Field(description="URN that names the kind of problem.")
    title: str = Field(description="The kind of problem in a few words.")
    status: int = Field(description="The HTTP status again.")
    detail: str = Field(description="What was wrong, with which value, and what to do.")
    code: str = Field(description="Stable code, in snake_case.")
    instance: str = Field(description="Path of the request.")
