"""Caches at GitHub, in S3 and in Azure, with the engine's own builder: it has the first one, and not the others."""

from __future__ import annotations

import base64
import json
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from tests.integration.conftest import Docker


@pytest.fixture
def context(tmp_path: Path) -> Path:
    """A build context of one step that no cache has yet."""
    (tmp_path / "context").mkdir()
    (tmp_path / "context" / "Dockerfile").write_text("FROM scratch\nCOPY word /word\n")
    (tmp_path / "context" / "word").write_text(uuid.uuid4().hex)
    return tmp_path / "context"


@contextmanager
def service(status: int) -> Iterator[int]:
    """GitHub's cache service of the first version: it is empty and takes everything, or answers ``status`` to all."""

    class Answers(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            empty, body = (204, b"") if self.command == "GET" else (201, b'{"cacheId": 7}')
            self.send_response(status or empty)
            body = b'{"message": "denied"}' if status else body
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PATCH = answer  # noqa: N815 -- the names are the library's

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- same
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server.server_port
        finally:
            server.shutdown()


def token() -> str:
    """A token of the form that the service hands out: the builder reads the scopes in it, and checks no signature."""
    rights = json.dumps([{"Scope": "refs/heads/main", "Permission": 3}])
    parts = (
        {"alg": "HS256", "typ": "JWT"},
        {"ac": rights, "nbf": int(time.time()) - 60, "exp": int(time.time()) + 600},
    )
    coded = (base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts)
    return ".".join((*coded, "c2ln"))


def github(port: int, secret: str) -> tuple[str, ...]:
    entry = f"type=gha,scope=s,url=http://127.0.0.1:{port}/,token={secret}"
    return ("--cache", "none", "--driver", "docker", "--cache-from", entry, "--cache-to", entry)


@pytest.mark.parametrize(("status", "imported", "exported"), [(0, "miss", "written"), (403, "denied", "failed")])
def test_githubs_cache_is_reported_as_it_was(
    docker: Docker, context: Path, status: int, imported: str, exported: str
) -> None:
    secret = token()
    with service(status) as port:
        ran = docker.build(*github(port, secret), str(context))
    cache = ran.report["cache"]
    assert [(each["source"], each["status"]) for each in cache["imports"]] == [("gha:s", imported)], cache
    assert [(each["target"], each["status"]) for each in cache["exports"]] == [("gha:s", exported)]
    told = [warning for warning in ran.report["warnings"] if "gha:s" in warning]
    assert len(told) == (2 if exported == "failed" else 0)  # read, written
    assert secret not in f"{ran.stdout}{ran.stderr}{ran.report}"


# Nothing listens at port 9.
UNBEGUN = {
    "gha": "type=gha,url=http://127.0.0.1:9/,token=malformed",
    "s3": "type=s3,bucket=b,region=r,endpoint_url=http://127.0.0.1:9,access_key_id=a,secret_access_key=hunter22",
    "azblob": "type=azblob,account_url=http://127.0.0.1:9,secret_access_key=aHVudGVyMjI=",
}


@pytest.mark.parametrize("kind", list(UNBEGUN))
def test_what_the_builder_cannot_write_fails_no_build(docker: Docker, context: Path, kind: str) -> None:
    entry = UNBEGUN[kind]
    words = ("--cache", "none", "--driver", "docker", "--cache-from", entry, "--cache-to", entry)
    ran = docker.build(*words, str(context))
    cache = ran.report["cache"]
    assert (cache["imports"][0]["status"], cache["exports"][0]["status"]) == ("skipped", "failed")
    assert sum(cache["imports"][0]["source"] in warning for warning in ran.report["warnings"]) == 2  # read, written


@pytest.mark.parametrize("option", ["--cache-from", "--cache-to"])
@pytest.mark.parametrize("entry", [UNBEGUN["s3"], "type=gha"], ids=["s3", "gha"])
def test_what_the_builder_cannot_use_fails_a_strict_call(
    docker: Docker, context: Path, option: str, entry: str
) -> None:
    words = ("--cache", "none", "--driver", "docker", option, entry, "--strict-cache")
    assert docker.tool("build", *words, str(context)).code == 7


def test_without_a_token_githubs_cache_is_skipped_and_a_warning_says_why(docker: Docker, context: Path) -> None:
    ran = docker.build(
        "--cache", "none", "--driver", "docker", "--cache-from", "gha", "--cache-to", "gha", str(context)
    )
    for entry in (*ran.report["cache"]["imports"], *ran.report["cache"]["exports"]):
        assert (entry["status"], "ACTIONS_RUNTIME_TOKEN" in entry["detail"]) == ("skipped", True)
    assert sum("ACTIONS_RUNTIME_TOKEN" in warning for warning in ran.report["warnings"]) == 1
