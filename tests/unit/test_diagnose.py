from __future__ import annotations

import pytest

from buildx_cache.diagnose import diagnose, find_cause
from buildx_cache.errors import (
    BuildFailedError,
    BuildxCacheError,
    CacheError,
    DeniedError,
    EngineError,
    ExhaustedError,
    UnreachableError,
)
from buildx_cache.progress import BuildTrace, Step, Transfer
from buildx_cache.progress.names import TransferKind


def step(error: str, *, name: str = "RUN make", stage: str = "build") -> Step:
    return Step(
        name=name,
        stage=stage,
        platform="",
        number=2,
        total=3,
        digest="sha256:1",
        inputs=(),
        cached=False,
        seconds=1.0,
        error=error,
        started=1.0,
        completed=2.0,
    )


def transfer(kind: TransferKind, error: str) -> Transfer:
    return Transfer(kind=kind, name=kind, error=error, seconds=0.0, bytes=0, digest="sha256:2")


def trace(error: str, *, failed: Step | None = None, transfers: tuple[Transfer, ...] = ()) -> BuildTrace:
    steps = (failed,) if failed else ()
    return BuildTrace(steps=steps, transfers=transfers, warnings=(), text=(), failed=failed, error=error, log_tail=())


def told(error: BuildxCacheError) -> tuple[type[BuildxCacheError], str, str]:
    return type(error), error.message, error.hint


RUN_HINT = "the end of its log is below; nothing was pushed"
MEND = "mend the Dockerfile or the build context"
LOGIN = "log in with --username and --password-env, or `docker login`; check that the account may do this"
ACCESS = "check the repository's name, and that the account may write (push) or read (FROM) it"
DISK = "free disk space: `docker buildx prune`, `docker system prune`, or a larger machine"
LIMIT = "the registry limits requests: log in to raise the limit, or try again later"
NETWORK = "check the registry's address and the network; a builder in a container has a network of its own"
BUILDER = "look at the builder with `docker buildx inspect`, or remove it with `docker buildx rm`"


@pytest.mark.parametrize(
    ("cause", "kind", "hint"),
    [
        ("push access denied, repository does not exist or may require authorization", DeniedError, ACCESS),
        ("pull access denied for org/private", DeniedError, ACCESS),
        ("denied: requested access to the resource is denied", DeniedError, ACCESS),
        ("unexpected status from POST request to https://r.example.com/v2/: 403 Forbidden", DeniedError, ACCESS),
        ("insufficient_scope: authorization failed", DeniedError, ACCESS),
        ("failed to authorize: 401 Unauthorized", DeniedError, LOGIN),
        ("no basic auth credentials", DeniedError, LOGIN),
        ("authentication required", DeniedError, LOGIN),
        ("failed to push registry.example.com/app:1: denied", DeniedError, ACCESS),
        ("failed to push registry.example.com/app:1: unauthorized", DeniedError, LOGIN),
        ("failed to push registry.example.com/app:1: toomanyrequests", UnreachableError, LIMIT),
        ("x: 507 Insufficient Storage unknown", ExhaustedError, DISK),
        ("write /var/lib/x: no space left on device", ExhaustedError, DISK),
        ("toomanyrequests: You have reached your pull rate limit", UnreachableError, LIMIT),
        ("429 Too Many Requests", UnreachableError, LIMIT),
        ("dial tcp 127.0.0.1:5000: connect: connection refused", UnreachableError, NETWORK),
        ("dial tcp: lookup r.example.com: no such host", UnreachableError, NETWORK),
        ("read tcp 10.0.0.1:1->10.0.0.2:443: connection reset by peer", UnreachableError, NETWORK),
        ("net/http: TLS handshake timeout", UnreachableError, NETWORK),
        ("dial tcp 10.0.0.1:443: i/o timeout", UnreachableError, NETWORK),
        ("http: server gave HTTP response to HTTPS client", UnreachableError, NETWORK),
        (
            "unexpected status from HEAD request to https://r.example.com/v2/x: 503 Service Unavailable",
            UnreachableError,
            NETWORK,
        ),
        ("received unexpected HTTP status: 500 Internal Server Error", UnreachableError, NETWORK),
        ("x509: certificate signed by unknown authority", UnreachableError, NETWORK),
        ("failed to list workers: Unavailable", EngineError, BUILDER),
        ('no builder "mine" found', EngineError, BUILDER),
        ("dockerfile parse error on line 3: unknown instruction: RUNN", BuildFailedError, MEND),
        ("failed to read dockerfile: open Dockerfile: no such file or directory", BuildFailedError, MEND),
        ('target stage "x" could not be found', BuildFailedError, MEND),
    ],
)
def test_a_cause_has_its_kind_of_error(cause: str, kind: type[BuildxCacheError], hint: str) -> None:
    assert told(diagnose(trace(cause), 1)) == (kind, cause, hint)


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (
            "unexpected status from POST request to http://r/v2/a/blobs/uploads/: 401 Unauthorized\nunauthorized",
            DeniedError,
        ),
        ("unexpected status from POST request to http://r/v2/a/blobs/uploads/: 403 Forbidden\ndenied", DeniedError),
        ("unexpected status from PUT request to http://r/v2/a/manifests/c: 429 Too Many Requests", UnreachableError),
        (
            "unexpected status from PUT request to http://r/v2/a/manifests/c: 500 Internal Server Error",
            UnreachableError,
        ),
        ("unexpected status from POST request to http://r/v2/a: 507 Insufficient Storage\nunknown", ExhaustedError),
        ("rpc error: code = Unknown desc = write /c/ingest/x/data: no space left on device", ExhaustedError),
        ("rpc error: code = Unavailable desc = error reading from server: EOF", EngineError),
    ],
)
def test_words_whose_cause_is_known(words: str, kind: type[BuildxCacheError]) -> None:
    cause = find_cause(words)
    assert cause is not None
    assert (cause.error, cause.hint != "") == (kind, True)


@pytest.mark.parametrize("words", ["", "404 Not Found: blob unknown to registry", "mkdir /c: read-only file system"])
def test_words_whose_cause_is_not_known(words: str) -> None:
    assert find_cause(words) is None


@pytest.mark.parametrize(
    "prefix", ["failed to solve: ", "ERROR: failed to build: failed to solve: ", "failed to build: "]
)
def test_the_chain_of_causes_begins_where_it_says_something(prefix: str) -> None:
    assert diagnose(trace(f"{prefix}dockerfile parse\n  error"), 1).message == "dockerfile parse error"


def test_a_failed_command_is_told_with_its_step() -> None:
    cause = 'process "/bin/sh -c make" did not complete successfully: exit code: 2'
    error = diagnose(trace(cause, failed=step(cause)), 1)
    assert told(error) == (BuildFailedError, "[build] RUN make: exit code: 2", RUN_HINT)


@pytest.mark.parametrize(
    "words", ["401 unauthorized", "access denied", "no space left on device", "connection refused", "429", "not found"]
)
def test_what_a_failed_command_says_is_not_ours_to_interpret(words: str) -> None:
    cause = f'process "/bin/sh -c curl # {words}" did not complete successfully: exit code: 22'
    error = diagnose(trace(cause, failed=step(cause)), 1)
    assert told(error) == (BuildFailedError, "[build] RUN make: exit code: 22", RUN_HINT)


@pytest.mark.parametrize(
    ("failed", "name"),
    [
        (step("x", name="COPY a\\\n   b /", stage=""), "COPY a\\ b /: "),
        (step("x", name="COPY nothing /", stage="stage-0"), "[stage-0] COPY nothing /: "),
    ],
    ids=["no-stage", "stage"],
)
def test_a_failed_copy_is_told_with_its_step(failed: Step, name: str) -> None:
    cause = 'failed to compute cache key: "/nothing": not found'
    assert told(diagnose(trace(cause, failed=failed), 1)) == (BuildFailedError, name + cause, MEND)


def test_a_base_image_that_may_not_be_pulled_is_a_matter_of_access() -> None:
    cause = "pull access denied, repository does not exist or may require authorization"
    assert told(diagnose(trace(cause, failed=step(cause, name="FROM org/x")), 1)) == (DeniedError, cause, ACCESS)


@pytest.mark.parametrize(
    ("cause", "hint"),
    [
        ("error writing layer blob: open /cache: read-only file system", "drop --strict-cache to go on without"),
        ("error writing layer blob: no space left on device", DISK),
        ("failed to push: 401 Unauthorized", LOGIN),
    ],
)
def test_a_cache_that_could_not_be_written_fails_as_such(cause: str, hint: str) -> None:
    transfers = (transfer("cache-export", cause),)
    error = diagnose(trace(f"failed to solve: {cause}", transfers=transfers), 1)
    assert told(error) == (CacheError, f"the cache could not be written: {cause}", hint)


def test_a_failed_step_comes_before_a_cache_that_could_not_be_written() -> None:
    cause = 'process "/bin/sh -c make" did not complete successfully: exit code: 2'
    transfers = (transfer("cache-export", "context canceled"),)
    assert isinstance(diagnose(trace(cause, failed=step(cause), transfers=transfers), 1), BuildFailedError)


def test_a_failed_import_alone_is_not_why_a_build_failed() -> None:
    transfers = (transfer("cache-import", "not found"),)
    assert isinstance(diagnose(trace("dockerfile parse error", transfers=transfers), 1), BuildFailedError)


def test_without_a_word_the_exit_code_is_told() -> None:
    assert told(diagnose(trace(""), 17)) == (BuildFailedError, "docker buildx build ended with code 17", MEND)


def test_credentials_in_a_cause_are_hidden() -> None:
    error = diagnose(trace("failed to fetch https://me:abc123@example.com/x.git"), 1)
    assert error.message == "failed to fetch https://***@example.com/x.git"
