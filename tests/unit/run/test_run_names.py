"""Names of images, registries, builders and paths hold any number and any word: none of them is a cause."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from buildx_cache.errors import BuildFailedError, BuildxCacheError, CacheError, EngineError, ExitCode, UnreachableError
from tests.unit.run.calls import MADE, Ended, FakeEngine, done, planned, said, told, vertex

DIGEST = f"sha256:404{'0' * 58}429"
# Repositories and tags, with the numbers and words of other causes in every part.
NAMES = [
    *(f"registry.example.com/app:{tag}" for tag in ("401", "403", "404", "429", "500", "pr-404", "unauthorized")),
    *(f"registry.example.com/{path}:1" for path in ("404/429", "denied", "no/space/not-found")),
    *("denied.example.com/app:1", "registry.example.com:403/app:1"),
]


def address(name: str) -> str:
    host, _, rest = name.partition("/")
    path, _, tag = rest.rpartition(":")
    return f"https://{host}/v2/{path}/manifests/{tag}"


def pushing(name: str, error: str) -> tuple[bytes, int]:
    words = f"failed to push {name}: {error}"
    return MADE + said(vertex("exporting to image", error=words), text=f"ERROR: failed to solve: {words}\n"), 1


def busy(name: str) -> str:
    return f"unexpected status from PUT request to {address(name)}: 503 Service Unavailable"


def unreached(name: str) -> str:
    return f'failed to do request: Head "{address(name)}": dial tcp 10.0.0.1:443: connect: connection refused'


def by_digest(name: str) -> str:
    url = address(name).rpartition("/manifests/")[0]
    return f"unexpected status from HEAD request to {url}/blobs/{DIGEST}: 502 Bad Gateway"


@pytest.mark.parametrize(("name", "error_of"), [*((name, busy) for name in NAMES), (NAMES[0], by_digest)])
def test_a_push_over_a_passing_fault_is_tried_again_whatever_its_name(
    name: str, error_of: Callable[[str], str]
) -> None:
    engine = FakeEngine(builds=[pushing(name, error_of(name))], stays=True)
    outcome, _ = done(planned(tag=[name], push=True), engine)
    assert isinstance(outcome.error, UnreachableError)
    assert "the server's operators" in outcome.error.hint
    assert [(retry.phase, retry.count) for retry in outcome.report.retries] == [("push", 4)]
    assert engine.slept[0] <= 2, "requests are not too many"


@pytest.mark.parametrize("name", NAMES)
def test_a_cache_out_of_reach_fails_a_strict_call_whatever_its_name(name: str) -> None:
    stream = said(vertex(f"importing cache manifest from {name}", error=unreached(name))) + MADE
    plan = planned(cache="registry", cache_ref=name, cache_read_only=True, strict_cache=True)
    outcome, _ = done(plan, FakeEngine(builds=[(stream, 0)], stays=True))
    assert [(each.source, each.status) for each in outcome.report.cache.imports] == [(name, "unreachable")]
    assert isinstance(outcome.error, CacheError)


@pytest.mark.parametrize("name", NAMES)
def test_a_cache_that_is_absent_is_so_whatever_its_name(name: str) -> None:
    stream = said(vertex(f"importing cache manifest from {name}", error=f"{name}: not found")) + MADE
    plan = planned(cache="registry", cache_ref=name, cache_read_only=True, strict_cache=True)
    outcome, _ = done(plan, FakeEngine(builds=[(stream, 0)]))
    assert [each.status for each in outcome.report.cache.imports] == ["absent"]
    assert outcome.error is None


@pytest.mark.parametrize("name", NAMES)
def test_a_cache_export_over_a_passing_fault_is_tried_again_whatever_its_name(name: str) -> None:
    failed = MADE + said(vertex("exporting cache to registry", error=f"error writing manifest blob: {busy(name)}"))
    written = MADE + said(vertex("exporting cache to registry"))
    plan = planned(tag=["registry.example.com/other:1"], push=True, cache="registry", cache_ref=name)
    outcome, _ = done(plan, FakeEngine(builds=[(failed, 0), (written, 0)]))
    assert [each.status for each in outcome.report.cache.exports] == ["written"]


@pytest.mark.parametrize(
    "error",
    [
        "dockerfile parse error on line 403: unknown instruction: DENIED",
        "dockerfile parse error on line 404: unterminated heredoc",
        'dockerfile parse error on line 401: failed to process "unauthorized: denied": unexpected end of statement',
        'failed to calculate checksum of ref moby::429abc: "/errors/503 Service Unavailable": not found',
        "failed to read dockerfile: open 403 Forbidden/denied: x: no such file or directory",
        "failed to process \"${HTTP_503}\": missing ':' in substitution",
        'failed to parse stage name "denied:401": invalid reference format',
        "failed to solve: lstat /var/lib/unauthorized/no space left on device: not a directory",
        "registry.example.com/denied:403: not found",
    ],
)
def test_a_mistake_in_the_dockerfile_is_one_whatever_it_names(error: str) -> None:
    stream = (
        said(vertex("[internal] load build definition from Dockerfile")) + f"ERROR: failed to solve: {error}\n".encode()
    )
    outcome, _ = done(planned(tag=["registry.example.com/app:1"], push=True), FakeEngine(builds=[(stream, 1)]))
    assert isinstance(outcome.error, BuildFailedError)
    assert outcome.report.retries == ()


@pytest.mark.parametrize(
    ("command", "cause"),
    [
        ("echo context canceled", "exit code: 1"),
        ("grep 'code = Canceled' log", "exit code: 2"),
        ("curl -f https://example.com/denied: 403 Forbidden", "exit code: 22"),
    ],
)
def test_a_command_of_a_step_is_no_cause(command: str, cause: str) -> None:
    words = f'process "/bin/sh -c {command}" did not complete successfully: {cause}'
    stream = said(vertex("[a 1/1] RUN other", error="context canceled"), vertex(f"[b 1/1] RUN {command}", error=words))
    outcome, _ = done(planned(), FakeEngine(builds=[(stream + b"ERROR: failed to build\n", 1)]))
    assert isinstance(outcome.error, BuildFailedError)
    assert outcome.error.message == f"[b] RUN {command}: {cause}"


@pytest.mark.parametrize("host", ["denied.example.com", "registry.example.com:401", "unauthorized.example.com"])
def test_a_login_that_does_not_reach_its_registry_was_not_refused(host: str) -> None:
    stderr = f'Error response from daemon: Get "https://{host}/v2/": dial tcp: lookup {host}: no such host'
    plan = planned(tag=[f"{host}/app:1"], push=True, username="me", password_env="P")  # noqa: S106 -- a name
    outcome, _ = done(plan, FakeEngine(ends={"login": Ended(code=1, stderr=stderr)}))
    assert told(outcome.error)[0] is UnreachableError
    assert outcome.report.exit_code == ExitCode.UNREACHABLE


@pytest.mark.parametrize(
    ("stderr", "hint"),
    [
        ("ERROR: failed to find driver for pull/pull-cache: timed out", "look at it"),
        ("ERROR: Error response from daemon: No such image: moby/buildkit:1", "check --buildkit-image"),
        (
            "#1 pulling image moby/buildkit:1\nERROR: Error response from daemon: manifest unknown",
            "check --buildkit-image",
        ),
    ],
)
def test_only_a_pull_that_fails_is_the_builder_images(stderr: str, hint: str) -> None:
    outcome, _ = done(planned(), FakeEngine(ends={"buildx create": Ended(code=1, stderr=stderr)}))
    error: BuildxCacheError | None = outcome.error
    assert isinstance(error, EngineError)
    assert error.hint.startswith(hint)
