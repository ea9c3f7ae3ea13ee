"""Keys, users and roles in the store, and the scopes that come of them, on both kinds of database."""

from __future__ import annotations

import itertools
from datetime import timedelta

import pytest
from sqlalchemy import text

from rag.errors import Conflict, Forbidden, InvalidRequest, NotFound, Unauthenticated
from rag.principal import Principal
from rag.roles import ROLES, covers, greater, lesser
from rag.store.identities import Rights
from rag.store.people import ApiKey
from rag.store.repositories import (
    DEFAULT_SCOPE,
    Answers,
    Chunks,
    Collections,
    Credentials,
    Documents,
    Jobs,
    Keys,
    Members,
    Scope,
    Users,
    Versions,
    Workspaces,
)
from rag.store.scope import utc_now
from rag.store.session import Database


@pytest.fixture
def house(database: Database) -> dict[str, str]:
    """Two workspaces; in the first one two collections with a document each, in the other one too."""
    ids: dict[str, str] = {}
    with database.session() as session:
        for workspace in ("acme", "other"):
            ids[workspace] = Workspaces(session).create(workspace).id
            scope = Scope(ids[workspace])
            for name in ("open", "closed"):
                row = Collections(session, scope).create(name, "e5@1")
                ids[f"{workspace}/{name}"] = row.id
                document = Documents(session, scope).add(
                    row.id, title=name, filename=f"{name}.txt", sha256=f"{workspace}{name}"[:64], size=7
                )
                ids[f"{workspace}/{name}/document"] = document.id
                recipe = {"request": {"collection_id": row.id}}
                ids[f"{workspace}/{name}/answer"] = Answers(session, scope).add("why?", recipe).id
    return ids


def test_a_key_is_found_by_its_text_alone_and_kept_as_a_hash(
    database: Database, house: dict[str, str]
) -> None:
    with database.session() as session:
        made = Keys(session, Scope(house["acme"])).create("bot", "editor", created_by="test")
    assert made.text.startswith("llf_")
    assert len(made.text) >= 4 + 52
    with database.read() as session:
        who = Credentials(session).of_key(made.text)
        for wrong in (made.text[:-1], made.text + "0", made.text.upper(), "", made.row.prefixes[0]):
            with pytest.raises(Unauthenticated) as refused:
                Credentials(session).of_key(wrong)
            assert refused.value.code == "invalid_key"
        everything = " ".join(
            str(row)
            for table in ("api_keys", "key_secrets")
            for row in session.execute(text(f"SELECT * FROM {table}"))
        )
    assert (who.workspace_id, who.role, who.operator) == (house["acme"], "editor", False)
    assert made.text not in everything
    assert made.text[len(made.row.prefixes[0]) :] not in everything


def test_a_rotated_key_has_two_secrets_for_a_while_and_a_revoked_one_none(
    database: Database, house: dict[str, str]
) -> None:
    scope = Scope(house["acme"])
    with database.session() as session:
        keys = Keys(session, scope)
        first = keys.create("bot", "reader", created_by="test")
        second = keys.rotate(first.row.id, timedelta(hours=1))
        for text_ in (first.text, second.text):
            assert Credentials(session).of_key(text_).id == first.row.id
        third = keys.rotate(first.row.id, timedelta(0))
        for text_ in (first.text, second.text):
            with pytest.raises(Unauthenticated):
                Credentials(session).of_key(text_)
        assert Credentials(session).of_key(third.text).id == first.row.id
        assert keys.get(first.row.id).prefixes == third.row.prefixes
        keys.revoke(first.row.id)
        with pytest.raises(Unauthenticated):
            Credentials(session).of_key(third.text)
        with pytest.raises(Conflict, match="revoked or has expired"):
            keys.rotate(first.row.id, timedelta(hours=1))


def test_an_expired_key_lets_nobody_in_and_no_browser(database: Database, house: dict[str, str]) -> None:
    scope = Scope(house["acme"])
    with database.session() as session:
        made = Keys(session, scope).create(
            "bot", "reader", created_by="test", expires_at=utc_now() + timedelta(hours=1)
        )
        _, cookie, until = Credentials(session).sign_in(made.text, hours=12)
        assert until == made.row.expires_at
        session.get_one(ApiKey, made.row.id).expires_at = utc_now() - timedelta(seconds=1)
        session.flush()
        for attempt in (
            lambda: Credentials(session).of_key(made.text),
            lambda: Credentials(session).of_cookie(cookie),
        ):
            with pytest.raises(Unauthenticated):
                attempt()


def test_a_browser_is_signed_in_until_it_signs_out_or_its_key_ends(
    database: Database, house: dict[str, str]
) -> None:
    scope = Scope(house["acme"])
    with database.session() as session:
        keys, credentials = Keys(session, scope), Credentials(session)
        made = keys.create("bot", "reader", created_by="test")
        who, first, _ = credentials.sign_in(made.text, hours=1)
        _, second, _ = credentials.sign_in(made.text, hours=1)
        assert credentials.of_cookie(first) == who == credentials.of_cookie(second)
        credentials.sign_out(first)
        with pytest.raises(Unauthenticated):
            credentials.of_cookie(first)
        keys.revoke(made.row.id)
        with pytest.raises(Unauthenticated):
            credentials.of_cookie(second)


def test_keys_of_another_workspace_do_not_exist(database: Database, house: dict[str, str]) -> None:
    with database.session() as session:
        made = Keys(session, Scope(house["acme"])).create("bot", "reader", created_by="test")
        foreign = Keys(session, Scope(house["other"]))
        assert foreign.list() == []
        for attempt in (foreign.get, foreign.revoke, lambda key: foreign.rotate(key, timedelta(0))):
            with pytest.raises(NotFound) as missing:
                attempt(made.row.id)
            assert missing.value.code == "key_not_found"
        with pytest.raises(NotFound):
            foreign.create("x", "reader", created_by="test", collections=[house["acme/open"]])


@pytest.mark.parametrize(
    ("key", "member", "expected"),
    [
        # the key: role, collections; the member: role, role in `open`; then: role, in `open`, in `closed`
        (("admin", None), ("reader", None), ("reader", "reader", "reader")),
        (("reader", None), ("admin", None), ("reader", "reader", "reader")),
        (("editor", None), ("reader", "admin"), ("reader", "editor", "reader")),
        (("editor", None), (None, "reader"), (None, "reader", None)),
        (("admin", ["open"]), ("editor", None), (None, "editor", None)),
        (("admin", ["closed"]), (None, "admin"), (None, None, None)),
        (("admin", ["open", "closed"]), ("reader", "admin"), (None, "admin", "reader")),
        (("editor", ["open"]), None, (None, "editor", None)),
        (("editor", None), None, ("editor", "editor", "editor")),
    ],
)
def test_a_key_never_may_do_more_than_its_user(
    database: Database,
    house: dict[str, str],
    key: tuple[str, list[str] | None],
    member: tuple[str | None, str | None] | None,
    expected: tuple[str | None, ...],
) -> None:
    scope = Scope(house["acme"])
    with database.session() as session:
        user_id = None
        if member is not None:
            user_id = Users(session).create("Ada@Example.org").id
            Members(session, scope).add(user_id, member[0])
            Members(session, scope).grant(user_id, house["acme/open"], member[1])
        only = None if key[1] is None else [house[f"acme/{name}"] for name in key[1]]
        made = Keys(session, scope).create("k", key[0], created_by="test", user_id=user_id, collections=only)
        who = Credentials(session).of_key(made.text)
    found = (who.role, who.role_in(house["acme/open"]), who.role_in(house["acme/closed"]))
    assert found == expected


def test_a_user_who_is_kept_out_or_no_longer_a_member_has_no_valid_key(
    database: Database, house: dict[str, str]
) -> None:
    scope = Scope(house["acme"])
    with database.session() as session:
        users, members = Users(session), Members(session, scope)
        ada = users.create("ada@example.org", "Ada")
        members.add(ada.id, "editor")
        made = Keys(session, scope).create("k", "admin", created_by="test", user_id=ada.id, operator=True)
        assert Credentials(session).of_key(made.text).operator is False  # she is none
        users.disable(ada.id)
        with pytest.raises(Unauthenticated):
            Credentials(session).of_key(made.text)
        users.disable(ada.id, disabled=False)
        assert Credentials(session).of_key(made.text).role == "editor"
        members.remove(ada.id)
        with pytest.raises(Unauthenticated):
            Credentials(session).of_key(made.text)


def test_names_and_addresses_are_checked_and_unique(database: Database) -> None:
    with database.session() as session:
        Users(session).create("ada@example.org")
        with pytest.raises(Conflict):
            Users(session).create(" ADA@example.org")
        for wrong in ("", "ada", "a@b@c d", "a\n@b.c", "\u202e@b.c"):
            with pytest.raises(InvalidRequest):
                Users(session).create(wrong)
        Workspaces(session).create("acme")
        with pytest.raises(Conflict):
            Workspaces(session).create("acme")
        for wrong in ("", " ", "a\tb", "x" * 101):
            with pytest.raises(InvalidRequest):
                Workspaces(session).create(wrong)


def test_roles_are_ordered() -> None:
    for one, other in itertools.product(ROLES, ROLES):
        assert covers(one, other) == (ROLES.index(one) >= ROLES.index(other))
        assert covers(lesser(one, other), one) == (ROLES.index(other) >= ROLES.index(one))
        assert covers(greater(one, other), one)
        assert not covers(None, one)
        assert greater(None, one) == greater(one, None) == one


def _who(house: dict[str, str], role: str | None, **collections: str) -> Principal:
    held = {house[f"acme/{name}"]: each for name, each in collections.items()}
    return Principal("key", "key_1", "k", house["acme"], role, held)


def test_what_is_not_visible_does_not_exist(database: Database, house: dict[str, str]) -> None:
    scope = _who(house, None, open="admin").scope("reader")
    hidden = {
        kind: house[f"{workspace}{kind}"]
        for workspace in ("acme/closed", "other/open")
        for kind in ("", "/document", "/answer")
    }
    with database.session() as session:
        assert [row.name for row in Collections(session, scope).list()] == ["open"]
        assert [row.collection for row in Documents(session, scope).list()] == ["open"]
        assert Documents(session, scope).count() == 1
        assert list(Documents(session, scope).many([house["acme/closed/document"]])) == []
        assert [row.id for row in Answers(session, scope).list()] == [house["acme/open/answer"]]
        assert Answers(session, scope).get(house["acme/open/answer"])
        assert Collections(session, scope).find("closed") is None
        for attempt in (
            lambda: Collections(session, scope).get(hidden[""]),
            lambda: Documents(session, scope).get(hidden["/document"]),
            lambda: Documents(session, scope).lock(hidden["/document"]),
            lambda: Documents(session, scope).delete(hidden["/document"]),
            lambda: Versions(session, scope).list(hidden["/document"]),
            lambda: Chunks(session, scope).of_document(hidden["/document"]),
            lambda: Jobs(session, scope).of_document(hidden["/document"]),
            lambda: Answers(session, scope).get(hidden["/answer"]),
            lambda: Answers(session, scope).delete(hidden["/answer"]),
        ):
            with pytest.raises(NotFound):
                attempt()


def test_what_is_visible_may_be_touched_with_the_right_role_alone(
    database: Database, house: dict[str, str]
) -> None:
    scope = _who(house, "reader", open="editor").scope("editor")
    seen = house["acme/closed/document"]
    with database.session() as session:
        assert Documents(session, scope).lock(house["acme/open/document"])
        for attempt in (
            lambda: Documents(session, scope).lock(seen),
            lambda: Documents(session, scope).delete(seen),
            lambda: Versions(session, scope).list(seen),
            lambda: Collections(session, scope).get(house["acme/closed"]),
            lambda: Collections(session, scope).ensure("closed", "e5@1"),
            lambda: Collections(session, scope).ensure("new", "e5@1"),
        ):
            with pytest.raises(Forbidden):
                attempt()
        with pytest.raises(NotFound):
            Documents(session, scope).lock(house["other/open/document"])


def test_who_sees_nothing_and_who_sees_all() -> None:
    nothing = Principal("user", "usr_1", "u", "ws", None).scope()
    assert (nothing.visible, nothing.whole) == (frozenset(), False)
    assert Principal("user", "usr_1", "u", "ws", "admin").scope("admin") == Scope("ws")
    assert DEFAULT_SCOPE.whole
    assert Rights() == Rights(None, {})
