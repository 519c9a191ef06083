"""What a failing build says at its end: what failed, what to do, the log of the step and its place in the Dockerfile.

``tests/unit/test_diagnose.py`` has the whole table of causes; these are real builds of rows that need no other machine.
"""

from __future__ import annotations

import contextlib
import os
import ssl
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import trustme

from tests.faults.proxy import Act, Cut, Proxy, Rule, Status
from tests.integration.conftest import Docker
from tests.integration.engines import Engines
from tests.selection import quick

NO_DIGEST = "sha256:" + "0" * 64
FOREIGN = "\x7fELF\x02\x01\x01" + "\0" * 9 + "\x02\0\xb7\0\x01" + "\0" * 60
"""The head of a program for arm64, which no emulator can run either: it has no segments."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A Dockerfile in which {base} and {registry} are filled in, and what its build says at the end."""

    dockerfile: str
    options: tuple[str, ...] = ()
    files: dict[str, str] = field(default_factory=dict)
    says: tuple[str, ...]
    code: int = 1


FAILURES = {
    "killed": Failure(
        dockerfile="FROM {base}\nRUN echo linking; sh -c 'kill -9 $$' || exit $?\n",
        says=("exit code: 137", "out of memory", "linking", ">>> RUN echo linking"),
    ),
    "no-such-command": Failure(
        dockerfile="FROM {base}\nRUN no-such-command --all\n",
        says=(
            "exit code: 127",
            "install it in an earlier RUN",
            "no-such-command: not found",
            ">>> RUN no-such-command",
        ),
    ),
    "windows-line-endings": Failure(
        dockerfile="FROM {base}\nCOPY --chmod=755 go.sh /\nRUN /go.sh\n",
        files={"go.sh": "#!/bin/sh\r\necho hello\r\n"},
        says=("exit code: 127", "CRLF", "/go.sh: not found"),
    ),
    "windows-line-endings-of-a-heredoc": Failure(  # moby/buildkit#3511
        dockerfile="FROM {base}\r\nRUN <<EOF\r\necho hello\r\nls /\r\nEOF\r\n",
        says=("exit code: 1", "CRLF", ">>> RUN <<EOF"),
    ),
    "foreign-program": Failure(
        dockerfile='FROM {base}\nCOPY --chmod=755 program /\nRUN ["/program"]\n',
        files={"program": FOREIGN},
        says=("for another platform", "change --platform", "exec /program: exec format error", '>>> RUN ["/program"]'),
    ),
    "hidden-by-dockerignore": Failure(
        dockerfile="FROM {base}\nCOPY notes.md /\n",
        files={"notes.md": "x", ".dockerignore": "*.md\n"},
        says=("COPY notes.md /: failed", '"/notes.md": not found', ".dockerignore may exclude it", ">>> COPY notes.md"),
    ),
    "no-such-stage": Failure(
        dockerfile="FROM {base} AS build\nLABEL biuld=1\n",
        options=("--target", "biuld"),
        says=('target stage "biuld" could not be found', "correct --target"),
        code=2,
    ),
    "no-secret": Failure(
        dockerfile="FROM {base}\nRUN --mount=type=secret,id=token,required=true true\n",
        says=("secret token: not found", "add --secret id=", ">>> RUN --mount=type=secret"),
        code=2,
    ),
    "checksum": Failure(
        dockerfile=f"FROM {{base}}\nADD --checksum={NO_DIGEST} http://{{registry}}/v2/ /answer\n",
        says=("digest mismatch sha256:", "change --checksum"),
    ),
    "no-such-syntax": Failure(
        dockerfile="# syntax={registry}/nobody/frontend:9\nFROM {base}\n",
        says=("nobody/frontend:9: not found", "`# syntax` line", ">>> # syntax="),
    ),
    "no-such-instruction": Failure(
        dockerfile="FROM {base}\nRUNN true\n",
        says=("parse error on line 2: unknown instruction: RUNN", "correct the line", ">>> RUNN true"),
    ),
    "no-such-image": Failure(
        dockerfile="FROM {registry}/nobody/nothing:1\n",
        says=("nobody/nothing:1: not found", "correct the image's name in FROM", ">>> FROM"),
    ),
    "not-executable": Failure(
        dockerfile="FROM {base}\nCOPY go.sh /\nRUN /go.sh\n",
        files={"go.sh": "#!/bin/sh\n"},
        says=("exit code: 126", "COPY --chmod=755", "/go.sh: Permission denied"),
    ),
    "no-such-program": Failure(
        dockerfile='FROM {base}\nRUN ["/no/such/program"]\n',
        says=("stat /no/such/program: no such file", "the image lacks the file"),
    ),
    "no-such-program-on-path": Failure(
        dockerfile='FROM {base}\nRUN ["no-such-program"]\n',
        says=("executable file not found in $PATH", "install it in an earlier RUN"),
    ),
    "full-disk-of-a-step": Failure(
        dockerfile="FROM {base}\nRUN --mount=type=tmpfs,target=/t,size=65536 dd if=/dev/zero of=/t/x bs=1M count=1\n",
        says=("exit code: 1", "a disk is full", "No space left on device"),
    ),
    "memory-of-a-step": Failure(
        dockerfile="FROM {base}\nRUN ulimit -v 20000; dd if=/dev/zero of=/dev/null bs=100M count=1\n",
        says=("exit code: 1", "too little memory", "dd: out of memory"),
    ),
    "name-in-a-step": Failure(
        dockerfile="FROM {base}\nRUN wget http://nowhere.invalid/\n",
        says=("a host's name was not found", "bad address 'nowhere.invalid'"),
    ),
    "limit-in-a-step": Failure(
        dockerfile="FROM {base}\nRUN wget http://{proxy}/v2/limited/tags\n",
        options=("--network", "host"),
        says=("a server limits requests", "429 Too Many Requests"),
    ),
    "login-in-a-step": Failure(
        dockerfile="FROM {base}\nRUN wget http://{proxy}/v2/private/tags\n",
        options=("--network", "host"),
        says=("a server asks for a login", "401 Unauthorized"),
    ),
    "right-not-given": Failure(
        dockerfile="FROM {base}\nRUN --network=host true\n",
        says=("network.host is not allowed", "add --allow network.host"),
    ),
    "right-not-granted": Failure(
        dockerfile="FROM {base}\n",
        options=("--allow", "security.insecure"),
        says=("granting entitlement security.insecure is not allowed", "--allow-insecure-entitlement NAME"),
        code=3,
    ),
    "unknown-host": Failure(
        dockerfile="FROM nowhere.invalid/app:1\n",
        says=("lookup nowhere.invalid", "correct the host's name", ">>> FROM nowhere.invalid"),
        code=5,
    ),
    "unknown-host-of-an-add": Failure(
        dockerfile="FROM scratch\nADD http://nowhere.invalid/x /\n",
        says=("lookup nowhere.invalid", "correct the host's name"),
        code=5,
    ),
    "refused-connection": Failure(
        dockerfile="FROM 127.0.0.1:1/app:1\n",
        says=("connection refused", "check that a server listens there", ">>> FROM 127.0.0.1:1"),
        code=5,
    ),
    "refused-connection-of-git": Failure(
        dockerfile="FROM scratch\nADD http://127.0.0.1:1/x.git /\n",
        says=("unable to access 'http://127.0.0.1:1/x.git/'", "check the address"),
        code=5,
    ),
    "no-login": Failure(
        dockerfile="FROM {auth_registry}/app:1\n",
        says=("401 Unauthorized", "log in with --username", ">>> FROM"),
        code=4,
    ),
    "pull-denied": Failure(
        dockerfile="FROM {proxy}/denied/app:1\n",
        says=("403 Forbidden", "the account may write (push) or read (FROM) it"),
        code=4,
    ),
    "pull-limited": Failure(
        dockerfile="FROM {proxy}/limited/app:1\n",
        says=("429 Too Many Requests", "limit of requests"),
        code=5,
    ),
    "pull-from-a-broken-registry": Failure(
        dockerfile="FROM {proxy}/broken/app:1\n",
        says=("500 Internal Server Error", "the server's operators"),
        code=5,
    ),
    "push-denied": Failure(
        dockerfile="FROM scratch\nCOPY Dockerfile /\n",
        options=("--no-push-check", "--push", "--tag", "{proxy}/denied/app:1"),
        says=("403 Forbidden", "the account may write (push) or read (FROM) it"),
        code=4,
    ),
    "push-to-a-full-registry": Failure(
        dockerfile="FROM scratch\nCOPY Dockerfile /\n",
        options=("--push", "--tag", "{proxy}/full/app:1"),
        says=("failed to push", "its disk is full"),
        code=5,
    ),
    "push-limited": Failure(
        dockerfile="FROM scratch\nCOPY Dockerfile /\n",
        options=("--push", "--tag", "{proxy}/limited/app:1"),
        says=("429 Too Many Requests", "limit of requests"),
        code=5,
    ),
    "push-that-is-cut-off": Failure(
        dockerfile="FROM scratch\nCOPY Dockerfile /\n",
        options=("--push", "--tag", "{proxy}/reset/app:1"),
        says=("failed to do request: Post", "check the address"),
        code=5,
    ),
    "plain-http": Failure(
        dockerfile="FROM {plain}/app:1\n",
        says=("server gave HTTP response to HTTPS client", "the server speaks plain HTTP"),
        code=5,
    ),
    "unknown-authority": Failure(
        dockerfile="FROM {unknown_authority}/app:1\n",
        says=("x509: certificate signed by unknown authority", "the builder does not trust it"),
        code=5,
    ),
    "expired-certificate": Failure(
        dockerfile="FROM {expired}/app:1\n",
        says=("x509: certificate has expired", "renew the server's certificate"),
        code=5,
    ),
    "ssh-mount-without-ssh": Failure(
        dockerfile="FROM {base}\nRUN --mount=type=ssh,required=true true\n",
        says=("unset ssh forward key default", "add --ssh default"),
        code=2,
    ),
    "push-to-no-repository": Failure(
        dockerfile="FROM scratch\nCOPY Dockerfile /\n",
        options=("--push", "--tag", "{proxy}/absent/app:1"),
        says=("does not exist in the registry", "create the repository"),
        code=4,
    ),
    "push-of-what-is-too-large": Failure(
        dockerfile="FROM scratch\nCOPY Dockerfile /\n",
        options=("--push", "--tag", "{proxy}/small/app:1"),
        says=("413 Request Entity Too Large", "client_max_body_size"),
        code=4,
    ),
    "download-that-wants-a-login": Failure(
        dockerfile="FROM scratch\nADD http://{auth_registry}/v2/ /x\n",
        says=("invalid response status 401", "the address of ADD"),
        code=4,
    ),
    "dockerfile-that-is-wrong": Failure(
        dockerfile="FROM {base} x y\n",
        says=("FROM requires either one or three arguments", "correct the Dockerfile", ">>> FROM"),
    ),
    "flag-of-a-newer-frontend": Failure(
        dockerfile="FROM {base}\nRUN --security-of-tomorrow=insecure true\n",
        says=(
            "parse error on line 2: unknown flag: --security-of-tomorrow",
            "`# syntax=docker/dockerfile:1`",
            ">>> RUN",
        ),
    ),
}


FAULTS: Mapping[str, Act] = {
    "denied": Status(code=403),
    "limited": Status(code=429),
    "private": Status(code=401),
    "broken": Status(code=500),
    "full": Status(code=507),
    "reset": Cut(after=0, reset=True),
    "absent": Status(code=404, error=("NAME_UNKNOWN", "The repository 'a' does not exist in the registry with id '1'")),
    "small": Status(code=413, page="<html><head><title>413 Request Entity Too Large</title></head></html>"),
}
"""What the faulty registry does with requests for a repository, by the first part of its name."""


@pytest.fixture(scope="module")
def places(engines: Engines) -> Iterator[Mapping[str, str]]:
    """Registries by their address; those that are to be spoken TLS with are beyond the loopback, which is let off."""
    environment = engines.start()
    outside = _gateway(environment)
    authority = trustme.CA()
    yesterday = datetime.now(UTC) - timedelta(days=1)
    with contextlib.ExitStack() as stack:
        proxy = stack.enter_context(Proxy(environment["ENGINE_REGISTRY"]))
        stack.enter_context(proxy.ruled(*(Rule(act=act, path=f"/{name}/") for name, act in FAULTS.items())))
        yield {
            "base": environment["ENGINE_BASE_IMAGE"],
            "registry": environment["ENGINE_REGISTRY"],
            "auth_registry": environment["ENGINE_AUTH_REGISTRY"],
            "proxy": proxy.address,
            "plain": stack.enter_context(_server(outside)),
            "unknown_authority": stack.enter_context(_server(outside, authority.issue_cert(outside))),
            "expired": stack.enter_context(_server(outside, authority.issue_cert(outside, not_after=yesterday))),
        }


def _gateway(environment: Mapping[str, str]) -> str:
    """The host's address on Docker's own bridge."""
    asked = ("docker", "network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Gateway}}")
    done = subprocess.run(asked, env={**os.environ, **environment}, capture_output=True, text=True, check=True)
    return done.stdout.strip()


class _Answer(BaseHTTPRequestHandler):
    def handle(self) -> None:
        """Answer as an HTTP server does to what is no HTTP, a TLS handshake among it."""
        self.rfile.read1(1 << 16)
        self.wfile.write(b"HTTP/1.0 400 Bad Request\r\n\r\n")


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """A client hangs up on what it does not trust: that is the test."""


@contextlib.contextmanager
def _server(host: str, certificate: trustme.LeafCert | None = None) -> Iterator[str]:
    """The address of a server on a free port, with TLS if it has a certificate; all it has to say is where it ends."""
    with _Server((host, 0), _Answer) as server:
        if certificate:
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            certificate.configure_cert(tls)
            server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"{host}:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


# Each exit code, each part of a build that fails, and each source of a hint; every row: tests/unit/test_diagnose.py.
QUICK = (
    "no-such-command",
    "windows-line-endings",
    "hidden-by-dockerignore",
    "no-such-stage",
    "no-secret",
    "no-such-syntax",
    "name-in-a-step",
    "right-not-granted",
    "unknown-host",
    "no-login",
    "push-to-no-repository",
    "ssh-mount-without-ssh",
    "unknown-authority",
)


@pytest.mark.parametrize("name", quick(FAILURES, *QUICK))
def test_a_failed_build_says_what_to_do(docker: Docker, places: Mapping[str, str], tmp_path: Path, name: str) -> None:
    failure = FAILURES[name]
    context = tmp_path / "context"
    context.mkdir()
    for file, content in failure.files.items():
        (context / file).write_bytes(content.encode("latin-1"))
    (context / "Dockerfile").write_text(failure.dockerfile.format(**places))
    options = (option.format(**places) for option in failure.options)
    ran = docker.tool("build", "--driver", "docker", "--cache", "none", *options, str(context))
    assert (ran.code, ran.stdout) == (failure.code, ""), ran.stderr
    assert [words for words in failure.says if words not in ran.stderr] == [], ran.stderr


WRONG_OPTIONS = {
    "secret-key": (("--secret", "id=x,foo=bar"), "unexpected key 'foo'"),
    "secret-type": (("--secret", "id=x,type=bogus"), "unsupported secret type"),
    "secret-file": (("--secret", "id=x,src=/nonexistent"), "stat /nonexistent"),
    "secret-field": (("--secret", "foo"), "invalid field 'foo'"),
    "network": (("--network", "bogus"), 'network mode "bogus"'),
    "attestation": (("--attest", "type=bogus"), 'unknown attestation type "bogus"'),
    "provenance": (("--provenance", "mode=bogus"), 'invalid mode "bogus"'),
    "output": (("--output", "type=bogus"), 'exporter "bogus" could not be found'),
    "ulimit": (("--ulimit", "nofile=bogus"), 'invalid argument "nofile=bogus" for "--ulimit" flag'),
    "shm-size": (("--shm-size", "bogus"), 'invalid argument "bogus" for "--shm-size" flag'),
    "host": (("--add-host", "foo"), "invalid host foo"),
    "entitlement": (("--allow", "bogus"), "unknown entitlement bogus"),
    "label": (("--label", "=x"), "empty key"),
    "build-context": (("--build-context", "foo=/nonexistent"), "failed to get build context foo"),
    "annotation": (("--annotation", "bogus:a=b"), 'unknown annotation type "bogus"'),
    "index-annotation": (("--annotation", "index:a=b", "-o", "type=oci,dest=o.tar"), "index annotations not supported"),
    "ssh-agent": (("--ssh", "default"), "SSH_AUTH_SOCK"),
    "ssh-key": (("--ssh", "default=/nonexistent"), "stat /nonexistent"),
}
CURES = {
    "secret-file": "correct src= of --secret",
    "ssh-agent": "--ssh default=KEYFILE",
    "index-annotation": "manifest:KEY=VALUE",
}


@pytest.mark.parametrize("name", quick(WRONG_OPTIONS, "secret-file", "ulimit", "index-annotation"))
def test_a_wrong_option_is_told_in_buildxs_words(docker: Docker, project: Path, name: str) -> None:
    options, words = WRONG_OPTIONS[name]
    env = {"SSH_AUTH_SOCK": ""}
    common = ("build", "--driver", "docker", "--cache", "none", "--no-prune")
    ran = docker.tool(*common, *options, "--build-arg", f"BASE={docker.base}", str(project), cwd=project, env=env)
    assert (ran.code, ran.stdout, words in ran.stderr) == (2, "", True), ran.stderr
    assert "correct the Dockerfile" not in ran.stderr
    assert CURES.get(name, "") in ran.stderr


def test_an_unknown_flag_of_buildx(docker: Docker, project: Path) -> None:
    ran = docker.tool("build", "--driver", "docker", "--cache", "none", "--no-prune", str(project), "--", "--bogus")
    assert (ran.code, "unknown flag: --bogus" in ran.stderr) == (2, True), ran.stderr


@pytest.mark.parametrize("end", [("kill",), ("rm", "--force")], ids=["killed", "removed"])
def test_a_builder_that_goes_away_is_told(docker: Docker, tmp_path: Path, end: tuple[str, ...]) -> None:
    mark, ended = uuid.uuid4().hex, tmp_path / "ended"
    (tmp_path / "Dockerfile").write_text(f"FROM {docker.base}\nRUN echo begun; sleep 600; echo {mark}\n")

    def stop() -> None:
        """End the builder's container once the step runs in it."""
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and not ended.exists():
            names = docker.docker("ps", "--filter", "name=buildx_buildkit_buildx-cache-", "--format", "{{.Names}}")
            for name in names.split():
                if mark in docker.docker("top", name, "-eo", "pid,args", check=False):
                    docker.docker(*end, name)
                    return
            time.sleep(0.2)

    thread = Thread(target=stop)
    thread.start()
    ran = docker.tool("build", *docker.new_builder, "--cache", "none", str(tmp_path))
    ended.touch()
    thread.join()
    assert (ran.code, ran.stdout) == (3, ""), ran.stderr
    assert "error reading from server" in ran.stderr
    assert "read the log of the builder's container" in ran.stderr


def test_an_image_of_other_platforms_is_told(docker: Docker, tmp_path: Path) -> None:
    base, dockerfile = docker.repository(), tmp_path / "Dockerfile"
    dockerfile.write_text("FROM scratch\nCOPY Dockerfile /\n")
    words = ("build", "--driver", "docker", "--cache", "none")
    docker.build(*words[1:], "--platform", "linux/amd64,linux/arm64", "--tag", f"{base}:1", "--push", str(tmp_path))
    dockerfile.write_text(f"FROM {base}:1\nCOPY Dockerfile /\n")
    ran = docker.tool(*words, "--platform", "linux/s390x", str(tmp_path))
    assert (ran.code, ran.stdout) == (1, ""), ran.stderr
    assert "no match for platform in manifest" in ran.stderr
    assert "it exists only for other platforms" in ran.stderr


def test_the_classic_stores_builder_says_that_it_cannot_export(classic_docker: Docker, project: Path) -> None:
    ran = classic_docker.tool(
        *("build", "--driver", "docker", "--cache", "none", "--build-arg", f"BASE={classic_docker.base}", str(project)),
        *("--", "--cache-to", "type=local,dest=cache"),
    )
    assert (ran.code, ran.stdout) == (3, ""), ran.stderr
    assert "Cache export is not supported for the docker driver" in ran.stderr
    assert "use --driver docker-container, or turn on the engine's containerd image store" in ran.stderr
