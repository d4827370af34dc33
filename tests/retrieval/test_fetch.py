"""A picture from the web is fetched from public addresses only, within its limits."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from mmsearch.index.errors import BadQuery
from mmsearch.retrieval.fetch import fetch, is_public


class Web(BaseHTTPRequestHandler):
    """A web of a few pages on this machine."""

    def do_GET(self) -> None:
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        if self.path.startswith("/to?"):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/to?"))
            self.end_headers()
        elif self.path == "/drip":
            self.send_response(200)
            self.end_headers()
            with contextlib.suppress(OSError):  # the asker hangs up
                for _ in range(100):
                    self.wfile.write(b".")
                    time.sleep(0.05)
        elif self.path == "/photo":
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"p" * 1000)
        else:
            self.send_error(404)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Web) as web:
        web.asked = []  # type: ignore[attr-defined]
        thread = threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield web
        web.shutdown()
        thread.join()


def at(server: ThreadingHTTPServer, path: str, host: str = "photos.example") -> str:
    return f"http://{host}:{server.server_port}{path}"


def local(host: str, port: int) -> list[str]:
    return ["127.0.0.1"]


def anywhere(address: str) -> bool:
    return True


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1",
        "fe80::1%eth0",
        "fc00::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:192.168.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "2001:0:7f00:1::",
    ],
)
def test_private_addresses_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "::ffff:1.1.1.1"])
def test_public_addresses_are_public(address: str) -> None:
    assert is_public(address)


def test_a_picture_is_fetched(server: ThreadingHTTPServer) -> None:
    assert fetch(at(server, "/photo"), resolve=local, allowed=anywhere) == b"p" * 1000


def test_a_name_at_a_private_address_is_never_asked(server: ThreadingHTTPServer) -> None:
    with pytest.raises(BadQuery, match=r"photos\.example is at 127\.0\.0\.1, which is not a public address"):
        fetch(at(server, "/photo"), resolve=local)
    assert server.asked == []  # type: ignore[attr-defined]


def test_one_private_address_among_public_ones_is_enough_to_refuse(server: ThreadingHTTPServer) -> None:
    with pytest.raises(BadQuery, match="not a public address"):
        fetch(at(server, "/photo"), resolve=lambda host, port: ["1.1.1.1", "127.0.0.1"])


def test_a_redirect_into_a_private_range_is_not_followed(server: ThreadingHTTPServer) -> None:
    inner = at(server, "/photo", host="router.example")
    addresses = {"photos.example": ["127.0.0.1"], "router.example": ["192.168.0.1"]}
    with pytest.raises(BadQuery, match=r"router\.example is at 192\.168\.0\.1"):
        fetch(
            at(server, f"/to?{inner}"),
            resolve=lambda host, port: addresses[host],
            allowed=lambda address: address == "127.0.0.1",
        )
    assert len(server.asked) == 1  # type: ignore[attr-defined]


def test_a_redirect_is_followed(server: ThreadingHTTPServer) -> None:
    assert fetch(at(server, "/to?/photo"), resolve=local, allowed=anywhere) == b"p" * 1000


def test_endless_redirects_end(server: ThreadingHTTPServer) -> None:
    loop = at(server, "/to?") + "/to?" * 8 + "/photo"
    with pytest.raises(BadQuery, match="more than 3 redirects"):
        fetch(loop, resolve=local, allowed=anywhere)


def test_a_redirect_to_another_scheme_is_not_followed(server: ThreadingHTTPServer) -> None:
    with pytest.raises(BadQuery, match="not an http or https URL"):
        fetch(at(server, "/to?file:///etc/passwd"), resolve=local, allowed=anywhere)


def test_a_picture_over_the_limit_is_not_read(server: ThreadingHTTPServer) -> None:
    with pytest.raises(BadQuery, match="larger than"):
        fetch(at(server, "/photo"), resolve=local, allowed=anywhere, max_bytes=999)


def test_a_server_that_drips_is_left(server: ThreadingHTTPServer) -> None:
    started = time.monotonic()
    with pytest.raises(BadQuery, match="took too long"):
        fetch(at(server, "/drip"), resolve=local, allowed=anywhere, max_seconds=0.3)
    assert time.monotonic() - started < 3


def test_a_missing_page_is_named(server: ThreadingHTTPServer) -> None:
    with pytest.raises(BadQuery, match="the server answered 404"):
        fetch(at(server, "/none"), resolve=local, allowed=anywhere)


@pytest.mark.parametrize("url", ["ftp://a/b", "http://", "http://a:99999/", "http://me:secret@a/"])
def test_a_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(BadQuery):
        fetch(url, resolve=local, allowed=anywhere)
