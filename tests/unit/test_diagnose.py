from __future__ import annotations

from pathlib import Path

import pytest

from buildx_cache.buildkit.causes import CAUSES
from buildx_cache.buildkit.classify import classify
from buildx_cache.buildkit.failure import diagnose, source_excerpt
from buildx_cache.buildkit.stream import StreamParser
from buildx_cache.buildkit.trace import BuildTrace, Step, Transfer
from buildx_cache.buildkit.trace_builder import TraceBuilder
from buildx_cache.buildkit.vertex_names import TransferKind
from buildx_cache.errors import (
    BuildFailedError,
    BuildxCacheError,
    CacheError,
    DeniedError,
    EngineError,
    ExhaustedError,
    UnreachableError,
    UsageError,
)
from tests.unit.test_causes import ROWS, trace_of


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


def trace(
    error: str,
    *,
    failed: Step | None = None,
    transfers: tuple[Transfer, ...] = (),
    log: tuple[str, ...] = (),
    text: tuple[str, ...] = (),
    errors: tuple[tuple[str, str], ...] = (),
) -> BuildTrace:
    return BuildTrace(
        steps=(failed,) if failed else (),
        transfers=transfers,
        warnings=(),
        text=text,
        failed=failed,
        error=error,
        log_tail=log,
        errors=errors,
    )


def failed_run(ending: str, *log: str) -> BuildTrace:
    cause = f'process "/bin/sh -c make" did not complete successfully: {ending}'
    return trace(cause, failed=step(cause), log=log)


def told(error: BuildxCacheError) -> tuple[type[BuildxCacheError], str, str]:
    return type(error), error.message, error.hint


# What a build has done once BuildKit was asked for anything.
ASKED = (transfer("other", ""),)
RUN_HINT = "the end of its log is below; nothing was pushed"
FAULT = "try again later, or ask the server's operators: it has a fault or is overloaded"
LOGIN = "log in with --username and --password-env, or `docker login`; check that the account may do this"
ACCESS = "check the repository's name, and that the account may write (push) or read (FROM) it"
DISK = "free disk space: `docker buildx prune`, `docker system prune`, or a larger machine"
LIMIT = "log in to raise the registry's limit of requests, or try again later"
COPY = "correct the path: the build context, or the stage of --from, lacks it; .dockerignore may exclude it"
INSTRUCTION = "correct the line; if it continues the line above, end that one with \\"
TARGET = "correct --target: the Dockerfile's stages are the names after AS in FROM lines"
DNS = "correct the host's name; a builder in a container uses this host's DNS only with --driver-opt network=host"
HTTP = "set `http = true` in --buildkitd-config, or Docker's insecure-registries: the server speaks plain HTTP"
CERTIFICATE = "add the certificate's CA to --buildkitd-config or Docker's certs.d folder: the builder does not trust it"
NETWORK = "check the address and the network; a builder in a container has its own network"
LOOPBACK = "check that a server listens there; a builder in a container reaches it only with --driver-opt network=host"
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
        (
            "x: 507 Insufficient Storage unknown",
            UnreachableError,
            "ask the registry's operators: its disk is full",
        ),
        ("write /var/lib/x: no space left on device", ExhaustedError, DISK),
        ("toomanyrequests: You have reached your pull rate limit", UnreachableError, LIMIT),
        ("429 Too Many Requests", UnreachableError, LIMIT),
        ("dial tcp 10.0.0.1:5000: connect: connection refused", UnreachableError, NETWORK),
        (
            'Head "http://localhost:5000/v2/": dial tcp [::1]:5000: connect: connection refused',
            UnreachableError,
            LOOPBACK,
        ),
        (
            'Head "https://localhost:5000/v2/": dial tcp [::1]:5000: connect: cannot assign requested address',
            UnreachableError,
            LOOPBACK,
        ),
        ("dial tcp: lookup r.example.com: no such host", UnreachableError, DNS),
        ("read tcp 10.0.0.1:1->10.0.0.2:443: connection reset by peer", UnreachableError, NETWORK),
        ("net/http: TLS handshake timeout", UnreachableError, NETWORK),
        (
            'failed to do request: Post "https://r.example/v2/a/blobs/uploads/": http: server closed idle connection',
            UnreachableError,
            NETWORK,
        ),
        (
            "git stderr: fatal: unable to access 'http://127.0.0.1:1/x.git/': Failed to connect to 127.0.0.1 port 1",
            UnreachableError,
            NETWORK,
        ),
        ("git stderr: fatal: unable to access 'http://a.b/': Could not resolve host: a.b", UnreachableError, DNS),
        ("dial tcp 10.0.0.1:443: i/o timeout", UnreachableError, NETWORK),
        ("http: server gave HTTP response to HTTPS client", UnreachableError, HTTP),
        (
            "unexpected status from HEAD request to https://r.example.com/v2/x: 503 Service Unavailable",
            UnreachableError,
            FAULT,
        ),
        ("received unexpected HTTP status: 500 Internal Server Error", UnreachableError, FAULT),
        ("x509: certificate signed by unknown authority", UnreachableError, CERTIFICATE),
        ("failed to list workers: Unavailable", EngineError, BUILDER),
        ('no builder "mine" found', EngineError, "`docker buildx ls` lists the builders"),
        ("dockerfile parse error on line 3: unknown instruction: RUNN", BuildFailedError, INSTRUCTION),
        (
            "failed to read dockerfile: open Dockerfile: no such file or directory",
            BuildFailedError,
            "name the Dockerfile with -f/--file; a symbolic link must not lead out of its folder",
        ),
        ("failed to solve: frontend grpc server closed unexpectedly", BuildFailedError, ""),
        ('target stage "x" could not be found', UsageError, TARGET),
    ],
)
def test_a_cause_has_its_kind_of_error(cause: str, kind: type[BuildxCacheError], hint: str) -> None:
    error = diagnose(trace(cause, transfers=ASKED), 1)
    assert told(error) == (kind, cause.removeprefix("failed to solve: "), hint)


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
        ("unexpected status from POST request to http://r/v2/a: 507 Insufficient Storage\nunknown", UnreachableError),
        ("rpc error: code = Unknown desc = write /c/ingest/x/data: no space left on device", ExhaustedError),
        ("rpc error: code = Unavailable desc = error reading from server: EOF", EngineError),
    ],
)
def test_words_whose_cause_is_known(words: str, kind: type[BuildxCacheError]) -> None:
    problem = classify(words)
    assert (problem.error, problem.advice != "") == (kind, True)


@pytest.mark.parametrize("words", ["", "404 Not Found: blob unknown to registry", "mkdir /c: read-only file system"])
def test_words_whose_cause_is_not_known(words: str) -> None:
    problem = classify(words)
    assert (problem.cause.error, problem.advice, problem.retryable) == (None, "", False)


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
    assert told(diagnose(trace(cause, failed=failed), 1)) == (BuildFailedError, name + cause, COPY)


def test_a_base_image_that_may_not_be_pulled_is_a_matter_of_access() -> None:
    cause = "pull access denied, repository does not exist or may require authorization"
    error = diagnose(trace(cause, failed=step(cause, name="FROM org/x")), 1)
    assert told(error) == (DeniedError, f"org/x: {cause}", ACCESS)


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
    words = "docker buildx build ended with code 17"
    assert told(diagnose(trace("", transfers=ASKED), 17)) == (BuildFailedError, words, "")


def test_credentials_in_a_cause_are_hidden() -> None:
    error = diagnose(trace("failed to fetch https://me:abc123@example.com/x.git"), 1)
    assert error.message == "failed to fetch https://***@example.com/x.git"


# --- each row of the tables, by real words -------------------------------------------------------------------

RECORDINGS = Path(__file__).parent / "recordings"


def recorded(name: str) -> BuildTrace:
    parser, builder = StreamParser(), TraceBuilder()
    for event in [*parser.feed((RECORDINGS / f"{name}.rawjson").read_bytes()), *parser.close()]:
        builder.add(event)
    return builder.trace()


# What Buildx wrote of real builds: the error, how its message begins, and what its hint names.
RECORDED: dict[str, tuple[type[BuildxCacheError], str, str]] = {
    "buildx-0.29.1/errors/killed": (BuildFailedError, "RUN echo linking; sh -c", "`make -j2`"),
    "buildx-0.29.1/errors/no-such-command": (
        BuildFailedError,
        "RUN no-such-command --all: exit",
        "install it in an earlier RUN",
    ),
    "buildx-0.29.1/errors/windows-line-endings": (BuildFailedError, "RUN /go.sh: exit code: 127", "LF, not CRLF"),
    "buildx-0.29.1/errors/foreign-program": (BuildFailedError, 'RUN ["/program"]: exit code: 1', "--platform"),
    "buildx-0.29.1/errors/hidden-by-dockerignore": (BuildFailedError, "COPY notes.md /: failed to", ".dockerignore"),
    "buildx-0.29.1/errors/no-such-stage": (UsageError, 'target stage "biuld" could not', "--target"),
    "buildx-0.29.1/errors/newer-flag": (
        BuildFailedError,
        "dockerfile parse error on line 2: unknown",
        "# syntax=docker",
    ),
    "buildx-0.29.1/errors/no-secret": (UsageError, "[stage-0] RUN --mount=type=secret", "--secret id=NAME,env="),
    "buildx-0.29.1/errors/checksum": (BuildFailedError, "ADD --checksum=sha256:0000", "change --checksum"),
    "buildx-0.29.1/errors/no-such-syntax": (BuildFailedError, "registry.example:5000/nobody/", "`# syntax` line"),
    "buildx-0.29.1/errors/socket-denied": (EngineError, "permission denied while trying", "the group docker"),
    "buildx-0.29.1/missing-base": (
        BuildFailedError,
        "registry.example:5000/team/nowhere:1",
        "correct the image's name in FROM",
    ),
    "buildx-0.29.1/missing-copy-source": (BuildFailedError, "COPY no-such-file.txt /: failed", ".dockerignore"),
    "buildx-0.29.1/push-denied": (DeniedError, "failed to push registry.example:5000", "the account may write"),
    "buildx-0.29.1/registry-layer-denied": (DeniedError, "failed to copy: httpReadSeeker", "the account may"),
    "buildx-0.29.1/cache-export-error": (CacheError, "the cache could not be written", "the network"),
    "buildx-0.29.1/local-index-locked": (CacheError, "could not lock", "another build may use the folder"),
    "buildx-0.29.1/failing-run": (BuildFailedError, "[broken] RUN for i in", "the end of its log is below"),
    "buildx-0.29.1/run-says-not-found": (BuildFailedError, "[stage-1] RUN echo content", "the end of its log is below"),
    "buildx-0.13.1/syntax-error": (BuildFailedError, "dockerfile parse error on line 1", "end that one with"),
    "buildx-0.13.1/missing-copy-source": (BuildFailedError, "COPY no-such-file.txt /: failed", ".dockerignore"),
}


@pytest.mark.parametrize("name", RECORDED)
def test_a_recorded_failure_says_what_to_do(name: str) -> None:
    kind, message, hint = RECORDED[name]
    error = diagnose(recorded(name), 1)
    assert (type(error), error.message[: len(message)], hint in error.hint) == (kind, message, True), told(error)


# What cannot be had without the network or another machine, as it stands in the named thread or source; names are ours.
QUOTED: dict[str, tuple[str, type[BuildxCacheError], str]] = {
    "containerd core/images/image.go, of an image without arm64": (
        "failed to solve: maven:3.9-eclipse-temurin-11-alpine: no match for platform in manifest: not found",
        BuildFailedError,
        "only for other platforms",
    ),
    "moby/buildkit util/entitlements/entitlements.go, openllb/hlb#118": (
        "failed to solve: rpc error: code = Unknown desc = failed to load LLB: security.insecure is not allowed",
        BuildFailedError,
        "--allow security.insecure",
    ),
    "docker/buildx#99": (
        "failed to solve: rpc error: code = Unknown desc = network.host is not allowed",
        BuildFailedError,
        "--allow network.host",
    ),
    "docker/buildx#619": (
        "failed to solve: granting entitlement network.host is not allowed by build daemon configuration",
        EngineError,
        "--allow-insecure-entitlement",
    ),
    "docker/buildx build/utils.go": (
        "Cache export is not supported for the docker driver.",
        EngineError,
        "--driver docker-container",
    ),
    "moby/buildkit#442": (
        "failed to create LLB definition: Dockerfile parse error line 6: Unknown flag: mount",
        BuildFailedError,
        "# syntax=docker/dockerfile:1",
    ),
    "moby/buildkit session/secrets/secrets.go of 2019": (
        "failed to solve: secret token not found: not found",
        UsageError,
        "--secret id=NAME",
    ),
    "moby/buildkit source/http/source.go": (
        f"digest mismatch for https://example.com/a.tgz: sha256:{'1' * 64} (expected: sha256:{'2' * 64})",
        BuildFailedError,
        "change --checksum",
    ),
    "docker/buildx#2789": (
        (
            "failed to receive status: rpc error: code = Unavailable desc = closing transport due to: connection "
            'error: desc = "error reading from server: EOF", received prior goaway: code: NO_ERROR, debug data: "'
            'graceful_stop"'
        ),
        EngineError,
        "read the log of the builder's container",
    ),
    "microsoft/vscode-remote-release#8005": (
        "failed to solve: Unavailable: error reading from server: EOF",
        EngineError,
        "read the log of the builder's container",
    ),
    "moby/buildkit#1222": (
        "failed to receive status: rpc error: code = Unavailable desc = transport is closing",
        EngineError,
        "read the log of the builder's container",
    ),
    "moby/moby daemon/errors.go": (
        "Error response from daemon: No such container: buildx_buildkit_ci0",
        EngineError,
        "read the log of the builder's container",
    ),
    "docker/buildx#1611": (
        (
            "pull access denied, repository does not exist or may require authorization: server message: "
            "insufficient_scope: authorization failed"
        ),
        DeniedError,
        "the repository's name",
    ),
    "earthly/earthly#1873": (
        (
            "pull access denied, repository does not exist or may require authorization: authorization status: 401: "
            "authorization failed"
        ),
        DeniedError,
        "log in with --username",
    ),
    "elastic/golang-crossbuild#659": (
        (
            "failed to copy: httpReadSeeker: failed open: unexpected status code https://registry.example/v2/library/"
            "debian/manifests/sha256:58ce6f1271ae: 429 Too Many Requests - Server message: toomanyrequests: You have "
            "reached your unauthenticated pull rate limit."
        ),
        UnreachableError,
        "log in to raise the registry's limit",
    ),
    "rapidsai/ci-imgs#427": (
        (
            "unexpected status from HEAD request to https://registry.example/v2/nvidia/cuda/manifests/12.2.2-base: "
            "429 Too Many Requests"
        ),
        UnreachableError,
        "log in to raise the registry's limit",
    ),
    "docker/buildx#1642": (
        (
            'failed to do request: Head "https://r.example:5000/v2/app/manifests/1": http: server gave HTTP '
            "response to HTTPS client"
        ),
        UnreachableError,
        "http = true",
    ),
    "orbstack/orbstack#2395": (
        (
            'failed to do request: Head "https://registry.example/v2/oven/bun/manifests/1-alpine": tls: failed to '
            "verify certificate: x509: certificate is valid for *.example.com, not registry.example"
        ),
        UnreachableError,
        "does not trust",
    ),
    "Go crypto/x509/verify.go, CertificateInvalidError": (
        (
            'Get "https://r.example/v2/": tls: failed to verify certificate: x509: certificate has expired or is not '
            "yet valid: current time 2021-10-08T20:28:57Z is after 2021-09-25T00:00:00Z"
        ),
        UnreachableError,
        "renew the server's certificate",
    ),
    "moby/moby#42867": (
        (
            "failed to do request: Head https://registry.example/v2/library/a/manifests/1: dial tcp: lookup registry."
            "docker.io: no such host"
        ),
        UnreachableError,
        "correct the host's name",
    ),
    "docker-archive-public/docker.kitematic#3914": (
        "dial tcp: lookup registry.example on 10.0.2.3:53: server misbehaving",
        UnreachableError,
        "correct the host's name",
    ),
    "Go net/dnsclient_unix.go with cgo's resolver": (
        "dial tcp: lookup r.example: Temporary failure in name resolution",
        UnreachableError,
        "correct the host's name",
    ),
    "moby/buildkit#5260": (
        'process "/bin/sh -c make" did not complete successfully: cannot allocate memory',
        ExhaustedError,
        "more memory",
    ),
    "syscall.ENOSPC in buildx-0.29.1/local-disk-full": (
        (
            "error writing layer blob: failed to copy: failed to send write: rpc error: code = Unknown desc = write "
            "/cache/ingest/2d131b951707136e/data: no space left on device"
        ),
        ExhaustedError,
        "free space on the disk of that file",
    ),
    "syscall.ENOSPC": (
        "failed to copy files: copy file range failed: no space left on device",
        ExhaustedError,
        "free disk space",
    ),
    "buildx-0.29.1, an export to a disk is full, with what it did": (
        "exporting to client directory: EOF",
        ExhaustedError,
        "free space and permissions",
    ),
    "buildx-0.29.1, the same on a slower day": (
        "ERROR: failed to build: failed to solve: error from receiver: context canceled",
        ExhaustedError,
        "free space and permissions",
    ),
    "buildx-0.29.1, of a Dockerfile called Docker\\xfefile": (
        (
            "ERROR: failed to build: failed to solve: rpc error: code = Internal desc = grpc: error unmarshalling "
            "request: string field contains invalid UTF-8"
        ),
        BuildFailedError,
        "encode the value in UTF-8",
    ),
    "docker/cli, of a stopped engine": (
        "ERROR: Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?",
        EngineError,
        "start Docker",
    ),
    "docker/cli cli/context/store": (
        (
            'Failed to initialize: unable to resolve docker endpoint: context "ci": context not found: open '
            "/root/.docker/contexts/meta/4a1b/meta.json: no such file or directory"
        ),
        EngineError,
        "docker context ls",
    ),
    "docker/buildx builder/builder.go": (
        'no builder "ci" found',
        EngineError,
        "docker buildx ls",
    ),
}


@pytest.mark.parametrize("source", QUOTED)
def test_quoted_words_say_what_to_do(source: str) -> None:
    words, kind, hint = QUOTED[source]
    failed = step(words) if words.startswith("process") else None
    error = diagnose(trace(words, failed=failed), 1)
    assert (type(error), hint in error.hint) == (kind, True), told(error)


# The end of a RUN: its exit code and its log, as in the named thread, or as the named program prints it.
COMMANDS: dict[str, tuple[str, tuple[str, ...], str]] = {
    "rr-/szurubooru#518": ("exit code: 137", ("Copied images", "Killed"), "`make -j2`"),
    "apache/caldera#2579": (
        "exit code: 126",
        ("/bin/bash: ./update-agents.sh: /bin/bash^M: bad interpreter: No such file or directory",),
        "LF, not CRLF",
    ),
    "kartoza/docker-postgis#106": (
        "exit code: 127",
        ("/usr/bin/env: 'bash\\r': No such file or directory",),
        "LF, not CRLF",
    ),
    "moby/buildkit#3511, a heredoc of busybox": (
        "exit code: 1",
        ("hi", ": No such file or directory"),
        ".gitattributes",
    ),
    "moby/buildkit#3329, of bash": ("exit code: 127", ("x.sh: line 2: $'\\r': command not found",), ".gitattributes"),
    "moby/moby#40363": (
        "exit code: 100",
        (
            (
                "E: Release file for http://archive.ubuntu.com/ubuntu/dists/bionic-updates/InRelease is not valid yet "
                "(invalid for another 2h 57min 6s). Updates for this repository will not be applied."
            ),
        ),
        "clock is wrong",
    ),
    "moby/buildkit#4073": (
        "exit code: 1",
        (
            (
                "runc run failed: unable to start container process: error during container init: error mounting "
                '"proc" to rootfs at "/proc": mount proc:/proc (via /proc/self/fd/6), flags: 0xe: operation '
                "not permitted"
            ),
        ),
        "--privileged",
    ),
    "devecchijr/apiPub#4": ("exit code: 1", ("exec /irissession.sh: no such file or directory",), "LF, not CRLF"),
    "bash 5.2": (
        "exit code: 127",
        ("/bin/bash: line 1: /go.sh: cannot execute: required file not found",),
        "LF, not CRLF",
    ),
    "dash, of a script": ("exit code: 127", ("+ ./go.sh", "/bin/sh: 1: ./go.sh: not found"), "LF, not CRLF"),
    "dash, of a command": ("exit code: 127", ("/bin/sh: 1: go: not found",), "install it in an earlier RUN"),
    "runc": (
        "exit code: 1",
        (
            (
                "runc run failed: unable to start container process: error during container init: "
                'exec: "go": executable file not found in $PATH'
            ),
        ),
        "install it in an earlier RUN",
    ),
    "runc, of a path": (
        "exit code: 1",
        (('runc run failed: unable to start container process: exec: "/go": stat /go: no such file or directory'),),
        "the image lacks the file",
    ),
    "busybox, of a file that may not be executed": (
        "exit code: 126",
        ("/bin/sh: /go.sh: Permission denied",),
        "COPY --chmod=755",
    ),
    "tonistiigi/binfmt": (
        "exit code: 255",
        (".buildkit_qemu_emulator: /bin/sh: Invalid ELF image for this architecture",),
        "another platform",
    ),
    "GNU tar": ("exit code: 2", ("tar: a: Cannot write: No space left on device",), "a disk is full"),
    "npm, of a disk is full": ("exit code: 228", ("npm error code ENOSPC",), "a disk is full"),
    "GCC": ("exit code: 1", ("virtual memory exhausted: Cannot allocate memory",), "too little memory"),
    "Node": (
        "exit code: 134",
        ("FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory",),
        "too little memory",
    ),
    "curl, of a limit": ("exit code: 22", ("curl: (22) The requested URL returned error: 429",), "limits requests"),
    "pip, of a limit": (
        "exit code: 1",
        ("ERROR: HTTP error 429 while getting https://packages.example/a.whl", "429 Client Error: Too Many Requests"),
        "limits requests",
    ),
    "wget": ("exit code: 8", ("2026-11-24 23:34:24 ERROR 429: Too Many Requests.",), "limits requests"),
    "npm, of a login": ("exit code: 1", ("npm error 401 Unauthorized - GET https://packages.example/a",), "a login"),
    "curl, of a name": ("exit code: 6", ("curl: (6) Could not resolve host: example.com",), "--network host"),
    "apt": (
        "exit code: 100",
        ("Err:1 http://example.com  Temporary failure resolving 'example.com'",),
        "--network host",
    ),
    "busybox, of a name": ("exit code: 1", ("wget: bad address 'example.com'",), "--network host"),
    "npm, of a name": ("exit code: 1", ("npm error code EAI_AGAIN",), "--network host"),
    "krakend/playground-community#30": (
        "exit code: 1",
        ('go: github.com/a/b@v1: Get "https://proxy.example/a": x509: certificate signed by unknown authority',),
        "not trusted",
    ),
    "curl, of a certificate": (
        "exit code: 60",
        ("curl: (60) SSL certificate problem: unable to get local issuer certificate",),
        "not trusted",
    ),
    "Python": (
        "exit code: 1",
        ("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed (_ssl.c:1006)",),
        "not trusted",
    ),
}


@pytest.mark.parametrize("source", COMMANDS)
def test_a_failed_command_stays_one_and_its_log_gives_the_hint(source: str) -> None:
    ending, log, hint = COMMANDS[source]
    error = diagnose(failed_run(ending, *log), 1)
    assert (type(error), error.message) == (BuildFailedError, f"[build] RUN make: {ending}")
    assert hint in error.hint


HINTS = [hint for cause in CAUSES.values() for hint in (cause.advice, cause.in_step) if hint]


def test_each_row_is_what_some_real_words_lead_to() -> None:
    errors = [diagnose(recorded(name), 1) for name in RECORDED]
    errors += [diagnose(trace(words, failed=None), 1) for words, _, _ in QUOTED.values()]
    errors += [diagnose(failed_run(ending, *log), 1) for ending, log, _ in COMMANDS.values()]
    errors += [diagnose(trace_of(row), 1) for row in ROWS.values()]
    hints = {error.hint for error in errors}
    assert [hint for hint in HINTS if hint not in hints] == []


@pytest.mark.parametrize("hint", HINTS)
def test_a_hint_is_one_line_without_a_full_stop(hint: str) -> None:
    assert hint.strip(" .\n") == hint
    assert ("\n" in hint, 0 < len(hint) < 120) == (False, True)


@pytest.mark.parametrize(
    ("ending", "log"),
    [
        ("exit code: 1", ("test 429 passed", "port 8429 is free", "page 401 of 500", "resolved host example.com")),
        ("exit code: 1", ("warning: module not found: ./b.js", "/usr/lib/a.so: not found")),
        ("exit code: 137: context canceled: context canceled", ()),
        ("exit code: 22", ("curl: (22) The requested URL returned error: 404",)),
    ],
    ids=["numbers", "not-found", "cancelled", "404"],
)
def test_a_log_that_only_looks_alike_gives_no_hint(ending: str, log: tuple[str, ...]) -> None:
    assert diagnose(failed_run(ending, *log), 1).hint == RUN_HINT


def test_what_buildkit_says_of_a_command_that_did_not_exit_is_believed() -> None:
    error = diagnose(failed_run('error mounting "/a": no space left on device'), 1)
    assert told(error) == (
        ExhaustedError,
        '[build] RUN make: error mounting "/a": no space left on device',
        DISK,
    )


def test_a_name_that_looks_like_a_cause_is_none() -> None:
    lost = 'failed to calculate checksum of ref a::b: "/errors/401/429": not found'
    assert told(diagnose(trace(lost, failed=step(lost, name="COPY errors/401/429 /")), 1))[2] == COPY
    base = "r.example/team/503:401: not found"
    error = diagnose(trace(base, errors=(("[internal] load metadata for r.example/team/503:401", base),)), 1)
    assert "correct the image's name in FROM" in error.hint


def test_the_name_of_another_error_is_not_what_buildkit_did() -> None:
    errors = (("resolve image config for docker-image://r.example/frontend:1", "r.example/frontend:1: not found"),)
    assert diagnose(trace("r.example/app:1: not found", errors=errors, transfers=ASKED), 1).hint == ""


# --- where in the Dockerfile ---------------------------------------------------------------------------------


def test_the_excerpt_of_a_recorded_failure() -> None:
    assert source_excerpt(recorded("buildx-0.29.1/missing-copy-source")) == (
        "missing.Dockerfile:3",
        "   1 |     ARG BASE",
        "   2 |     FROM $BASE",
        "   3 | >>> COPY no-such-file.txt /",
        "   4 |     RUN echo never",
        "   5 |     ",
    )


@pytest.mark.parametrize("name", ["buildx-0.29.1/errors/no-such-syntax", "buildx-0.13.1/failing-run"])
def test_an_excerpt_begins_with_the_place_and_marks_a_line(name: str) -> None:
    place, *lines = source_excerpt(recorded(name))
    assert place in {"Dockerfile:1", "fail.Dockerfile:7"}
    assert sum("| >>> " in line for line in lines) == 1


@pytest.mark.parametrize("name", ["buildx-0.29.1/errors/no-such-stage", "buildx-0.29.1/push-denied"])
def test_a_failure_of_no_line_has_no_excerpt(name: str) -> None:
    assert source_excerpt(recorded(name)) == ()


def test_all_excerpts_are_told_and_nothing_else() -> None:
    rule = "-" * 20
    one = ("a/My Dockerfile:3", rule, "   3 | >>> RUN a", rule)
    two = ("Dockerfile:100", rule, "  99 |     FROM b", " 100 | >>> RUN b", rule)
    text = ("WARNING: x:1", *one, *two, "   1 | not of it", rule, "ERROR: failed to solve: x:3")
    assert source_excerpt(trace("x", text=text)) == (one[0], one[2], two[0], two[2], two[3])
