"""Webhooks against real receivers: signed, retried after a restart, and never sent where they must not go."""

from __future__ import annotations

import ipaddress
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from fastapi.testclient import TestClient
from standardwebhooks import Webhook as Receiver
from standardwebhooks import WebhookVerificationError

from api.app import create_app
from api.loaders import Loaders
from api.webhooks import addresses
from api.webhooks.addresses import Refused, checked_url, may_send_to, resolve
from api.webhooks.sender import Sender
from api.wiring import Service
from rag.errors import InvalidRequest
from rag.settings import Settings
from rag.store.repositories import DEFAULT_SCOPE, Webhooks
from rag.store.repositories.outbox import ATTEMPTS, BACKOFF_SECONDS, PATIENCE, Outbox
from rag.store.session import Database
from tests.api.conftest import problem, ready, until, upload, wait_for

CANARY = "zyxcanary"


class Listening:
    """A receiver that keeps what it was sent, and answers with `status`."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.status = 204
        self.location = ""
        self.url = ""
        self.paths: list[str] = []


@contextmanager
def receiving(context: ssl.SSLContext | None = None) -> Iterator[Listening]:
    """A running receiver, with TLS where a context for it is given."""
    found = Listening()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            found.paths.append(self.path)
            found.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(found.status)
            if found.location:
                self.send_header("Location", found.location)
            self.end_headers()

        do_GET = do_POST

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    found.url = f"http://127.0.0.1:{server.server_address[1]}/hook?from=longleaf"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def receiver() -> Iterator[Listening]:
    """A receiver on this machine."""
    with receiving() as found:
        yield found


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.at = datetime.now(UTC) + timedelta(seconds=1)

    def __call__(self) -> datetime:
        return self.at

    def on(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> Clock:
    """The time of the store."""
    return Clock()


@pytest.fixture
def store(database_url: str, clock: Clock) -> Iterator[Database]:
    """A store with that clock, on each kind of database."""
    opened = Database(database_url, clock=clock)
    yield opened
    opened.dispose()


def private(settings: Settings) -> Settings:
    return settings.model_copy(update={"webhook_private_addresses": True})


def hook(db: Database, url: str) -> str:
    with db.session() as session:
        return Webhooks(session, DEFAULT_SCOPE).create(url, ["document.ready"], created_by="test")[0].id


def announce(db: Database, number: int = 1) -> None:
    with db.session() as session:
        for each in range(number):
            found = Webhooks(session, DEFAULT_SCOPE).announce(
                "document.ready", f"doc_{each}", "col_1", generation=1
            )
            assert found == 1


def sent(db: Database, hook_id: str) -> list[Any]:
    with db.read() as session:
        return Webhooks(session, DEFAULT_SCOPE).deliveries(hook_id)


def test_what_becomes_of_documents_is_told_in_signed_messages(
    database_url: str, make_settings: Callable[..., Settings], loaders: Loaders, receiver: Listening
) -> None:
    settings = make_settings(database_url=database_url, webhook_private_addresses=True)
    with TestClient(create_app(settings, Service(settings, loaders))) as client:
        made = client.post("/webhooks", json={"url": receiver.url})
        assert made.status_code == 201, made.text
        secret = made.json()["secret"]
        (listed,) = client.get("/webhooks").json()["webhooks"]
        assert "secret" not in listed
        assert secret not in client.get("/webhooks").text

        document = ready(client, f"{CANARY}.md", f"# {CANARY}\n\nThe rent of the {CANARY} is due.")
        failed = wait_for(client, upload(client, f"{CANARY}.pdf", b"%PDF-1.4 " + CANARY.encode())["id"])
        assert failed["status"] == "failed"
        assert client.delete(f"/documents/{document['id']}").status_code == 204
        until(lambda: len(receiver.got) == 3)

        told: dict[str, dict[str, Any]] = {}
        for fields, body in receiver.got:
            assert Receiver(secret).verify(body, fields)
            for change in (body + b" ", body.replace(b"doc_", b"doc-")):
                with pytest.raises(WebhookVerificationError):
                    Receiver(secret).verify(change, fields)
            assert CANARY not in body.decode() + json.dumps(fields)
            message = json.loads(body)
            told[message["type"]] = message["data"]
        assert told["document.ready"]["document_id"] == document["id"]
        assert told["document.deleted"]["document_id"] == document["id"]
        assert told["document.failed"]["document_id"] == failed["id"]
        assert told["document.failed"]["error_code"] == failed["error"]["code"]
        assert receiver.paths[0] == "/hook?from=longleaf"

        # both secrets sign while the grace lasts; what is asked for by hand comes again under its id
        rotated = client.post(f"/webhooks/{listed['id']}/rotate", json={"grace_hours": 1}).json()["secret"]
        assert rotated != secret
        until(
            lambda: (
                client.get(f"/webhooks/{listed['id']}/deliveries?status=pending").json()["deliveries"] == []
            )
        )
        page = client.get(f"/webhooks/{listed['id']}/deliveries?limit=2").json()
        rest = client.get(f"/webhooks/{listed['id']}/deliveries?cursor={page['next_cursor']}").json()
        assert [len(page["deliveries"]), len(rest["deliveries"]), rest["next_cursor"]] == [2, 1, None]
        one = page["deliveries"][0]
        assert (one["status"], one["answered"], one["attempts"]) == ("delivered", 204, 1)
        assert client.post(f"/webhooks/{listed['id']}/deliveries/{one['id']}/send").status_code == 202
        until(lambda: len(receiver.got) == 4)
        fields, body = receiver.got[-1]
        assert fields["webhook-id"] == one["id"]
        for each in (secret, rotated):
            assert Receiver(each).verify(body, fields)

        # a disabled one is told nothing, and a deleted one is gone
        assert client.patch(f"/webhooks/{listed['id']}", json={"disabled": True}).json()["disabled_at"]
        problem(client.post(f"/webhooks/{listed['id']}/deliveries/{one['id']}/send"), 409, "webhook_disabled")
        ready(client, "other.md", "Another one.")
        assert len(client.get(f"/webhooks/{listed['id']}/deliveries").json()["deliveries"]) == 3
        assert client.delete(f"/webhooks/{listed['id']}").status_code == 204
        problem(client.get(f"/webhooks/{listed['id']}/deliveries"), 404, "webhook_not_found")


def test_failures_are_tried_again_with_growing_waits_and_survive_a_restart(
    store: Database, clock: Clock, settings: Settings, receiver: Listening
) -> None:
    hook_id = hook(store, receiver.url)
    receiver.status = 500
    announce(store)
    attempts: list[str] = []
    for number, wait in enumerate(BACKOFF_SECONDS, 1):
        # a new sender each time: nothing of it is kept in memory
        assert Sender(store, private(settings), sent=attempts.append).send_due() == 1
        assert Sender(store, private(settings)).send_due() == 0
        (one,) = sent(store, hook_id)
        assert (one.status, one.attempts, one.answered, one.error) == ("pending", number, 500, "status")
        with store.read() as session:
            assert Outbox(session).waiting() == 1
        clock.on(wait - 1)
        assert Sender(store, private(settings)).send_due() == 0
        clock.on(1 + wait * 0.1)
    assert Sender(store, private(settings)).send_due() == 1
    (one,) = sent(store, hook_id)
    assert (one.status, one.attempts) == ("failed", ATTEMPTS)
    assert len({fields["webhook-id"] for fields, _ in receiver.got}) == 1
    assert len(receiver.got) == ATTEMPTS
    clock.on(10)
    receiver.status = 200
    with store.session() as session:
        Webhooks(session, DEFAULT_SCOPE).resend(hook_id, one.id)
    clock.on(1)
    assert Sender(store, private(settings), sent=attempts.append).send_due() == 1
    assert sent(store, hook_id)[0].status == "delivered"
    assert attempts == [*["status"] * len(BACKOFF_SECONDS), "delivered"]
    with store.read() as session:
        assert Outbox(session).waiting() == 0
        assert Webhooks(session, DEFAULT_SCOPE).get(hook_id).failing_since is None


def test_a_sender_that_dies_in_an_attempt_has_used_it_up_and_another_goes_on(
    store: Database, clock: Clock, settings: Settings, receiver: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook_id = hook(store, receiver.url)
    announce(store)
    dying = Sender(store, private(settings))
    with monkeypatch.context() as patch:

        def die(*_: Any) -> None:
            raise RuntimeError("killed")

        patch.setattr("api.webhooks.sender.anyio.run", die)
        with pytest.raises(RuntimeError, match="killed"):
            dying.send_due()
    assert Sender(store, private(settings)).send_due() == 0
    clock.on(61)
    assert Sender(store, private(settings)).send_due() == 1
    (one,) = sent(store, hook_id)
    assert (one.status, one.attempts) == ("delivered", 2)


def test_one_message_at_a_time_goes_to_an_address_and_all_arrive(
    store: Database, settings: Settings, receiver: Listening
) -> None:
    hook_id = hook(store, receiver.url)
    announce(store, 5)
    senders = [Sender(store, private(settings)) for _ in range(3)]
    for _ in range(20):
        threads = [threading.Thread(target=each.send_due) for each in senders]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(receiver.got) == len({fields["webhook-id"] for fields, _ in receiver.got}) == 5
    assert {each.status for each in sent(store, hook_id)} == {"delivered"}


def test_lasting_failure_disables_and_so_does_gone(
    store: Database, clock: Clock, settings: Settings, receiver: Listening
) -> None:
    hook_id = hook(store, receiver.url)
    receiver.status = 503
    announce(store)
    assert Sender(store, private(settings)).send_due() == 1
    clock.on(PATIENCE.total_seconds())
    announce(store)
    while Sender(store, private(settings)).send_due():
        pass
    with store.session() as session:
        row = Webhooks(session, DEFAULT_SCOPE).get(hook_id)
        assert row.disabled_because == "failing"
        assert {each.status for each in Webhooks(session, DEFAULT_SCOPE).deliveries(hook_id)} == {"failed"}
        assert not Webhooks(session, DEFAULT_SCOPE).announce("document.ready", "d", "c", generation=1)
        Webhooks(session, DEFAULT_SCOPE).change(hook_id, disabled=False)
    receiver.status = 410
    announce(store)
    clock.on(1)
    assert Sender(store, private(settings)).send_due() == 1
    with store.read() as session:
        assert Webhooks(session, DEFAULT_SCOPE).get(hook_id).disabled_because == "gone"


def test_nothing_is_sent_to_this_machine_or_its_network(
    store: Database, clock: Clock, settings: Settings, receiver: Listening
) -> None:
    port = receiver.url.rsplit(":", 1)[1]
    hook_id = hook(store, f"http://localhost:{port}")  # a name of which only looking it up tells what it is
    announce(store)
    assert Sender(store, settings).send_due() == 1
    assert (sent(store, hook_id)[0].error, receiver.got) == ("address_not_allowed", [])
    # and with the setting the same name is sent to: the test above could have failed
    clock.on(10)
    assert Sender(store, private(settings)).send_due() == 1
    assert len(receiver.got) == 1


def test_a_redirect_is_an_answer_and_is_not_followed(
    store: Database, settings: Settings, receiver: Listening
) -> None:
    with receiving() as inside:
        receiver.status, receiver.location = 307, inside.url
        hook_id = hook(store, receiver.url)
        announce(store)
        assert Sender(store, private(settings)).send_due() == 1
        assert (len(receiver.got), inside.got) == (1, [])
        assert (sent(store, hook_id)[0].answered, sent(store, hook_id)[0].error) == (307, "status")


def test_a_name_is_looked_up_once_and_what_was_found_is_connected_to(
    store: Database, settings: Settings, receiver: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name server that answers differently the second time (DNS rebinding) is never asked a second time."""
    asked: list[str] = []
    real = socket.getaddrinfo

    def answers(host: Any, port: Any, *more: Any, **options: Any) -> Any:
        if host != "rebinding.example.org":
            return real(host, port, *more, **options)
        asked.append(host)
        address = "127.0.0.1" if len(asked) == 1 else "127.0.0.2"
        return real(address, port, *more, **options)

    monkeypatch.setattr(socket, "getaddrinfo", answers)
    port = receiver.url.split(":")[2].split("/")[0]
    hook(store, f"http://rebinding.example.org:{port}/x")
    announce(store)
    assert Sender(store, private(settings)).send_due() == 1
    assert asked == ["rebinding.example.org"]
    (fields, _), *rest = receiver.got
    assert rest == []
    assert fields["host"] == f"rebinding.example.org:{port}"
    # one private answer among public ones is enough to refuse
    both = [*real("203.0.113.7", 80), *real("10.0.0.1", 80)]
    public = [*real("8.8.8.8", 80), *real("10.0.0.1", 80)]
    for found in (both, public):
        monkeypatch.setattr(addresses.socket, "getaddrinfo", lambda *_, found=found, **__: found)
        with pytest.raises(Refused):
            resolve("x.example.org", 80, private=False)


def _certified(folder: Path, name: str) -> tuple[Path, Path]:
    """Files of an authority's certificate, and of a server's for that name with its key."""
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, each)]) for each in ("authority", name)]
    pem = serialization.Encoding.PEM
    texts = []
    for number, (key, subject) in enumerate(zip(keys, names, strict=True)):
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(names[0])
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(datetime.now(UTC) - timedelta(days=1))
            .not_valid_after(datetime.now(UTC) + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=number == 0, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
            .sign(keys[0], hashes.SHA256())
        )
        texts.append(certificate.public_bytes(pem))
    form, open_ = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (folder / "authority.pem").write_bytes(texts[0])
    (folder / "server.pem").write_bytes(texts[1] + keys[1].private_bytes(pem, form, open_))
    return folder / "authority.pem", folder / "server.pem"


def test_over_tls_the_name_is_what_the_certificate_has_to_be_for(
    store: Database, clock: Clock, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority, server = _certified(tmp_path, "hooks.example.org")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server)
    real = socket.getaddrinfo

    def answers(host: Any, port: Any, *more: Any, **options: Any) -> Any:
        here = str(host).endswith(".example.org")
        return real("127.0.0.1" if here else host, port, *more, **options)

    monkeypatch.setattr(socket, "getaddrinfo", answers)
    with receiving(context) as receiver:
        port = receiver.url.split(":")[2].split("/")[0]
        right = hook(store, f"https://hooks.example.org:{port}/")
        wrong = hook(store, f"https://other.example.org:{port}/")
        with store.session() as session:
            Webhooks(session, DEFAULT_SCOPE).announce("document.ready", "d", "c", generation=1)
        # by nobody's authority that this machine knows
        assert Sender(store, private(settings)).send_due() == 2
        assert {sent(store, each)[0].error for each in (right, wrong)} == {"tls"}
        monkeypatch.setenv("SSL_CERT_FILE", str(authority))
        clock.on(10)
        assert Sender(store, private(settings)).send_due() == 2
        assert (sent(store, right)[0].status, sent(store, wrong)[0].error) == ("delivered", "tls")
        assert len(receiver.got) == 1


@pytest.mark.parametrize(
    ("address", "anybody", "own"),
    [
        ("8.8.8.8", True, True),
        ("2606:4700::1111", True, True),
        ("127.0.0.1", False, True),
        ("10.1.2.3", False, True),
        ("192.168.0.1", False, True),
        ("172.16.0.1", False, True),
        ("::1", False, True),
        ("fd00::1", False, True),
        ("::ffff:10.0.0.1", False, True),
        ("::ffff:8.8.8.8", True, True),
        ("169.254.169.254", False, False),
        ("::ffff:169.254.169.254", False, False),
        ("fe80::1", False, False),
        ("0.0.0.0", False, False),
        ("::", False, False),
        ("224.0.0.1", False, False),
        ("ff02::1", False, False),
        ("64:ff9b::a00:1", False, False),
        ("2002:a00:1::", False, False),
        ("::10.0.0.1", False, False),
        ("100.64.0.1", False, False),
    ],
)
def test_which_addresses_may_be_sent_to(address: str, anybody: bool, own: bool) -> None:
    found = ipaddress.ip_address(address)
    assert (may_send_to(found, private=False), may_send_to(found, private=True)) == (anybody, own)


@pytest.mark.parametrize(
    "url",
    [
        *("ftp://example.org/", "file:///etc/passwd", "gopher://example.org/", "//example.org/", "http://"),
        *(
            "http://user@example.org/",
            "http://user:x@example.org/",
            "http://example.org/#x",
            "http://exa mple/",
        ),
        *("http://127.0.0.1/", "http://[::1]/", "http://[::ffff:10.0.0.1]/", "http://169.254.169.254/latest"),
        *("http://example.org:99999/", "http://[::1", "http://ex\u00e4mple.org/", "http://example.org/\n"),
    ],
)
def test_addresses_that_can_never_be_sent_to_are_refused_at_once(url: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        checked_url(url, private=False)
    assert refused.value.code == "invalid_url"


def test_a_workspace_has_no_more_webhooks_than_it_may(sqlite_client: TestClient) -> None:
    for _ in range(20):
        assert sqlite_client.post("/webhooks", json={"url": "https://example.org/"}).status_code == 201
    problem(sqlite_client.post("/webhooks", json={"url": "https://example.org/"}), 409, "too_many_webhooks")
    problem(sqlite_client.post("/webhooks", json={"url": "http://127.0.0.1/"}), 422, "invalid_url")
