"""Checks of how others reach the server: address, port, and the provider that people sign in with."""

from __future__ import annotations

import errno
import json
import os
import socket
import urllib.request

import anyio

from api.doctor.finding import Case, Finding, failure, ok, warning
from api.middleware import is_loopback
from api.oidc.config import BadSignIn, sign_in_config
from api.oidc.provider import Provider, ProviderUnavailable
from rag.errors import NotFound
from rag.store.repositories import Workspaces


def address(case: Case) -> Finding:
    """Whether other machines reach a server that asks for no key."""
    settings = case.settings
    if is_loopback(settings.host):
        return ok(f"{settings.host} is reached from this machine alone")
    if settings.auth == "off":
        return failure(
            f"LONGLEAF_HOST is {settings.host}, which other machines reach, and LONGLEAF_AUTH is off: the "
            "server will not start",
            "set LONGLEAF_AUTH=on, or LONGLEAF_HOST=127.0.0.1",
        )
    if settings.auth == "open":
        return warning(
            f"whoever reaches {settings.host} can read and delete everything (LONGLEAF_AUTH is open)",
            "let nobody reach it but a proxy that signs people in, or set LONGLEAF_AUTH=on",
        )
    return ok(f"{settings.host} is reached by others, who are asked for a key")


def port(case: Case) -> Finding:
    """Whether the port can be taken, or is taken by a Longleaf."""
    host, number = case.settings.host.strip("[]"), case.settings.port
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(
            host, number, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        return failure(f"LONGLEAF_HOST is {host!r}, which can't be resolved: {error}", "set it to 127.0.0.1")
    with socket.socket(family, kind, protocol) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(where)
            listener.listen(1)
        except OSError as error:
            return _taken(host, number, error)
    return ok(f"port {number} is free" if number else "any free port is taken")


def sign_in(case: Case) -> Finding:
    """Whether the provider answers as it should, and what it grants is there."""
    try:
        config = sign_in_config(case.settings)
    except BadSignIn as error:
        return failure(f"{error.detail}", "correct the setting: the server will not start with it")
    if config is None:
        return ok("no provider is set up: people sign in with a key")
    try:
        anyio.run(Provider(config).check)
    except ProviderUnavailable as error:
        return failure(
            f"{config.issuer} can't be used: {error.why}",
            "see that this machine reaches it, and that LONGLEAF_OIDC_ISSUER is what it calls itself",
        )
    if case.store is not None:
        with case.store.read() as session:
            for name in sorted({grant.workspace for grant in config.grants}):
                try:
                    Workspaces(session).get(name)
                except NotFound:
                    return warning(
                        f"LONGLEAF_OIDC_GRANTS names the workspace {name!r}, which is not there",
                        f"make it (longleaf workspaces create {name}), or take it out of the setting",
                    )
    return ok(f"{config.name} answers; {config.callback} has to be among the addresses that it sends back to")


def _taken(host: str, number: int, error: OSError) -> Finding:
    if error.errno == errno.EADDRINUSE:
        if _is_longleaf(host, number):
            return ok(f"a Longleaf answers on port {number}")
        return failure(
            f"port {number} is taken by another program",
            f"find it with ss -ltnp 'sport = :{number}' and stop it, or set LONGLEAF_PORT to another",
        )
    if error.errno in {errno.EACCES, errno.EPERM}:
        return failure(f"port {number} needs more rights", "set LONGLEAF_PORT to one above 1023")
    if error.errno == errno.EADDRNOTAVAIL:
        return failure(f"{host} is no address of this machine", "set LONGLEAF_HOST to one, or to 127.0.0.1")
    return failure(f"can't listen on {host}:{number}: {os.strerror(error.errno or 0)}", "set LONGLEAF_PORT")


def _is_longleaf(host: str, number: int) -> bool:
    known = "127.0.0.1" if host in {"0.0.0.0", "::", ""} else host  # noqa: S104 (it is asked, not bound)
    url = f"http://{f'[{known}]' if ':' in known else known}:{number}/healthz"
    try:
        with urllib.request.urlopen(url, timeout=3) as answer:
            return bool(json.loads(answer.read(1000)) == {"status": "ok"})
    except (OSError, ValueError):
        return False
