"""Registries that mean harm, on real sockets: they keep a call waiting, or want a login that is not theirs."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import re
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from buildx_cache.errors import DeniedError, UnreachableError
from buildx_cache.layout.model import Descriptor
from buildx_cache.layout.parse import MalformedError
from buildx_cache.redaction import Secret
from buildx_cache.reference import parse_reference
from buildx_cache.registry import Credential, Password, transport
from buildx_cache.registry.repository import Repository, check_blob, connect
from buildx_cache.registry.transport import Pace
from tests.integration.conftest import Docker

PASSWORD = Password(username="me", secret=Secret("hunter2"))
BASIC = base64.b64encode(b"me:hunter2")
PACE = Pace(seconds=0.3, rate=1 << 20, piece=0.2, listing=0.5, head=1 << 16)
"""For answers without an end; what ends may take the usual time, on a busy machine."""
AT_MOST = 60.0
"""Seconds that a call against a hostile registry may take on a busy machine; without the limits it never ends."""
DIGEST = "sha256:" + hashlib.sha256(b"x").hexdigest()

Talk = Callable[[socket.socket, bytes], None]
"""Answers a request, whose head is given."""


class _Handler(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        with contextlib.suppress(OSError):
            while head := self._head():
                self.server.heads.append(head)  # type: ignore[attr-defined]
                self.server.talk(self.request, head)  # type: ignore[attr-defined]

    def _head(self) -> bytes:
        head = b""
        while b"\r\n\r\n" not in head:
            piece = self.request.recv(1 << 16)
            if not piece:
                return b""
            head += piece
        return head


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    talk: Talk
    heads: list[bytes]

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"


@contextlib.contextmanager
def listening(talk: Talk) -> Iterator[_Server]:
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.talk, server.heads = talk, []
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()


def repository(server: _Server, login: Credential | None = None, pace: Pace = Pace()) -> Repository:  # noqa: B008 -- frozen
    return connect(parse_reference(f"{server.host}/app"), lambda _: login, pace=pace)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A registry is asked again without a pause before it."""
    monkeypatch.setattr(transport, "RETRY", transport.RETRY.new(backoff_factor=0))


def answer(status: int, content: bytes = b"", *headers: str) -> Talk:
    lines = [f"HTTP/1.1 {status} x", f"Content-Length: {len(content)}", *headers, "", ""]

    def talk(client: socket.socket, head: bytes) -> None:
        client.sendall("\r\n".join(lines).encode() + (b"" if head.startswith(b"HEAD") else content))

    return talk


def drips(start: bytes, piece: bytes = b"x", pause: float = 0.05) -> Talk:
    """Send ``start``, then ``piece`` for ever, each before a wait for it would end."""

    def talk(client: socket.socket, _: bytes) -> None:
        client.sendall(start)
        while True:
            client.sendall(piece)
            time.sleep(pause)

    return talk


def pours(start: bytes, piece: bytes) -> Talk:
    """Send ``start``, then ``piece`` for ever, as fast as it is read."""

    def talk(client: socket.socket, _: bytes) -> None:
        client.sendall(start)
        while True:
            client.sendall(piece * (1 + (1 << 15) // len(piece)))

    return talk


OK = b"HTTP/1.1 200 OK\r\n"
LONG = OK + b"Content-Length: 1000000\r\n\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"

ENDLESS = {
    "status-line-drips": drips(b"HTTP/1.1 200 "),
    "header-drips": drips(OK + b"X-Header: "),
    "headers-drip": drips(OK, b"X: y\r\n"),
    "interim-answers-drip": drips(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "body-drips": drips(LONG),
    "body-of-no-length-drips": drips(OK + b"\r\n"),
    "chunk-length-drips": drips(CHUNKED, b"0"),
    "chunk-extension-drips": drips(CHUNKED + b"1;"),
    "chunks-drip": drips(CHUNKED, b"1\r\nx\r\n"),
    "trailers-drip": drips(CHUNKED + b"0\r\n", b"X: y\r\n"),
    "busy-body-drips": drips(b"HTTP/1.1 503 x\r\nContent-Length: 1000000\r\n\r\n"),
    "status-line-pours": pours(b"HTTP/1.1 200 ", b"x"),
    "headers-pour": pours(OK, b"X: y\r\n"),
    "interim-answers-pour": pours(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "chunk-length-pours": pours(CHUNKED, b"0"),
    "trailers-pour": pours(CHUNKED + b"0\r\n", b"X: y\r\n"),
    "busy-body-pours": pours(b"HTTP/1.1 503 x\r\n\r\n", b"x"),
}


@contextlib.contextmanager
def in_time() -> Iterator[None]:
    started = time.monotonic()
    yield
    assert time.monotonic() - started < AT_MOST


@pytest.mark.parametrize("how", ENDLESS)
def test_an_answer_without_an_end_is_given_up(how: str) -> None:
    with listening(ENDLESS[how]) as server, in_time(), pytest.raises((UnreachableError, MalformedError)):
        repository(server, pace=PACE).registry.manifest("latest")


@pytest.mark.parametrize("how", ["body-drips", "chunk-length-drips", "interim-answers-pour"])
def test_a_list_of_tags_and_a_token_without_an_end_are_given_up(how: str) -> None:
    with listening(ENDLESS[how]) as server, in_time(), pytest.raises(UnreachableError):
        repository(server, pace=PACE).tags()
    with listening(ENDLESS[how]) as service:
        ask = answer(401, b"", f'WWW-Authenticate: Bearer realm="http://{service.host}/token"')
        with listening(ask) as server, in_time(), pytest.raises(UnreachableError):
            repository(server, PASSWORD, PACE).tags()
        assert service.heads


def test_pages_without_an_end_are_given_up() -> None:
    count = iter(range(1_000_000))

    def page(client: socket.socket, head: bytes) -> None:
        time.sleep(0.05)
        link = f'Link: </v2/app/tags/list?last={next(count)}>; rel="next"'
        answer(200, b'{"tags":["a"]}', link)(client, head)

    with listening(page) as server, in_time(), pytest.raises(UnreachableError):
        repository(server, pace=PACE).tags()


@pytest.mark.parametrize("how", ["body-drips", "chunks-drip", "trailers-drip", "chunk-length-pours", "trailers-pour"])
def test_a_blob_that_is_too_slow_or_too_long_is_given_up(how: str) -> None:
    blob = Descriptor(media_type="application/vnd.oci.image.layer.v1.tar", digest=DIGEST, size=1 << 20)
    with listening(ENDLESS[how]) as server, in_time(), pytest.raises((UnreachableError, MalformedError)):
        check_blob(repository(server, pace=PACE).registry, blob)


def test_a_blob_may_take_longer_as_long_as_enough_of_it_comes() -> None:
    content = b"y" * (1 << 20)
    blob = Descriptor(
        media_type="application/vnd.oci.image.layer.v1.tar",
        digest="sha256:" + hashlib.sha256(content).hexdigest(),
        size=len(content),
    )

    def talk(client: socket.socket, _: bytes) -> None:
        client.sendall(OK + f"Content-Length: {len(content)}\r\n\r\n".encode())
        for place in range(0, len(content), 1 << 17):
            client.sendall(content[place : place + (1 << 17)])
            time.sleep(0.06)

    with listening(talk) as server:
        check_blob(repository(server, pace=Pace(seconds=0.3, rate=1 << 14)).registry, blob)


# --- whose challenge is answered ---------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["Basic", "Bearer"])
@pytest.mark.parametrize("is_first_known", [False, True])
def test_a_challenge_of_the_host_that_a_redirect_leads_to_is_not_answered(scheme: str, is_first_known: bool) -> None:  # noqa: FBT001 -- a table
    with listening(answer(200, b'{"token":"t0ken"}')) as service:
        challenge = f'WWW-Authenticate: {scheme} realm="http://{service.host}/token"'
        with listening(answer(401, b"", challenge)) as other:

            def talk(client: socket.socket, head: bytes) -> None:
                if is_first_known and b"Authorization: Basic " not in head:
                    answer(401, b"", 'WWW-Authenticate: Basic realm="r"')(client, head)
                else:
                    answer(307, b"", f"Location: http://{other.host}/blob")(client, head)

            with listening(talk) as server, pytest.raises(DeniedError) as denied:
                check_blob(repository(server, PASSWORD).registry, Descriptor(media_type="x", digest=DIGEST, size=1))
        assert other.heads
        assert not [head for head in other.heads if b"authorization" in head.lower()]
        assert service.heads == []
        assert other.host in denied.value.message
        assert "hunter2" not in denied.value.message + denied.value.hint


def test_a_challenge_after_a_redirect_on_the_same_host_is_answered() -> None:
    def talk(client: socket.socket, head: bytes) -> None:
        if b"/v2/app/tags/list" in head:
            answer(307, b"", "Location: /elsewhere")(client, head)
        elif b"Authorization: Basic " in head:
            answer(200, b'{"tags":["a"]}')(client, head)
        else:
            answer(401, b"", 'WWW-Authenticate: Basic realm="r"')(client, head)

    with listening(talk) as server:
        assert repository(server, PASSWORD).tags() == ("a",)


def test_a_call_that_is_stopped_waits_for_no_blob(tmp_path: Path) -> None:
    """Only a kill ended it: the threads that read went on as long as bytes came."""
    config = b'{"layers":[],"records":[]}'
    layer = {"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": DIGEST, "size": 1 << 40}
    described = {"mediaType": "application/vnd.buildkit.cacheconfig.v0", "size": len(config)}
    described["digest"] = "sha256:" + hashlib.sha256(config).hexdigest()
    oci = "application/vnd.oci.image.manifest.v1+json"
    manifest = json.dumps({"schemaVersion": 2, "mediaType": oci, "config": described, "layers": [layer]}).encode()
    is_sending = threading.Event()

    def talk(client: socket.socket, head: bytes) -> None:
        if b"/manifests/" in head:
            answer(200, manifest, f"Content-Type: {oci}")(client, head)
        elif DIGEST.encode() in head:
            is_sending.set()
            drips(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (1 << 40), b"x" * (64 << 10))(client, head)
        else:
            answer(200, config)(client, head)

    with listening(talk) as server:
        words = (sys.executable, "-P", "-m", "buildx_cache", "cache", "verify", "--deep", f"{server.host}/x:y")
        call = subprocess.Popen(words, env={**os.environ, "HOME": str(tmp_path)}, stderr=subprocess.DEVNULL)
        try:
            assert is_sending.wait(AT_MOST)
            call.send_signal(signal.SIGTERM)
            assert call.wait(AT_MOST) == 128 + signal.SIGTERM
        finally:
            call.kill()
            call.wait()


# --- the login of the environment --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "registry"),
    [
        *((("inspect",), registry) for registry in ("", "docker.io", "127.0.0.1", "127.0.0.1.example.com")),
        (("verify",), ""),
        (("prune", "--max-age", "1d"), ""),
    ],
)
def test_the_login_of_the_environment_goes_to_no_other_host(
    docker: Docker, command: tuple[str, ...], registry: str
) -> None:
    with listening(answer(401, b"", 'WWW-Authenticate: Basic realm="r"')) as server:
        env = {"DOCKER_LOGIN": "me", "DOCKER_PASSWORD": "hunter2", "DOCKER_CONFIG": str(docker.home)}
        env["DOCKER_REGISTRY"] = registry
        ran = docker.tool("cache", *command, f"{server.host}/x", env=env)
    assert ran.code == 4, ran.stderr
    assert server.heads
    assert not [head for head in server.heads if b"authorization" in head.lower()]
    assert "hunter2" not in ran.stdout + ran.stderr


def test_the_login_of_the_environment_goes_to_its_own_registry_and_then_the_stored_one(docker: Docker) -> None:
    stored = base64.b64encode(b"stored:login").decode()

    def talk(client: socket.socket, head: bytes) -> None:
        if f"Authorization: Basic {stored}".encode() in head:
            answer(200, b'{"tags":["1"]}')(client, head)
        else:
            answer(401, b"", 'WWW-Authenticate: Basic realm="r"')(client, head)

    with listening(talk) as server:
        auths = f'{{"auths":{{"{server.host}":{{"auth":"{stored}"}}}}}}'
        (docker.home / "config.json").write_text(auths)
        env = {"DOCKER_LOGIN": "me", "DOCKER_PASSWORD": "hunter2\n", "DOCKER_CONFIG": str(docker.home)}
        env["DOCKER_REGISTRY"] = f"http://{server.host}/team"
        ran = docker.tool("cache", "inspect", f"{server.host}/x", env=env)
    assert ran.code == 0, ran.stderr
    assert [BASIC in head for head in server.heads] == [False, True, False]
    assert "DOCKER_LOGIN" in ran.stderr


# --- what was sent comes back ------------------------------------------------------------------------------------


def sent(head: bytes) -> str:
    """What a request holds to log in: the password, or the token that it bought."""
    found = re.search(rb"\r\nAuthorization: (?P<scheme>\w+) (?P<value>\S+)", head, re.IGNORECASE)
    if found is None:
        return ""
    value = found["value"].decode()
    return base64.b64decode(value).decode().partition(":")[2] if found["scheme"] == b"Basic" else value


def _error(secret: str) -> tuple[int, object]:
    halves = f"{secret[:5]}\x1b[0m{secret[5:]}"
    return 400, {"errors": [{"code": secret, "message": f"{halves} {base64.b64encode(secret.encode()).decode()}"}]}


def _tags(secret: str) -> tuple[int, object]:
    layers = [{"mediaType": f"{secret}+gzip", "digest": f"sha256:{'a' * 64}", "size": 1}, {"digest": secret}]
    oci = "application/vnd.oci.image.manifest.v1+json"
    return 200, {"mediaType": oci, "config": secret, "layers": layers, "tags": [f"buildcache-{secret}"]}


@pytest.mark.parametrize(
    ("command", "scheme", "says"),
    [
        (("inspect",), "Basic", _tags),
        (("inspect",), "Bearer", _error),
        (("inspect", "--format", "json"), "Bearer", _tags),
        (("verify",), "Basic", _tags),
        (("verify",), "Basic", _error),
        (("prune", "--dry-run", "--max-age", "0s"), "Bearer", _tags),
    ],
)
def test_a_login_that_a_registry_repeats_is_not_shown(
    docker: Docker, command: tuple[str, ...], scheme: str, says: Callable[[str], tuple[int, object]]
) -> None:
    secrets = ["correct-swordfish", "t0ken-of-the-service"]

    def talk(client: socket.socket, head: bytes) -> None:
        if head.startswith(b"GET /token"):
            answer(200, f'{{"token":"{secrets[1]}"}}'.encode())(client, head)
        elif secret := sent(head):
            status, document = says(secret)
            answer(status, json.dumps(document).encode())(client, head)
        else:
            challenge = f'WWW-Authenticate: {scheme} realm="http://{server.host}/token"'
            answer(401, b"", challenge)(client, head)

    with listening(talk) as server:
        env = {"DOCKER_LOGIN": "me", "DOCKER_PASSWORD": secrets[0], "DOCKER_REGISTRY": server.host}
        ran = docker.tool("cache", *command, f"{server.host}/x", env=env)
        assert "***" in ran.stdout + ran.stderr
    for form in (*secrets, *(base64.b64encode(secret.encode()).decode()[:-4] for secret in secrets)):
        assert form not in ran.stdout + ran.stderr
        assert form[5:] not in ran.stdout + ran.stderr


def test_a_credential_helper_is_not_given_the_login_of_the_environment(docker: Docker, tmp_path: Path) -> None:
    helper = tmp_path / "docker-credential-spy"
    helper.write_text(f"#!/bin/sh\nenv > {tmp_path}/env\necho '{{}}'\n")
    helper.chmod(0o755)
    (docker.home / "config.json").write_text('{"credsStore": "spy"}')
    with listening(answer(401, b"", 'WWW-Authenticate: Basic realm="r"')) as server:
        env = {"DOCKER_LOGIN": "me", "DOCKER_PASSWORD": "hunter2", "BUILDX_CACHE_USERNAME": "x"}
        env |= {"DOCKER_CONFIG": str(docker.home), "PATH": f"{tmp_path}:{os.environ['PATH']}"}
        docker.tool("cache", "inspect", f"{server.host}/x", env=env)
    seen = (tmp_path / "env").read_text()
    assert "hunter2" not in seen
    assert "BUILDX_CACHE_" not in seen
