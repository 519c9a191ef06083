"""The faulty proxy itself, before a server that only says hello."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.faults.proxy import Act, Cut, Expire, Flip, Kind, Proxy, Rule, Stall, Status

_BLOB = f"/v2/some/name/blobs/sha256:{'0' * 64}"
_TAG = "/v2/some/name/manifests/latest"
_HELLO = b"hello" * 100


class _Hello(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(_HELLO)))
        self.end_headers()
        self.wfile.write(_HELLO)


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    upstream = ThreadingHTTPServer(("127.0.0.1", 0), _Hello)
    thread = threading.Thread(target=upstream.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    with Proxy(f"127.0.0.1:{upstream.server_address[1]}") as running:
        yield running
    upstream.shutdown()
    thread.join()
    upstream.server_close()


def get(proxy: Proxy, path: str, timeout: float = 20, **headers: str) -> tuple[int, bytes, dict[str, str]]:
    connection = http.client.HTTPConnection(proxy.address, timeout=timeout)
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read(), dict(answer.getheaders())
    finally:
        connection.close()


def on_blobs(act: Act, times: int = 0) -> Rule:
    return Rule(act=act, kinds=frozenset({Kind.BLOB}), times=times)


def test_what_no_rule_matches_is_passed_on(proxy: Proxy) -> None:
    with proxy.ruled(on_blobs(Status(code=403))):
        assert get(proxy, _TAG)[:2] == (200, _HELLO)
        assert not proxy.acted


def test_a_status_comes_with_the_registry_s_error(proxy: Proxy) -> None:
    with proxy.ruled(on_blobs(Status(code=429, headers=(("Retry-After", "1"),)), times=1)):
        status, body, headers = get(proxy, _BLOB)
        assert (status, headers["Retry-After"]) == (429, "1")
        assert json.loads(body)["errors"][0]["code"] == "TOOMANYREQUESTS"
        assert get(proxy, _BLOB)[0] == 200
        assert proxy.acted == {"GET blob": 1}


def test_a_cut_ends_the_body_early(proxy: Proxy) -> None:
    with proxy.ruled(on_blobs(Cut(after=7))), pytest.raises(http.client.IncompleteRead) as cut:
        get(proxy, _BLOB)
    assert cut.value.partial == _HELLO[:7]


def test_a_reset_loses_the_connection(proxy: Proxy) -> None:
    with proxy.ruled(on_blobs(Cut(after=0, reset=True))), pytest.raises((ConnectionError, http.client.HTTPException)):
        get(proxy, _BLOB)


def test_wrong_bytes_are_as_many(proxy: Proxy) -> None:
    with proxy.ruled(on_blobs(Flip())):
        _, body, _ = get(proxy, _BLOB)
    assert len(body) == len(_HELLO)
    assert sum(one != other for one, other in zip(body, _HELLO, strict=True)) == 1


def test_a_stalled_request_is_never_answered(proxy: Proxy) -> None:
    with proxy.ruled(on_blobs(Stall())), pytest.raises(TimeoutError):
        get(proxy, _BLOB, timeout=0.5)


def test_a_token_is_taken_so_often_and_no_more(proxy: Proxy) -> None:
    with proxy.ruled(on_blobs(Expire(uses=2))):
        status, _, headers = get(proxy, _BLOB)
        assert status == 401
        assert f"http://{proxy.address}/token" in headers["WWW-Authenticate"]
        token = json.loads(get(proxy, "/token?service=s")[1])["token"]
        answers = [get(proxy, _BLOB, Authorization=f"Bearer {token}")[0] for _ in range(3)]
    assert answers == [200, 200, 401]
