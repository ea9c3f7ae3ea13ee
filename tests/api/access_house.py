"""Two workspaces behind one service that asks for keys, and somebody of every role to try the routes as."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from fastapi.testclient import TestClient

from api.app import create_app
from api.loaders import Loaders
from api.wiring import Service
from rag.settings import Settings
from rag.store.repositories import Keys, Users, Workspaces
from rag.store.scope import Scope
from tests.api.conftest import LEASE, ready, upload
from tests.page.pdf_pages import pdf_of

CANARY = "zyxcanary"
"""Stands in every text, title, file name and question of `acme`, and nowhere else."""
ACME = ("reader", "editor", "manager", "admin")
EVERYBODY = ("nobody", "wrong_key", "stranger", *ACME, "operator")
"""`stranger` is the admin of the other workspace; `manager` the admin of one collection of `acme` and nothing
else; `operator` is at home in `acme`."""


@dataclass
class House:
    """The service, and one client for each of `EVERYBODY`."""

    app: Any
    clients: dict[str, TestClient]
    workspaces: dict[str, str]
    keys: dict[str, str]
    user_id: str
    document: dict[str, Any] = field(default_factory=dict)
    answer_id: str = ""
    webhook_id: str = ""

    def document_id(self) -> str:
        """A document of `acme` that nobody minds losing."""
        content = f"{CANARY} {secrets.token_hex(8)}"
        return str(upload(self.clients["admin"], f"{CANARY}.txt", content, collection="mill")["id"])

    def collection(self) -> str:
        """A collection of `acme` that nobody minds losing, by its id; not the `manager`'s."""
        made = self.clients["admin"].post("/collections", json={"name": f"c{secrets.token_hex(6)}"})
        return str(made.json()["id"])

    def key_id(self) -> str:
        """A key of `acme` that nobody minds losing."""
        made = self.clients["admin"].post("/keys", json={"name": f"{CANARY} key"})
        return str(made.json()["id"])

    def upload_id(self, who: str) -> str:
        """A resumable upload that somebody has begun, or the admin where they can't."""
        owner = self.clients[who if who in {"editor", "manager", "admin", "operator"} else "admin"]
        begun = owner.post(
            "/uploads",
            headers={
                "Tus-Resumable": "1.0.0",
                "Upload-Length": "9",
                "Upload-Metadata": "collection bWlsbA==",  # mill
            },
        )
        assert begun.status_code == 201, begun.text
        return str(begun.headers["location"].rsplit("/", 1)[1])

    def conversation(self, who: str) -> str:
        """A conversation of somebody's own; the admin's where they can have none."""
        client = self.clients[who if who in {*ACME, "operator"} else "admin"]
        made = client.post("/conversations", json={"collection": "mill", "title": f"{CANARY} talk"})
        return str(made.json()["id"])

    def judged(self, who: str) -> str:
        """The answer of the house, of which somebody has said something; the admin where they can't."""
        client = self.clients[who if who in {*ACME, "operator"} else "admin"]
        client.post(f"/answers/{self.answer_id}/feedback", json={"correct": True, "comment": CANARY})
        return self.answer_id

    def webhook(self) -> str:
        """A webhook of `acme` that nobody minds losing; nothing ever arrives there."""
        made = self.clients["admin"].post("/webhooks", json={"url": f"https://{CANARY}.invalid/"})
        return str(made.json()["id"])

    def delivery(self) -> str:
        """The webhook of the house, let go on, and its message."""
        self.clients["admin"].patch(f"/webhooks/{self.webhook_id}", json={"disabled": False})
        sent = self.clients["admin"].get(f"/webhooks/{self.webhook_id}/deliveries").json()["deliveries"]
        return f"{self.webhook_id} {sent[0]['id']}"

    def member_id(self) -> str:
        """A member of `acme` whom nobody minds losing."""
        email = f"{CANARY}{secrets.token_hex(4)}@example.org"
        made = self.clients["admin"].put("/members", json={"email": email, "role": "reader"})
        return str(made.json()["user"]["id"])


@contextmanager
def house(settings: Settings, loaders: Loaders, *, reads_on: bool = True) -> Iterator[House]:
    """A started service with a document and an answer in `acme`; it `reads_on` what comes later, or not."""
    service = Service(settings, loaders)
    app = create_app(settings, service)
    with TestClient(app, raise_server_exceptions=False) as nobody:
        keys: dict[str, str] = {}
        with service.db.session() as session:
            spaces = {name: Workspaces(session).create(name).id for name in ("acme", "other")}
            for role in ("reader", "editor", "admin"):
                made = Keys(session, Scope(spaces["acme"])).create(role, role, created_by="test")  # type: ignore[arg-type]
                keys[role] = made.text
            keys["operator"] = (
                Keys(session, Scope(spaces["acme"]))
                .create("operator", "admin", created_by="test", operator=True)
                .text
            )
            keys["stranger"] = (
                Keys(session, Scope(spaces["other"])).create("s", "admin", created_by="test").text
            )
            user_id = Users(session).create(f"{CANARY}@example.org", f"{CANARY} user").id
        keys["wrong_key"] = "llf_" + "0" * 60
        clients = {"nobody": nobody}
        for who, key in keys.items():
            clients[who] = TestClient(
                app, raise_server_exceptions=False, headers={"Authorization": f"Bearer {key}"}
            )
        found = House(app, clients, spaces, keys, user_id)
        admin = clients["admin"]
        found.webhook_id = found.webhook()
        pages = [LEASE.replace("mill", CANARY), f"The second page of the {CANARY}."]
        found.document = ready(admin, f"{CANARY}.pdf", pdf_of(pages), collection="mill")
        made = admin.post("/keys", json={"name": "manager", "role": "admin", "collections": ["mill"]})
        clients["manager"] = TestClient(
            app, raise_server_exceptions=False, headers={"Authorization": f"Bearer {made.json()['key']}"}
        )
        question = {"question": f"What is the rent of the {CANARY}?", "collection": "mill", "mode": "quotes"}
        asked = admin.post("/query", json=question)
        found.answer_id = asked.json()["answer_id"]
        if not reads_on:
            service.worker.wait().stop()
        yield found
