"""Caches in real registries: described, verified and pruned with the user's logins."""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import trustme
import urllib3

from buildx_cache.engine import credentials
from buildx_cache.engine.credentials import credential_for
from buildx_cache.errors import DeniedError, UnreachableError
from buildx_cache.layout.model import FindingKind, Shape
from buildx_cache.reference import parse_reference
from buildx_cache.registry import transport
from buildx_cache.registry.pruning import choose, delete, survey
from buildx_cache.registry.repository import Repository, TagKind, connect
from tests.integration.conftest import Docker

HELPER = """#!/bin/sh
read -r server
echo "$1 $server" >> "$HELPER_LOG"
if [ "$server" = "$HELPER_SERVER" ]; then
    printf '{"ServerURL":"%s","Username":"%s","Secret":"%s"}' "$server" "$HELPER_USER" "$HELPER_SECRET"
else
    echo 'credentials not found in native keychain'
    exit 1
fi
"""


def anonymous(name: str) -> Repository:
    return connect(parse_reference(name), lambda _: None)


def push(docker: Docker, project: Path, repository: str, *words: str, config: str = "") -> None:
    """Build on the engine's own builder and push the image as ``:1``."""
    docker.docker(
        *("buildx", "build", "--builder", "default", "--push", "-t", f"{repository}:1"),
        *("--build-arg", f"BASE={docker.base}", *words, str(project)),
        DOCKER_CONFIG=config or docker.env.get("DOCKER_CONFIG", ""),
    )


def exported(repository: str, tag: str, *attributes: str) -> tuple[str, str]:
    return "--cache-to", ",".join(["type=registry", f"ref={repository}:{tag}", "mode=max", *attributes])


def add_tag(repository: Repository, tag: str, other: str) -> None:
    """Let ``other`` stand for the manifest of ``tag`` too."""
    manifest = repository.registry.manifest(tag)
    assert manifest is not None
    url = f"{repository.registry.base}/v2/{repository.registry.path}/manifests/{other}"
    done = urllib3.request("PUT", url, body=manifest.content, headers={"Content-Type": manifest.media_type})
    assert done.status == 201


@pytest.fixture
def target(docker: Docker, project: Path) -> str:
    """A repository with an image and the cache of a branch."""
    name = docker.repository()
    push(docker, project, name, *exported(name, "buildcache-main"))
    return name


def test_a_cache_is_described(docker: Docker, project: Path, target: str) -> None:
    started = time.time()
    push(docker, project, target, *exported(target, "buildcache-listed", "image-manifest=false"), "--no-cache")
    repository = anonymous(target)
    assert sorted(repository.tags()) == ["1", "buildcache-listed", "buildcache-main"]
    assert sorted(repository.cache_tags()) == ["buildcache-listed", "buildcache-main"]
    cache = repository.inspect("buildcache-listed")
    assert (cache.holds, cache.shape, cache.findings) == (TagKind.CACHE, Shape.LAYER_LIST, ())
    assert cache.records
    assert cache.created is not None
    assert started - 1 <= cache.created <= time.time() + 1
    assert len(cache.layers) >= 3
    assert [layer.size for layer in cache.layers] == sorted((layer.size for layer in cache.layers), reverse=True)
    assert cache.size > sum(layer.size for layer in cache.layers)
    assert repository.inspect("1").holds is TagKind.IMAGE


@pytest.mark.parametrize("shape", ["true", "false"])
def test_a_sound_cache_of_either_shape_is_sound(docker: Docker, project: Path, shape: str) -> None:
    name = docker.repository()
    push(docker, project, name, *exported(name, "buildcache-main", f"image-manifest={shape}", "oci-mediatypes=true"))
    assert anonymous(name).verify("buildcache-main") == ()
    assert anonymous(name).verify("buildcache-main", deep=True) == ()


def test_an_image_with_an_inline_cache_is_described(docker: Docker, project: Path) -> None:
    name = docker.repository()
    push(docker, project, name, "--cache-to", "type=inline")
    found = anonymous(name).inspect("1")
    assert (found.holds, found.shape, found.findings) == (TagKind.INLINE, Shape.IMAGE, ())
    assert found.records
    assert anonymous(name).verify("1", deep=True) == ()


def test_a_lost_layer_is_found(target: str) -> None:
    repository = anonymous(target)
    lost = repository.inspect("buildcache-main").layers[-1]
    url = f"{repository.registry.base}/v2/{repository.registry.path}/blobs/{lost.digest}"
    assert urllib3.request("DELETE", url).status == 202
    for deep in (False, True):
        (finding,) = repository.verify("buildcache-main", deep=deep)
        assert (finding.kind, finding.blob) == (FindingKind.MISSING, lost.digest)


def test_a_lost_manifest_is_no_tag_any_more(target: str) -> None:
    repository = anonymous(target)
    (tag,) = survey(repository)
    repository.registry.delete(tag.digest)
    assert repository.cache_tags() == ()


def test_caches_of_branches_that_are_gone_are_pruned(docker: Docker, project: Path, target: str) -> None:
    (project / "word").write_text("two\n")
    push(docker, project, target, *exported(target, "buildcache-gone"))
    repository = anonymous(target)
    choice = choose(survey(repository), now=time.time(), branches=["main"])
    done = delete(repository, choice)
    assert done.error is None
    assert [one.tag.name for one in done.deleted] == ["buildcache-gone"]
    assert sorted(repository.tags()) == ["1", "buildcache-main"]
    assert repository.verify("buildcache-main", deep=True) == ()


def test_old_caches_are_pruned(target: str) -> None:
    repository = anonymous(target)
    young = choose(survey(repository), now=time.time(), max_age=3600)
    assert [one.tag.name for one in young.kept] == ["buildcache-main"]
    old = choose(survey(repository), now=time.time() + 7200, max_age=3600)
    assert [one.tag.name for one in delete(repository, old).deleted] == ["buildcache-main"]
    assert repository.tags() == ("1",)


@pytest.mark.parametrize(("sharer", "branches"), [("buildcache-main", ["main"]), ("release", None)])
def test_pruning_one_of_two_tags_of_a_manifest_does_not_lose_the_other(
    target: str, sharer: str, branches: list[str] | None
) -> None:
    repository = anonymous(target)
    for other in {"buildcache-gone", sharer} - {"buildcache-main"}:
        add_tag(repository, "buildcache-main", other)
    choice = choose(survey(repository), now=time.time() + 7200, branches=branches, max_age=3600)
    assert "buildcache-gone" in [one.tag.name for one in choice.delete]
    assert sharer not in [one.tag.name for one in choice.delete]
    done = delete(repository, choice)
    assert done.deleted == ()
    assert done.error is None
    assert done.kept[-1].reason.startswith(f"{sharer} has the same manifest")
    assert sharer in repository.tags()
    assert repository.verify(sharer) == ()


def test_both_tags_of_a_manifest_are_pruned_together(target: str) -> None:
    repository = anonymous(target)
    add_tag(repository, "buildcache-main", "buildcache-gone")
    done = delete(repository, choose(survey(repository), now=time.time() + 7200, max_age=3600))
    assert done.error is None
    assert sorted(one.tag.name for one in done.deleted) == ["buildcache-gone", "buildcache-main"]
    assert repository.tags() == ("1",)


# With a login.


@pytest.fixture
def logged_in(docker: Docker, tmp_path: Path) -> dict[str, str]:
    """An environment whose Docker configuration is logged in to the registry that asks for it."""
    config = tmp_path / "docker-config"
    docker.copy_configuration(config)
    user, secret = docker.env["ENGINE_AUTH_USER"], docker.env["ENGINE_AUTH_PASSWORD"]
    docker.docker("login", "--username", user, "--password", secret, docker.auth_registry, DOCKER_CONFIG=str(config))
    return docker.child_env(DOCKER_CONFIG=str(config))


@pytest.fixture
def private(docker: Docker, project: Path, logged_in: dict[str, str]) -> str:
    name = docker.repository().replace(docker.registry, docker.auth_registry)
    push(docker, project, name, *exported(name, "buildcache-main"), config=logged_in["DOCKER_CONFIG"])
    return name


def test_the_users_login_is_used(private: str, logged_in: dict[str, str]) -> None:
    repository = connect(parse_reference(private), lambda host: credential_for(logged_in, host))
    assert repository.verify("buildcache-main", deep=True) == ()
    done = delete(repository, choose(survey(repository), now=time.time() + 7200, max_age=3600))
    assert done.error is None
    assert repository.cache_tags() == ()


def test_without_a_login_the_registry_denies(docker: Docker, private: str) -> None:
    with pytest.raises(DeniedError) as caught:
        anonymous(private).tags()
    assert caught.value.hint == f"log in: docker login {docker.auth_registry}"


@pytest.fixture
def helped(docker: Docker, tmp_path: Path) -> dict[str, str]:
    """An environment with a credential helper."""
    programs, config = tmp_path / "programs", tmp_path / "helped"
    programs.mkdir()
    config.mkdir()
    helper = programs / "docker-credential-for-tests"
    helper.write_text(HELPER)
    helper.chmod(0o755)
    (config / "config.json").write_text(json.dumps({"credsStore": "for-tests"}))
    env = docker.child_env(DOCKER_CONFIG=str(config))
    return {
        **env,
        "PATH": f"{programs}:{env['PATH']}",
        "HELPER_LOG": str(tmp_path / "asked"),
        "HELPER_SERVER": docker.auth_registry,
        "HELPER_USER": docker.env["ENGINE_AUTH_USER"],
        "HELPER_SECRET": docker.env["ENGINE_AUTH_PASSWORD"],
    }


def test_the_users_credential_helper_is_asked_once(docker: Docker, private: str, helped: dict[str, str]) -> None:
    repository = connect(parse_reference(private), lambda host: credential_for(helped, host))
    assert repository.cache_tags() == ("buildcache-main",)
    repository.inspect("buildcache-main")
    assert Path(helped["HELPER_LOG"]).read_text() == f"get {docker.auth_registry}\n"


def test_a_helper_that_knows_no_login_leads_to_none(helped: dict[str, str]) -> None:
    assert credential_for(helped, "registry.example.com") is None


def test_a_helper_that_is_not_on_the_path_is_told(helped: dict[str, str]) -> None:
    with pytest.raises(DeniedError, match="docker-credential-for-tests cannot be started"):
        credential_for({**helped, "PATH": "/nowhere"}, "registry.example.com")


@pytest.mark.parametrize("hangs", ["sleep 1000", "trap '' INT TERM; while :; do sleep 1; done", "yes >&2", "yes"])
def test_a_helper_that_does_not_come_to_an_end_is_given_up(
    helped: dict[str, str], monkeypatch: pytest.MonkeyPatch, hangs: str
) -> None:
    (Path(helped["HELPER_LOG"]).parent / "programs" / "docker-credential-for-tests").write_text(f"#!/bin/sh\n{hangs}\n")
    monkeypatch.setattr(credentials, "_HELPER_LIMITS", (0.5, 1 << 16))
    began = time.monotonic()
    with pytest.raises(DeniedError) as caught:
        credential_for(helped, "registry.example.com")
    assert time.monotonic() - began < 60
    assert caught.value.hint


# Registries that fail: urllib3's own work, which the unit tests cannot see.


@contextmanager
def serving(answer: Callable[[BaseHTTPRequestHandler, int], None], tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """A server on a free port whose answers are told the number of the request."""

    class Handler(BaseHTTPRequestHandler):
        count = 0

        def do_GET(self) -> None:
            Handler.count += 1
            answer(self, Handler.count)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("localhost", 0), Handler) as server:
        if tls:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def say(handler: BaseHTTPRequestHandler, status: int, content: bytes = b"", **headers: str) -> None:
    handler.send_response(status)
    for name, value in {"Content-Length": str(len(content)), **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(content)


def tags(handler: BaseHTTPRequestHandler, _: int = 0) -> None:
    say(handler, 200, b'{"tags":["buildcache-main"]}')


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A registry is asked again without a pause before it."""
    monkeypatch.setattr(transport, "RETRY", transport.RETRY.new(backoff_factor=0))


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_registry_is_asked_again(status: int) -> None:
    def busy_twice(handler: BaseHTTPRequestHandler, count: int) -> None:
        say(handler, status, Retry_After="0") if count <= 2 else tags(handler)

    with serving(busy_twice) as port:
        assert anonymous(f"localhost:{port}/app").tags() == ("buildcache-main",)


@pytest.mark.usefixtures("at_once")
def test_a_registry_that_stays_busy_is_unreachable() -> None:
    counts: list[int] = []

    def busy(handler: BaseHTTPRequestHandler, count: int) -> None:
        counts.append(count)
        say(handler, 429)

    with serving(busy) as port, pytest.raises(UnreachableError, match="limits requests"):
        anonymous(f"localhost:{port}/app").tags()
    assert len(counts) == 5


@pytest.mark.usefixtures("at_once")
def test_an_answer_that_is_cut_is_unreachable() -> None:
    with (
        serving(lambda handler, _: say(handler, 200, b'{"tags":', Content_Length="100")) as port,
        pytest.raises(UnreachableError, match="no answer from localhost"),
    ):
        anonymous(f"localhost:{port}/app").tags()


@pytest.mark.usefixtures("at_once")
def test_nobody_there_is_unreachable() -> None:
    with serving(tags) as port:
        pass
    with pytest.raises(UnreachableError, match="Connection refused"):
        anonymous(f"localhost:{port}/app").tags()


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def secure(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    return context


def over_tls(port: int) -> Repository:
    return connect(parse_reference(f"localhost:{port}/app"), lambda _: None, plain_http=False)


@pytest.mark.usefixtures("at_once")
def test_a_certificate_that_is_not_trusted_is_told(secure: ssl.SSLContext) -> None:
    with serving(tags, secure) as port, pytest.raises(UnreachableError, match="no safe connection") as caught:
        over_tls(port).tags()
    assert "SSL_CERT_FILE" in caught.value.hint


def test_a_certificate_authority_of_the_users_own_is_trusted(
    authority: trustme.CA, secure: ssl.SSLContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    with serving(tags, secure) as port:
        assert over_tls(port).tags() == ("buildcache-main",)


@pytest.mark.usefixtures("at_once")
def test_plain_http_where_tls_is_asked_for_is_told() -> None:
    with serving(tags) as port, pytest.raises(UnreachableError, match="no safe connection") as caught:
        over_tls(port).tags()
    assert "plain HTTP" in caught.value.hint
