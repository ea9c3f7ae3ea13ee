"""Requests of every shape that the schema allows, and many that it does not, against a real server: no 500,
no answer that is not documented."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import CHECKS, load_all_checks

from api.app import create_app
from api.first_key import FILE_NAME
from api.loaders import Loaders
from api.wiring import Service
from rag.roles import Role
from rag.settings import Settings
from rag.store.repositories import DEFAULT_SCOPE, Keys, Workspaces
from rag.store.scope import Scope
from tests.api.conftest import listening, ready

EXAMPLES = 25
"""Requests of each route and kind; by hand, 500 of them are worth the wait now and then."""

load_all_checks()
SEMANTIC = [CHECKS.get_one("positive_data_acceptance")]
"""Left out: a well-formed request can name a collection that is not there."""

BYTES = [CHECKS.get_one("negative_data_rejection")]
"""Left out where files are sent: all is bytes there, so a file of a wrong type is a file all the same."""


ROLES = ("nobody", "stranger", "reader", "editor", "admin")
TURNS = cycle(ROLES)
"""Whose turn it is to send the next request."""
MANNERS: dict[str, Any] = {
    "deadline": None,
    "derandomize": True,
    "phases": [Phase.explicit, Phase.generate],
    "suppress_health_check": list(HealthCheck),
}

METHODS = [CHECKS.get_one("unsupported_method")]
"""Left out for who has no key: 401 comes before 405, so that a stranger is not told what there is."""


@schemathesis.serializer("application/offset+octet-stream")
def _as_bytes(_: schemathesis.SerializationContext, value: object) -> bytes:
    """Bytes of a resumable upload, whatever was made up for them."""
    return value if isinstance(value, bytes) else str(value).encode()


schema = schemathesis.openapi.from_dict(create_app(Settings(_env_file=None, auth="on")).openapi())


@dataclass(frozen=True)
class Served:
    """A real server, a document that it holds, and keys: the operator's, and one of each role."""

    url: str
    document_id: str
    keys: dict[str, str]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, loaders: Loaders) -> Iterator[Served]:
    """One server for all requests."""
    found = Settings(_env_file=None, data_dir=tmp_path_factory.mktemp("schema"), auth="on")
    service = Service(found, loaders)
    with pytest.MonkeyPatch.context() as patch, listening(create_app(found, service)) as port:
        # webhooks are made here to addresses that are made up: nobody is asked for them
        patch.setattr("api.webhooks.sender.Sender.send_due", lambda _sender: 0)
        url = f"http://127.0.0.1:{port}"
        key = (found.data_dir / FILE_NAME).read_text().strip()
        keys = {"operator": key}
        with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=60) as client:
            document = ready(client)["id"]
        with service.db.session() as session:
            here, there = Keys(session, DEFAULT_SCOPE), Workspaces(session).create("elsewhere").id
            roles: tuple[Role, ...] = ("reader", "editor", "admin")
            keys |= {role: here.create(role, role, created_by="test").text for role in roles}
            keys["stranger"] = Keys(session, Scope(there)).create("there", "admin", created_by="test").text
        yield Served(url, document, keys)


def bounded(case: Any) -> None:
    """Let a request under `/v1` reach a model, if it is well formed, and be over soon."""
    case.body["model"] = "longleaf/embedder" if case.path.endswith("/embeddings") else "longleaf/raw"
    for name in ("input", "prompt", "messages"):
        if isinstance(case.body.get(name), list):
            case.body[name] = case.body[name][:3]  # what more would cost is time alone
    short = "max_output_tokens" if case.path.endswith("/responses") else "max_tokens"
    if not case.path.endswith("/embeddings") and (
        case.meta.generation.mode.is_positive or case.body.get(short) is None
    ):
        few = {"max_output_tokens": 2} if case.path.endswith("/responses") else {"max_tokens": 2, "n": 1}
        case.body |= few


def checked(case: Any, served: Served, who: str) -> None:
    """Send the request as somebody, with what lets it reach something and be over soon; judge the answer."""
    known = case.path_parameters
    if "document_id" in known and (case.path.endswith("/events") or len(str(known["document_id"])) % 2):
        known["document_id"] = served.document_id
    asked = case.path == "/query" and case.method == "POST" and isinstance(case.body, dict)
    if asked and (case.body.get("max_tokens") is None or case.meta.generation.mode.is_positive):
        case.body["max_tokens"] = 8  # what a longer answer costs is time alone
    if case.path.startswith("/v1/") and isinstance(case.body, dict):
        bounded(case)
    uploads = case.path.startswith(("/documents", "/uploads")) and case.method in {"POST", "PUT", "PATCH"}
    case.call_and_validate(
        base_url=served.url,
        headers={"Authorization": f"Bearer {served.keys[who]}"} if who in served.keys else {},
        timeout=120,  # no time is asserted: the machine may be busy
        excluded_checks=[
            *SEMANTIC,
            *BYTES * (uploads or case.path.startswith("/v1/")),  # those are mended by `bounded`
            *METHODS * (who == "nobody"),
        ],
    )


@schema.parametrize()
@settings(max_examples=EXAMPLES, **MANNERS)
def test_every_answer_is_a_documented_one(case: Any, served: Served) -> None:
    checked(case, served, "operator")


@pytest.mark.slow
@schema.parametrize()
@settings(max_examples=2 * len(ROLES), **MANNERS)
def test_every_role_gets_a_documented_answer(case: Any, served: Served) -> None:
    checked(case, served, next(TURNS))
