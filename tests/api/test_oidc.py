"""Signing in with an identity provider: with a real one as people do, and with a forger as attackers do."""

from __future__ import annotations

import base64
import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from fastapi.testclient import TestClient
from pydantic import SecretStr

from api.app import create_app
from api.loaders import Loaders
from api.oidc.config import BadSignIn, Grant, grants_of, sign_in_config
from api.wiring import Service
from rag.settings import Settings
from rag.store.repositories import Keys, Members, Scope, Users, Workspaces
from tests.api.conftest import problem
from tests.api.providers import (
    CLIENT,
    PUBLIC,
    SECRET,
    Forger,
    browser_at_provider,
    forging,
    real_provider,
    sign_in_at,
    sign_out_at,
)

ACCOUNTS: dict[str, dict[str, Any]] = {
    "ada": {"email": "Ada@Example.org", "email_verified": True, "name": "Ada", "groups": ["editors"]},
    "bob": {"email": "bob@example.org", "email_verified": False, "name": "Bob", "groups": []},
    "mallory": {"email": "boss@example.org", "email_verified": False, "name": "Mallory"},
    "boss": {"email": "boss@example.org", "email_verified": True, "name": "Boss"},
    "guest": {"email": "guest@else.org", "email_verified": True, "name": "Guest", "groups": ["visitors"]},
}
GRANTS = "@example.org=acme:reader; editors=acme:editor"


@pytest.fixture(scope="module")
def issuer() -> Iterator[str]:
    """A real provider."""
    with real_provider(ACCOUNTS) as found:
        yield found


@contextmanager
def serving(settings: Settings, loaders: Loaders) -> Iterator[tuple[Service, TestClient]]:
    """A started service of two workspaces, and a browser at it."""
    service = Service(settings, loaders)
    with TestClient(create_app(settings, service), base_url=PUBLIC, raise_server_exceptions=False) as browser:
        with service.db.session() as session:
            for name in ("acme", "other"):
                Workspaces(session).create(name)
        yield service, browser


@pytest.fixture
def make(make_settings: Callable[..., Settings], tmp_path: Path) -> Callable[..., Settings]:
    """Settings for a provider; the secret is in a file."""
    secret = tmp_path / "secret"
    secret.write_text(f"{SECRET}\n")

    def made(issuer: str, **more: Any) -> Settings:
        values = {
            "auth": "on",
            "public_url": PUBLIC,
            "oidc_issuer": issuer,
            "oidc_client_id": CLIENT,
            "oidc_client_secret_file": str(secret),
            "oidc_grants": GRANTS,
            "ingest_workers": 0,
        }
        return make_settings(**(values | more))

    return made


def begin(browser: TestClient, **query: str) -> str:
    """Where the service sends a browser that wants to sign in."""
    response = browser.get("/session/oidc", params=query, follow_redirects=False)
    assert response.status_code == 303, response.text
    return str(response.headers["location"])


def back(browser: TestClient, address: str, **headers: str) -> httpx.Response:
    """The browser comes back from the provider."""
    return browser.get(address, headers=headers, follow_redirects=False)


def sign_in(browser: TestClient, login: str, **query: str) -> httpx.Response:
    return back(browser, sign_in_at(begin(browser, **query), login))


def test_people_sign_in_with_a_real_provider(
    issuer: str,
    make: Callable[..., Settings],
    database_url: str,
    loaders: Loaders,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    with serving(make(issuer, database_url=database_url), loaders) as (service, browser):
        assert browser.get("/session").json() == {"provider": "127.0.0.1"}
        problem(browser.get("/me"), 401, "unauthenticated")

        response = sign_in(browser, "ada")
        assert (response.status_code, response.headers["location"]) == (303, "/")
        cookie = next(c for c in response.headers.get_list("set-cookie") if c.startswith("longleaf_session="))
        assert "httponly" in cookie.lower()
        assert "samesite=strict" in cookie.lower()
        me = browser.get("/me").json()
        assert (me["kind"], me["name"], me["role"]) == ("user", "Ada", "editor")
        assert (me["workspace"]["name"], me["operator"]) == ("acme", False)
        # the same rules as of the sign-in with a key: a change needs to come from our own page
        problem(browser.post("/collections", json={"name": "c"}), 403, "cross_origin")
        own = {"Origin": PUBLIC, "Sec-Fetch-Site": "same-origin"}
        assert browser.post("/collections", json={"name": "c"}, headers=own).status_code == 201
        with service.db.read() as session:
            user = Users(session).get("ada@example.org")
            assert (user.issuer, user.subject) == (issuer, "ada")

        # the same person again is the same user
        assert sign_in(browser, "ada").status_code == 303
        assert browser.get("/me").json()["id"] == user.id
        # signed out is signed out, also for who kept the cookie
        kept = browser.cookies["longleaf_session"]
        assert browser.delete("/session", headers=own).status_code == 204
        browser.cookies.clear()
        problem(browser.get("/me", headers={"Cookie": f"longleaf_session={kept}"}), 401, "signed_out")

        # no checked address, no group: nobody here; and the address is not believed
        problem(sign_in(browser, "bob"), 403, "not_admitted")
        problem(sign_in(browser, "guest"), 403, "not_admitted")
        with service.db.session() as session:
            boss = Users(session).create("boss@example.org", operator=True)
            Members(session, Scope(Workspaces(session).get("other").id)).add(boss.id, "admin")
        problem(sign_in(browser, "mallory"), 403, "not_admitted")
        # whoever was entered beforehand is who was meant, in the workspace that they wish for
        assert sign_in(browser, "boss", workspace="other").status_code == 303
        me = browser.get("/me").json()
        assert (me["id"], me["role"], me["workspace"]["name"], me["operator"]) == (
            boss.id,
            "admin",
            "other",
            True,
        )
        browser.cookies.clear()
        assert sign_in(browser, "boss").status_code == 303
        me = browser.get("/me").json()
        assert (me["role"], me["workspace"]["name"]) == ("reader", "acme")
        browser.cookies.clear()
        problem(sign_in(browser, "ada", workspace="other"), 404, "workspace_not_found")
        with service.db.session() as session:
            Users(session).disable(user.id)
        problem(sign_in(browser, "ada"), 403, "not_admitted")
        with service.db.session() as session:
            admin = Keys(session, Scope(Workspaces(session).get("acme").id)).create(
                "a", "admin", created_by="t"
            )
        entries = browser.get("/audit", headers={"Authorization": f"Bearer {admin.text}"}).json()["entries"]
        assert [e["actor"] for e in entries if e["action"] == "GET /session/oidc/callback"][:1] == [user.id]
    for said in (SECRET, kept, "ada@example.org", "Ada@Example.org"):
        assert said not in caplog.text


def test_who_signs_out_is_signed_out_at_the_provider_too(
    issuer: str, make: Callable[..., Settings], loaders: Loaders
) -> None:
    own = {"Origin": PUBLIC, "Sec-Fetch-Site": "same-origin"}
    with serving(make(issuer), loaders) as (_, browser), browser_at_provider() as there:
        response = back(browser, sign_in_at(begin(browser), "ada", there))
        kept = next(c for c in response.headers.get_list("set-cookie") if c.startswith("longleaf_id_token="))
        for rule in ("httponly", "samesite=strict", "path=/session/oidc/sign-out"):
            assert rule in kept.lower()
        # signed out here alone, the provider lets the same browser in again without a question
        assert browser.delete("/session", headers=own).status_code == 204
        assert back(browser, sign_in_at(begin(browser), None, there)).status_code == 303
        assert browser.get("/me").json()["name"] == "Ada"

        assert browser.delete("/session", headers=own).status_code == 204
        out = browser.get("/session/oidc/sign-out", follow_redirects=False)
        assert out.status_code == 303
        asked = parse_qs(urlsplit(out.headers["location"]).query)
        assert jwt.decode(asked["id_token_hint"][0], options={"verify_signature": False})["sub"] == "ada"
        assert sign_out_at(there, out.headers["location"]) == f"{PUBLIC}/"
        with pytest.raises(AssertionError, match="asks who it is"):
            sign_in_at(begin(browser), None, there)

        # the token is gone with it; without one the provider still comes back to the page and nowhere else
        bare = browser.get(
            "/session/oidc/sign-out", params={"to": "//evil.example.org"}, follow_redirects=False
        )
        asked = parse_qs(urlsplit(bare.headers["location"]).query)
        assert asked == {"client_id": [CLIENT], "post_logout_redirect_uri": [f"{PUBLIC}/"]}
        assert sign_out_at(there, bare.headers["location"]) == f"{PUBLIC}/"


def test_a_provider_without_a_sign_out_leads_back_to_the_page(
    make: Callable[..., Settings], forgery: tuple[Loaders, Forger]
) -> None:
    loaders, forger = forgery
    with serving(make(forger.issuer), loaders) as (_, browser):
        forged(browser, forger)
        out = browser.get("/session/oidc/sign-out", follow_redirects=False)
        assert (out.status_code, out.headers["location"]) == (303, "/")


def test_nobody_is_sent_to_sign_out_without_tls(
    make: Callable[..., Settings], forgery: tuple[Loaders, Forger]
) -> None:
    loaders, forger = forgery
    forger.description["end_session_endpoint"] = "http://evil.example.org/out"
    with serving(make(forger.issuer), loaders) as (_, browser):
        problem(browser.get("/session/oidc/sign-out"), 503, "provider_unavailable")
        page = browser.get("/session/oidc/sign-out", headers={"Accept": "text/html"}, follow_redirects=False)
        assert (page.status_code, page.headers["location"]) == (303, "/")


def test_roles_of_grants_go_with_the_group(
    make: Callable[..., Settings], forgery: tuple[Loaders, Forger]
) -> None:
    loaders, forger = forgery
    grants = "team=acme:editor; team=other:reader; *=acme:reader"
    with serving(make(forger.issuer, oidc_grants=grants), loaders) as (service, browser):
        forger.token = lambda f, nonce: f.signed(nonce, groups=["team"], email=None)
        assert forged(browser, forger).status_code == 303
        me = browser.get("/me").json()
        assert (me["workspace"]["name"], me["role"]) == ("acme", "editor")
        with service.db.read() as session:
            assert len(Users(session).workspaces(me["id"])) == 2
            assert Users(session).get(me["id"]).email.endswith("@unknown.invalid")
        first = browser.cookies["longleaf_session"]
        browser.cookies.clear()
        forger.token = lambda f, nonce: f.signed(nonce, groups=[], email=None)
        assert forged(browser, forger).status_code == 303
        assert browser.get("/me").json()["role"] == "reader"
        with service.db.read() as session:
            assert len(Users(session).workspaces(me["id"])) == 1
        # and for browsers that signed in before as well
        browser.cookies.clear()
        assert browser.get("/me", headers={"Cookie": f"longleaf_session={first}"}).json()["role"] == "reader"


@pytest.fixture
def forgery(loaders: Loaders) -> Iterator[tuple[Loaders, Forger]]:
    """The models, and a running forger."""
    with forging() as forger:
        yield loaders, forger


def forged(browser: TestClient, forger: Forger, **answer: str) -> httpx.Response:
    """Sign in at the forger, which answers with `answer`; the code is any."""
    asked = parse_qs(urlsplit(begin(browser)).query)
    forger.nonce = asked["nonce"][0]
    assert asked["code_challenge_method"] == ["S256"]
    query = {"code": "any", "state": asked["state"][0], **answer}
    return browser.get("/session/oidc/callback", params=query, follow_redirects=False)


def _none(forger: Forger, nonce: str) -> str:
    return jwt.encode(forger.claims(nonce), None, "none", {"kid": "one"})


def _by_shared_secret(forger: Forger, nonce: str) -> str:
    """Signed with what everybody can read, the provider's public key, as if it were a secret (by hand: no
    library does it)."""
    import hashlib  # noqa: PLC0415
    import hmac  # noqa: PLC0415

    from cryptography.hazmat.primitives import serialization as how  # noqa: PLC0415

    pem = forger.key.public_key().public_bytes(how.Encoding.PEM, how.PublicFormat.SubjectPublicKeyInfo)

    def part(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    head = part(json.dumps({"alg": "HS256", "kid": "one"}).encode())
    text = f"{head}.{part(json.dumps(forger.claims(nonce)).encode())}"
    return f"{text}.{part(hmac.new(pem, text.encode(), hashlib.sha256).digest())}"


def _by_another_key(forger: Forger, nonce: str) -> str:
    other = rsa.generate_private_key(65537, 2048)
    return jwt.encode(forger.claims(nonce), other, "RS256", {"kid": "one"})


def _changed(forger: Forger, nonce: str) -> str:
    head, body, signature = forger.signed(nonce).split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    claims["sub"] = "boss"
    body = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    return f"{head}.{body}.{signature}"


ATTACKS: dict[str, Callable[[Forger, str], str]] = {
    "nonce of another attempt": lambda f, _nonce: f.signed("another"),
    "no nonce": lambda f, _nonce: f.signed(None),
    "audience": lambda f, nonce: f.signed(nonce, aud="another client"),
    "audiences without us": lambda f, nonce: f.signed(nonce, aud=["a", "b"]),
    "authorised party": lambda f, nonce: f.signed(nonce, aud=[CLIENT, "b"], azp="b"),
    "several audiences, no party": lambda f, nonce: f.signed(nonce, aud=[CLIENT, "b"]),
    "expired": lambda f, nonce: f.signed(nonce, exp=int(time.time()) - 3600),
    "no end": lambda f, nonce: f.signed(nonce, exp=None),
    "from the future": lambda f, nonce: f.signed(nonce, iat=int(time.time()) + 3600),
    "issuer": lambda f, nonce: f.signed(nonce, iss="https://other.example.org"),
    "no subject": lambda f, nonce: f.signed(nonce, sub=None),
    "alg none": _none,
    "alg HS256 with the public key": _by_shared_secret,
    "another key": _by_another_key,
    "unknown key": lambda f, nonce: f.signed(nonce, kid="two"),
    "changed": _changed,
    "no token at all": lambda _f, _nonce: "",
}


def test_tokens_of_attackers_let_nobody_in(
    make: Callable[..., Settings], forgery: tuple[Loaders, Forger]
) -> None:
    loaders, forger = forgery
    with serving(make(forger.issuer), loaders) as (service, browser):
        for name, token in ATTACKS.items():
            forger.token = token
            response = forged(browser, forger)
            assert response.status_code == 401, name
            assert response.json()["code"] == "bad_id_token", name
            assert "longleaf_session" not in browser.cookies, name
            problem(browser.get("/me"), 401, "unauthenticated")
        with service.db.read() as session:
            assert Users(session).count() == 0
        # and the same forger with a token as it should be lets in: the attacks failed for what they changed
        forger.token = lambda f, nonce: f.signed(nonce)
        assert forged(browser, forger).status_code == 303
        assert browser.get("/me").json()["name"] == "eve@example.org"


def test_answers_that_this_browser_did_not_ask_for_let_nobody_in(
    make: Callable[..., Settings], forgery: tuple[Loaders, Forger]
) -> None:
    loaders, forger = forgery
    with serving(make(forger.issuer), loaders) as (_, browser):
        # wrong state, none, none begun, and that of another browser's attempt
        problem(forged(browser, forger, state="wrong"), 422, "sign_in_expired")
        begin(browser)
        problem(browser.get("/session/oidc/callback?code=x"), 422, "sign_in_expired")
        state = parse_qs(urlsplit(begin(browser)).query)["state"][0]
        browser.cookies.clear()
        problem(browser.get(f"/session/oidc/callback?code=x&state={state}"), 422, "sign_in_expired")
        begin(browser)
        problem(browser.get(f"/session/oidc/callback?code=x&state={state}"), 422, "sign_in_expired")
        # mixed up: the answer of another provider (RFC 9207), and none where ours says that it names itself
        problem(forged(browser, forger, iss="https://evil.example.org"), 401, "wrong_issuer")
        assert forger.redeemed == []
        assert forged(browser, forger, iss=forger.issuer).status_code == 303
        assert len(forger.redeemed) == 1
        # a finished attempt is over
        problem(browser.get(f"/session/oidc/callback?code=x&state={state}"), 422, "sign_in_expired")
        # whoever says no at the provider is told so
        problem(forged(browser, forger, code="", error="access_denied"), 401, "sign_in_refused")
    forger.description = {"authorization_response_iss_parameter_supported": True}
    with serving(make(forger.issuer, data_dir=make(forger.issuer).data_dir / "2"), loaders) as (_, browser):
        problem(forged(browser, forger), 401, "wrong_issuer")


def test_nobody_is_sent_elsewhere(make: Callable[..., Settings], forgery: tuple[Loaders, Forger]) -> None:
    loaders, forger = forgery
    with serving(make(forger.issuer), loaders) as (_, browser):
        for name in ("next", "return_to", "redirect_uri", "RelayState"):
            address = begin(browser, **{name: "https://evil.example.org"})
            assert address.startswith(f"{forger.issuer}/auth?")
            assert "evil" not in address
            # neither does a `Host` header move the address that the provider sends back to
            assert parse_qs(urlsplit(address).query)["redirect_uri"] == [f"{PUBLIC}/session/oidc/callback"]
            response = forged(browser, forger, **{name: "https://evil.example.org"})
            assert (response.status_code, response.headers["location"]) == (303, "/")
        # a browser sees the page with the code of the problem, and nothing that an attacker chose
        begin(browser)
        response = back(browser, "/session/oidc/callback?code=x&state=//evil.example.org", accept="text/html")
        assert (response.status_code, response.headers["location"]) == (303, "/#sign-in=sign_in_expired")


@pytest.mark.parametrize(
    ("description", "says"),
    [
        ({"issuer": "https://other.example.org"}, "another issuer"),
        ({"token_endpoint": "http://203.0.113.9/token"}, "an address without TLS"),
        ({"jwks_uri": None}, "no keys"),
    ],
)
def test_a_provider_whose_description_is_wrong_is_not_used(
    make: Callable[..., Settings],
    forgery: tuple[Loaders, Forger],
    description: dict[str, Any],
    says: str,
) -> None:
    loaders, forger = forgery
    forger.description = description
    with serving(make(forger.issuer), loaders) as (_, browser):
        problem(browser.get("/session/oidc"), 503, "provider_unavailable")
        assert says


def test_without_a_provider_there_is_none(sqlite_client: TestClient) -> None:
    assert sqlite_client.get("/session").json() == {"provider": None}
    problem(sqlite_client.get("/session/oidc"), 409, "no_provider")
    problem(sqlite_client.get("/session/oidc/sign-out"), 409, "no_provider")
    problem(sqlite_client.get("/session/oidc/callback?code=x&state=y"), 409, "no_provider")


def test_settings_that_can_not_be_right_are_refused_at_the_start(
    make: Callable[..., Settings], tmp_path: Path
) -> None:
    good = make("https://id.example.org")
    assert sign_in_config(good) is not None
    assert sign_in_config(make("")) is None
    (tmp_path / "empty").write_text("\n")
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"auth": "off"}, "LONGLEAF_AUTH"),
        ({"oidc_client_id": ""}, "CLIENT_ID"),
        ({"public_url": ""}, "PUBLIC_URL"),
        ({"public_url": "http://longleaf.example.org"}, "https"),
        ({"oidc_issuer": "http://id.example.org"}, "https"),
        ({"oidc_issuer": "https://id.example.org?x=1"}, "query"),
        ({"oidc_scopes": "email"}, "openid"),
        ({"oidc_client_secret": SecretStr("x")}, "both"),
        ({"oidc_client_secret_file": str(tmp_path / "missing")}, "can't be read"),
        ({"oidc_client_secret_file": str(tmp_path / "empty")}, "empty"),
        ({"oidc_grants": "@example.org=acme:owner"}, "WHO=WORKSPACE:ROLE"),
        ({"oidc_grants": "staff"}, "WHO=WORKSPACE:ROLE"),
    ]
    for changed, said in wrong:
        values = good.model_dump() | changed
        with pytest.raises(BadSignIn, match=said):
            sign_in_config(Settings(_env_file=None, **values))
    assert grants_of("cn=eds,ou=x=a b:editor;@X.org=a:reader ;*=o:admin") == (
        Grant("a b", "editor", group="cn=eds,ou=x"),
        Grant("a", "reader", domain="x.org"),
        Grant("o", "admin"),
    )
