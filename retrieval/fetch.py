"""Fetch a picture for a query from the public web, and from nowhere else.

Off unless the user asks (`--allow-url`). The name is resolved once, every address must be public, and
the connection goes to the very address that was checked, so a name cannot point elsewhere the second time.
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable
from urllib.parse import SplitResult, urljoin, urlsplit

from mmsearch.index.errors import BadQuery

MAX_BYTES = 20 * 1024 * 1024
MAX_SECONDS = 15.0
MAX_REDIRECTS = 3
_REDIRECTS = (301, 302, 303, 307, 308)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")

Resolve = Callable[[str, int], list[str]]


def is_public(address: str) -> bool:
    """Whether an IP address is reachable on the public internet.

    Addresses that carry an IPv4 address inside (mapped, 6to4, Teredo, NAT64) are judged by that one too.

    >>> is_public("127.0.0.1"), is_public("::ffff:10.0.0.1"), is_public("1.1.1.1")
    (False, False, True)
    """
    parsed = ipaddress.ip_address(address.split("%")[0])
    inner = [parsed]
    if isinstance(parsed, ipaddress.IPv6Address):
        inner += [found for found in (parsed.ipv4_mapped, parsed.sixtofour) if found]
        inner += list(parsed.teredo or ())
        if parsed in _NAT64:
            inner.append(ipaddress.IPv4Address(int(parsed) & 0xFFFFFFFF))
        if parsed.ipv4_mapped:
            inner.remove(parsed)  # the outer form of a mapped address is never global
    return all(each.is_global and not each.is_multicast for each in inner)


def resolve(host: str, port: int) -> list[str]:
    """All IP addresses of a host name."""
    return [str(info[4][0]) for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def fetch(
    url: str,
    *,
    resolve: Resolve = resolve,
    allowed: Callable[[str], bool] = is_public,
    max_bytes: int = MAX_BYTES,
    max_seconds: float = MAX_SECONDS,
) -> bytes:
    """The bytes behind an http or https URL. Raises BadQuery with the reason when they cannot or must not be had."""
    deadline = time.monotonic() + max_seconds
    for _ in range(MAX_REDIRECTS + 1):
        parts = _checked(url)
        try:
            status, location, body = _get(parts, _address(parts, resolve, allowed), deadline, max_bytes)
        except (OSError, http.client.HTTPException, UnicodeError) as error:
            raise BadQuery(f"{url} cannot be fetched: {error}") from error
        if status not in _REDIRECTS or not location:
            if status != 200:
                raise BadQuery(f"{url} cannot be fetched: the server answered {status}.")
            return body
        url = urljoin(url, location)
    raise BadQuery(f"{url} cannot be fetched: more than {MAX_REDIRECTS} redirects.")


def _checked(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018  (raises for a port that is none)
    except ValueError as error:
        raise BadQuery(f"{url} is not a URL: {error}.") from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise BadQuery(f"{url} is not an http or https URL.")
    if parts.username or parts.password:
        raise BadQuery("a URL with a user name or a password in it is not fetched.")
    return parts


def _port(parts: SplitResult) -> int:
    return parts.port or (443 if parts.scheme == "https" else 80)


def _address(parts: SplitResult, resolve: Resolve, allowed: Callable[[str], bool]) -> str:
    host = parts.hostname or ""
    addresses = resolve(host, _port(parts))
    for address in addresses:
        if not allowed(address):
            raise BadQuery(f"{host} is at {address}, which is not a public address; it is not fetched.")
    if not addresses:
        raise BadQuery(f"{host} has no address.")
    return addresses[0]


def _get(parts: SplitResult, address: str, deadline: float, max_bytes: int) -> tuple[int, str | None, bytes]:
    """One GET of an address that was checked: (status, Location, body)."""
    host = parts.hostname or ""
    connection = http.client.HTTPConnection(host, _port(parts))
    raw = socket.create_connection((address, _port(parts)), timeout=_left(deadline))
    # A socket's own timeout starts anew with every byte; this one ends a server that drips.
    stop = threading.Timer(_left(deadline), _shut, [raw])
    stop.start()
    try:
        secure = parts.scheme == "https"
        connection.sock = ssl.create_default_context().wrap_socket(raw, server_hostname=host) if secure else raw
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("GET", target, headers={"User-Agent": "mmsearch", "Accept": "image/*"})
        response = connection.getresponse()
        body = response.read(max_bytes + 1) if response.status == 200 else b""
        _left(deadline)
        if len(body) > max_bytes:
            raise BadQuery(f"the picture is larger than {max_bytes / 1e6:.0f} MB; it is not fetched.")
        return response.status, response.getheader("Location"), body
    finally:
        stop.cancel()
        connection.close()
        raw.close()


def _shut(raw: socket.socket) -> None:
    with contextlib.suppress(OSError):
        raw.shutdown(socket.SHUT_RDWR)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("it took too long")
    return left
