"""Who may do what: keys, users, members, workspaces, and who one is oneself."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from api.fields import CollectionName, Time
from api.schemas.base import Request

Role = Literal["reader", "editor", "admin"]
Label = Annotated[
    str,
    Field(
        min_length=1, max_length=200, json_schema_extra={"pattern": r"^[^\x00-\x1f\x7f]*\S[^\x00-\x1f\x7f]*$"}
    ),
]
Rate = Annotated[int, Field(ge=0, le=2**31 - 1)]
_OF_SETTINGS = "; null for what the settings say, 0 for no limit."
WorkspaceName = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9 _.-]*$")]
Email = Annotated[str, Field(min_length=3, max_length=254, examples=["ada@example.org"])]


class NewKey(Request):
    """A key to be made."""

    name: Label = Field(description="What it is for.")
    role: Role = Field(default="reader", description="What it may do at most.")
    collections: list[CollectionName] | None = Field(
        default=None, max_length=1000, description="Names or ids of those that it is for alone; null for all."
    )
    user_id: str | None = Field(
        default=None, max_length=60, description="A member, than whom it then never may do more."
    )
    expires_in_days: Annotated[int, Field(ge=1, le=3650)] | None = Field(
        default=None, description="Days after which it is worthless; null for never."
    )
    operator: bool = Field(
        default=False, description="Whether it may do what is for operators. Only they can make such a key."
    )
    requests_per_minute: Rate | None = Field(
        default=None, description=f"Requests that it may make in a minute{_OF_SETTINGS}"
    )
    tokens_per_minute: Rate | None = Field(
        default=None, description=f"Tokens that models may read and write for it in a minute{_OF_SETTINGS}"
    )


class KeyChange(Request):
    """Limits of a key; what is left out stays."""

    requests_per_minute: Rate | None = Field(
        default=None, description=f"Requests that it may make in a minute{_OF_SETTINGS}"
    )
    tokens_per_minute: Rate | None = Field(
        default=None, description=f"Tokens that models may read and write for it in a minute{_OF_SETTINGS}"
    )


class KeyRotation(Request):
    """A key is to have another secret."""

    grace_hours: Annotated[float, Field(ge=0, le=720)] = Field(
        default=24.0, description="How long the secret of before is valid beside the new one."
    )


class Key(BaseModel):
    """An API key, without its secret."""

    id: str
    name: str
    role: Role
    operator: bool
    collections: list[str] | None = Field(description="Ids of those that it is for alone; null for all.")
    user_id: str | None
    prefixes: list[str] = Field(description="How its valid secrets begin, newest first.")
    created_at: Time
    created_by: str
    expires_at: Time | None
    revoked_at: Time | None
    last_used_at: Time | None = Field(description="To about a minute.")
    requests_per_minute: int | None
    tokens_per_minute: int | None


class KeyWithSecret(Key):
    """A key with its secret, which is shown this once."""

    key: str = Field(description="What is sent as `Authorization: Bearer …`.")


class KeyList(BaseModel):
    """Keys of a workspace, newest first."""

    keys: list[Key]


class NewUser(Request):
    """A person to be entered."""

    email: Email
    name: Label | None = None
    operator: bool = Field(default=False, description="Whether they may do what is for operators.")


class UserChange(Request):
    """What is to change of a user."""

    disabled: bool = Field(description="Whether they are kept out, with all of their keys.")


class User(BaseModel):
    """A person."""

    id: str
    email: str
    name: str
    operator: bool
    created_at: Time
    disabled_at: Time | None


class UserList(BaseModel):
    """All users, by address."""

    users: list[User]


class NewMember(Request):
    """What a person may do in the workspace from now on."""

    email: Email
    role: Role | None = Field(
        default=None, description="Role in all collections; null where only `collections` say what they may."
    )
    collections: dict[CollectionName, Role] = Field(
        default_factory=dict,
        max_length=1000,
        description="Roles by a collection's name or id, where they are more.",
    )


class Member(BaseModel):
    """A person in the workspace. `collections` are roles by id."""

    user: User
    role: Role | None
    collections: dict[str, Role]


class MemberList(BaseModel):
    """Members of the workspace, by address."""

    members: list[Member]


class NewWorkspace(Request):
    """A workspace to be made."""

    name: WorkspaceName


class WorkspaceChange(Request):
    """Limits of a workspace; what is left out stays."""

    requests_per_minute: Rate | None = Field(
        default=None, description=f"Requests that all in it may make in a minute{_OF_SETTINGS}"
    )
    tokens_per_minute: Rate | None = Field(
        default=None, description=f"Tokens that models may read and write for it in a minute{_OF_SETTINGS}"
    )
    max_documents: Rate | None = Field(
        default=None, description=f"Documents that it may hold{_OF_SETTINGS} What is there stays."
    )
    max_bytes: Annotated[int, Field(ge=0, le=2**53)] | None = Field(
        default=None, description=f"Bytes of originals that it may hold{_OF_SETTINGS} What is there stays."
    )


class Workspace(BaseModel):
    """A tenant: what is in it is invisible from every other one. Limits of null are those of the settings."""

    id: str
    name: str
    created_at: Time
    requests_per_minute: int | None
    tokens_per_minute: int | None
    max_documents: int | None
    max_bytes: int | None


class WorkspaceList(BaseModel):
    """All workspaces, by name."""

    workspaces: list[Workspace]


class SignIn(Request):
    """A key that a browser shows once."""

    key: str = Field(min_length=1, max_length=200)


class SignInWays(BaseModel):
    """How a browser can sign in beside with a key."""

    provider: str | None = Field(
        description="The provider that `GET /session/oidc` leads to, by its host's name."
    )


class ProviderAnswer(BaseModel):
    """What a provider sends a browser back with."""

    code: str | None = Field(default=None, max_length=4096, description="What it gave for us.")
    state: str | None = Field(default=None, max_length=200, description="What we gave it.")
    iss: str | None = Field(default=None, max_length=500, description="Who it is (RFC 9207).")
    error: str | None = Field(default=None, max_length=200, description="Why there is no code.")


class Me(BaseModel):
    """Who asks, and what they may do. `collections` are roles by id, beside `role` in all of them."""

    kind: Literal["local", "key", "user"]
    id: str
    name: str
    workspace: Workspace
    role: Role | None
    collections: dict[str, Role]
    operator: bool
