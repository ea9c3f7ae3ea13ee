"""Which addresses may be sent to, so that nobody makes this server knock at doors behind it (SSRF)."""

from __future__ import annotations

import ipaddress
import socket
from urllib.parse import urlsplit

from rag.errors import InvalidRequest

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_TRANSLATED = tuple(
    ipaddress.IPv6Network(each)
    for each in ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32", "::/96")
)
"""IPv6 addresses behind which another machine finds an IPv4 address, whichever that is."""


class Refused(Exception):
    """Nothing is sent there; `reason` is `unresolved` or `address_not_allowed`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def checked_url(url: str, *, private: bool) -> str:
    """An address as it is kept. Raises InvalidRequest (`invalid_url`) for one that can never be sent to.

    What its name stands for is looked at when something is sent: that can change at any time.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        parts, host = None, None
    if parts is None or not host or not url.isascii() or not url.isprintable() or " " in url:
        raise _invalid(url, "it is no address in ASCII")
    if parts.scheme not in {"http", "https"}:
        raise _invalid(url, "it has to begin with https:// or http://")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise _invalid(url, "it may have no user, password or fragment")
    if (literal := _literal(host)) is not None and not may_send_to(literal, private=private):
        raise _invalid(url, "its host is not a public address (LONGLEAF_WEBHOOK_PRIVATE_ADDRESSES)")
    return url


def resolve(host: str, port: int, *, private: bool) -> list[str]:
    """The addresses that a name stands for now. Raises Refused unless every one may be sent to."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Refused("unresolved") from error
    texts = list(dict.fromkeys(str(each[4][0]) for each in found))
    for text in texts:
        address = _literal(text)
        if address is None or not may_send_to(address, private=private):
            raise Refused("address_not_allowed")
    if not texts:
        raise Refused("unresolved")
    return texts


def may_send_to(address: Address, *, private: bool) -> bool:
    """Whether an address is public, or with `private` one of this machine's or its network's."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return may_send_to(address.ipv4_mapped, private=private)
        if address.scope_id is not None:
            return False
        if any(address in each for each in _TRANSLATED) and not address.is_loopback:
            return False
    if address.is_link_local or address.is_multicast or address.is_unspecified:
        return False  # also where clouds tell a machine its secrets: 169.254.169.254
    return address.is_global or (private and (address.is_private or address.is_loopback))


def _literal(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _invalid(url: str, why: str) -> InvalidRequest:
    return InvalidRequest(f"The address {url[:200]!r} can't be sent to: {why}.", code="invalid_url")
