"""What the settings say about the provider, checked at the start; the secret from a file or a variable."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from rag.errors import LongleafError
from rag.roles import ROLES, Role
from rag.secret_file import BadSecret, secret_of
from rag.settings import Settings

CALLBACK = "/session/oidc/callback"


class BadSignIn(LongleafError):
    """The settings of the sign-in with a provider can't be used; the message says which and why."""

    default_code = "bad_sign_in"


@dataclass(frozen=True, slots=True)
class Grant:
    """Whom the provider vouches for gets a role: an e-mail domain, a group, or (both None) everybody."""

    workspace: str
    role: Role
    domain: str | None = None
    group: str | None = None


@dataclass(frozen=True, slots=True)
class SignInConfig:
    """How to sign in with a provider. `callback` is the address that it sends browsers back to."""

    issuer: str
    client_id: str
    secret: str | None = field(repr=False)
    callback: str
    scopes: str
    groups_claim: str
    grants: tuple[Grant, ...]

    @property
    def secure(self) -> bool:
        """Whether browsers reach the service over HTTPS."""
        return self.callback.startswith("https:")

    @property
    def home(self) -> str:
        """The page, as browsers reach it: where the provider sends them after signing out there."""
        return self.callback.removesuffix(CALLBACK) + "/"

    @property
    def name(self) -> str:
        """What the page calls the provider: the name of its host."""
        return urlsplit(self.issuer).hostname or self.issuer


def sign_in_config(settings: Settings) -> SignInConfig | None:
    """What is set; None where no provider is. Raises BadSignIn."""
    if not settings.oidc_issuer:
        return None
    if settings.auth != "on":
        raise BadSignIn(
            f"LONGLEAF_OIDC_ISSUER is set and LONGLEAF_AUTH is {settings.auth!r}: set LONGLEAF_AUTH=on"
        )
    if not settings.oidc_client_id:
        raise BadSignIn("LONGLEAF_OIDC_CLIENT_ID is empty; the provider gives one to each of its clients")
    if not settings.public_url:
        raise BadSignIn(
            "LONGLEAF_PUBLIC_URL is empty; name the address under which browsers reach the service, such as "
            "https://longleaf.example.org"
        )
    check_address("LONGLEAF_OIDC_ISSUER", settings.oidc_issuer)
    check_address("LONGLEAF_PUBLIC_URL", settings.public_url)
    if "openid" not in settings.oidc_scopes.split():
        raise BadSignIn(f"LONGLEAF_OIDC_SCOPES is {settings.oidc_scopes!r}; openid has to be among them")
    return SignInConfig(
        settings.oidc_issuer,
        settings.oidc_client_id,
        _secret(settings),
        settings.public_url.rstrip("/") + CALLBACK,
        settings.oidc_scopes,
        settings.oidc_groups_claim,
        grants_of(settings.oidc_grants),
    )


def check_address(name: str, url: str) -> None:
    """Raise BadSignIn for an address that is not https; http is for this machine alone."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        host = None
    if host is None or parts.username is not None or parts.query or parts.fragment:
        raise BadSignIn(f"{name} is {url!r}, which is no address without query and fragment")
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_own(host)):
        raise BadSignIn(f"{name} is {url!r}; it has to be https (http is for this machine alone)")


def grants_of(text: str) -> tuple[Grant, ...]:
    """Grants as in `@example.org=default:reader; editors=default:editor; *=open:reader`. Raises BadSignIn."""
    found: list[Grant] = []
    for entry in (each.strip() for each in text.split(";")):
        if not entry:
            continue
        who, equals, where = entry.rpartition("=")
        workspace, _, role = where.rpartition(":")
        who, workspace, role = who.strip(), workspace.strip(), role.strip()
        if not (equals and who and workspace and role in ROLES) or who == "@":
            raise BadSignIn(
                f"LONGLEAF_OIDC_GRANTS has the entry {entry!r}; write WHO=WORKSPACE:ROLE, where WHO is "
                f"@domain, the name of a group or *, and ROLE one of {', '.join(ROLES)}"
            )
        domain = who[1:].lower() if who.startswith("@") else None
        group = None if domain is not None or who == "*" else who
        found.append(Grant(workspace, role, domain, group))
    return tuple(found)


def _secret(settings: Settings) -> str | None:
    try:
        return secret_of(
            "LONGLEAF_OIDC_CLIENT_SECRET", settings.oidc_client_secret, settings.oidc_client_secret_file
        )
    except BadSecret as error:
        raise BadSignIn(error.detail) from error


def _is_own(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
