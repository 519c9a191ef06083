"""What the words of BuildKit, Buildx, the docker CLI and registries mean; ``test_diagnose.py``: what follows."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from buildx_cache.buildkit.causes import CAUSES, Kind
from buildx_cache.buildkit.classify import (
    absent_folder,
    classify,
    classify_command,
    is_cancelled,
    without_names,
)
from buildx_cache.buildkit.error_texts import Operation

A = "a1" * 32

# --- statuses ----------------------------------------------------------------------------------------------

STATUSES = {
    400: Kind.REFUSED,
    401: Kind.UNAUTHORIZED,
    403: Kind.DENIED,
    404: Kind.ABSENT,
    405: Kind.REFUSED,
    409: Kind.REFUSED,
    412: Kind.REFUSED,
    413: Kind.REFUSED,
    415: Kind.REFUSED,
    416: Kind.REFUSED,
    422: Kind.REFUSED,
    451: Kind.REFUSED,
    408: Kind.SERVER_ERROR,
    429: Kind.THROTTLED,
    500: Kind.SERVER_ERROR,
    501: Kind.SERVER_ERROR,
    508: Kind.SERVER_ERROR,
    520: Kind.SERVER_ERROR,
    530: Kind.SERVER_ERROR,
    502: Kind.SERVER_ERROR,
    503: Kind.SERVER_ERROR,
    504: Kind.SERVER_ERROR,
    507: Kind.REGISTRY_FULL,
    521: Kind.SERVER_ERROR,
}


@pytest.mark.parametrize(
    "template",
    [
        "unexpected status from GET request to https://r.example/v2/a/manifests/1: {status} x",  # containerd
        "unexpected status from HEAD request: {status} x",
        "failed to copy: httpReadSeeker: failed open: unexpected status code https://r.example/v2/a: {status} x",
        "unexpected HEAD status code https://r.example/v2/a: {status}",
        "unexpected status: {status}",
        "received unexpected HTTP status: {status} x",  # Moby
        "login attempt to https://r.example/v2/ failed with status: {status} x",
        "error parsing HTTP {status} response body: invalid character '<' looking for beginning of value",
        "fatal: unable to access 'https://g.example/a.git/': The requested URL returned error: {status}",  # git
        "error code: {status}",  # Cloudflare's whole page
    ],
)
@pytest.mark.parametrize("status", STATUSES)
def test_a_status_is_read_where_one_stands(template: str, status: int) -> None:
    problem = classify(template.format(status=status))
    assert (problem.status, problem.kind) == (status, STATUSES[status])


# Of what is written, these mean something else.
WRITTEN = {**STATUSES, 404: Kind.REFUSED, 413: Kind.TOO_LARGE}


@pytest.mark.parametrize(
    "template",
    [
        "failed to push r.example/a:1: unexpected status from PUT request to https://r.example/v2/a: {status} x",
        "failed to push r.example/a:1: failed to copy: unexpected status: {status} x",  # of 2022
        'failed commit on ref "index-sha256:1": unexpected status: {status} x',  # docker/buildx#196
        "error writing layer blob: unexpected status from POST request to https://r.example/v2: {status} x\nunknown: y",
        "exporting to image: unexpected status: {status} x",  # docker/setup-buildx-action#103
        "pushing r.example/a:1 with docker: received unexpected HTTP status: {status} x",  # Moby
        "pushing r.example/a:1 with docker: error parsing HTTP {status} response body: invalid character '<' looking",
        "pushing r.example/a:1 with docker: unknown: <html>\r\n<title>x</title> {status} x: status: {status}",
    ][:-1],
)
@pytest.mark.parametrize("status", WRITTEN)
def test_a_status_of_what_is_written(template: str, status: int) -> None:
    problem = classify(template.format(status=status))
    assert (problem.status, problem.kind) == (status, WRITTEN[status])
    assert problem.error.exit_code == (4 if status < 500 and status not in (408, 429) else 5)


@pytest.mark.parametrize(
    "template",
    [
        "http call(https://login.example/)(POST) error: reply status code was {status}",  # Azure
        "PutObject, https response error StatusCode: {status}, RequestID: 1, api error: x",  # Amazon
        "GET https://a.blob.example/c/b\nRESPONSE {status}: {status} x",  # Azure
    ],
)
@pytest.mark.parametrize("status", STATUSES)
def test_a_status_of_an_object_store(template: str, status: int) -> None:
    problem = classify(template.format(status=status))
    expected = Kind.STORE_DENIED if status in (401, 403) else STATUSES[status]
    assert (problem.status, problem.kind) == (status, expected)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, Kind.DOWNLOAD_DENIED),
        (403, Kind.DOWNLOAD_DENIED),
        (404, Kind.NO_DOWNLOAD),
        (410, Kind.NO_DOWNLOAD),
        (429, Kind.THROTTLED),
        (503, Kind.SERVER_ERROR),
    ],
)
def test_a_status_of_a_download_by_add(status: int, kind: Kind) -> None:
    assert classify(f"failed to load cache key: invalid response status {status}").kind is kind


@pytest.mark.parametrize(
    ("words", "status"),
    [
        ("401 Unauthorized", 401),
        ("x: 403 Forbidden\ndenied", 403),
        ("504 Gateway Timeout", 504),
        ("404 not found", 404),
    ],
)
def test_a_status_stands_before_its_own_phrase(words: str, status: int) -> None:
    assert classify(words).status == status


@pytest.mark.parametrize(
    "words",
    [
        "403",
        "dockerfile parse error on line 403 Forbidden",
        "dockerfile parse error on line 404: not found",
        "ssh exited with exit status 128",
        "unexpected status",
        "status 200",
        "403 Not Found",  # no status' phrase
        "took 503 seconds",
        "1403 Forbidden",
    ],
)
def test_a_number_alone_is_no_status(words: str) -> None:
    assert classify(words).status is None


def test_the_answer_of_a_registry_goes_before_its_words() -> None:
    words = (
        "unexpected status from PUT request to https://r/v2/a: 503 Service Unavailable - Server message: denied: 403"
    )
    problem = classify(words)
    assert (problem.kind, problem.status, problem.retryable) == (Kind.SERVER_ERROR, 503, True)


# --- names -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "bare"),
    [
        ("failed to push r.example/denied:403: denied", "failed to push <>: denied"),
        ('failed to do request: Head "https://r/v2/x": EOF', 'failed to do request: Head "<>": EOF'),
        ("read tcp 10.0.0.1:1->[::1]:443: read: i/o timeout", "read tcp <>>[<>]<>: read: i/o timeout"),
        ("mkdir /a b/denied: x: file exists", "mkdir <>: file exists"),
        (
            'rpc error: code = Unavailable desc = "transport is closing"',
            "rpc error: code = Unavailable desc = transport is closing",
        ),
        ("fatal: unable to access 'http://a/': Couldn't connect", "fatal: unable to access '<>': Couldn't connect"),
        (
            'process "/bin/sh -c echo \\"a\\" denied: 403" did not complete successfully: exit code: 1',
            "process <> did not complete successfully: exit code: 1",
        ),
        ("denied: ask the users' admin, don't retry", "denied: ask the users' admin, don't retry"),
        ("", ""),
    ],
)
def test_names_are_cut_out(words: str, bare: str) -> None:
    assert without_names(words) == bare


# Real texts with their names as fields, and what each means. A name may change nothing of that.
TEMPLATES = {
    "failed to push {ref}: unknown: The repository with name '{path}' does not exist in it": Kind.NO_REPOSITORY,
    "failed to push {ref}: unknown: The image tag '{word}' already exists in the '{path}' repository and cannot be "
    "overwritten because the tag is immutable.": Kind.TAG_IMMUTABLE,
    "failed to push {ref}: unknown: manifest invalid": Kind.REFUSED,
    "failed to push {ref}: unsupported": Kind.REFUSED,
    "failed to push {ref}: unexpected status from PUT request to {url}: 413 Request Entity Too Large": Kind.TOO_LARGE,
    'failed to push {ref}: failed to do request: Put "{url}": http2: client connection lost': Kind.UNREACHABLE,
    "failed to push {ref}: failed to copy: stream error: stream ID {line}; INTERNAL_ERROR; received from peer": (
        Kind.UNREACHABLE
    ),
    "unexpected status from HEAD request to {url}: 418 I'm a Teapot": Kind.REFUSED,
    'failed commit on ref "manifest-{digest}": unexpected status from PUT request to {url}: 520 ': Kind.SERVER_ERROR,
    "failed to authorize: failed to fetch oauth token: unexpected status from GET request to {url}: 504 Gateway "
    "Timeout": Kind.SERVER_ERROR,
    'invalid argument "{word}={line}" for "--ulimit" flag: invalid syntax': Kind.WRONG_OPTION,
    "unknown flag: --{word}": Kind.WRONG_OPTION,
    'exporter "{word}" could not be found': Kind.WRONG_OPTION,
    "failed to stat {path}: stat {path}: no such file or directory": Kind.NO_SECRET_FILE,
    "unset ssh forward key {word}": Kind.NO_SSH_MOUNT,
    'failed to parse stage name "{ref}": invalid reference format': Kind.BAD_DOCKERFILE,
    "failed to load cache key: invalid response status 404": Kind.NO_DOWNLOAD,
    "failed to push {ref}: unexpected status from PUT request to {url}: 503 Service Unavailable": Kind.SERVER_ERROR,
    "failed to push {ref}: unexpected status from PUT request to {url}: 429 Too Many Requests": Kind.THROTTLED,
    "failed to push {ref}: denied": Kind.DENIED,
    "failed to push {ref}: unknown: blob unknown to registry": Kind.REFUSED,
    "failed to push {ref}: unexpected status from POST request to {url}: 400 Bad Request": Kind.REFUSED,
    'failed to do request: Head "{url}": dial tcp {address}: connect: connection refused': Kind.UNREACHABLE,
    'failed to do request: Head "{url}": EOF': Kind.UNREACHABLE,
    'Get "{url}": tls: failed to verify certificate: x509: certificate signed by unknown authority': Kind.CERTIFICATE,
    "failed to do request: Head {url}: dial tcp: lookup {host}: no such host": Kind.UNKNOWN_HOST,
    "failed to resolve source metadata for {ref}: {ref}: not found": Kind.NO_IMAGE,
    "pull access denied for {ref}, repository does not exist or may require authorization": Kind.DENIED,
    "{ref}: not found": Kind.ABSENT,
    "short read: expected 41827 bytes but got 20913: unexpected EOF": Kind.CORRUPT,
    "failed to copy: httpReadSeeker: failed open: unexpected status code {url}: 403 Forbidden": Kind.DENIED,
    "error writing layer blob: NotFound: content {digest}: not found": Kind.CORRUPT,
    'failed to calculate checksum of ref {word}::{word}: "{path}": not found': Kind.NO_FILE,
    "failed to read dockerfile: open {path}: no such file or directory": Kind.NO_DOCKERFILE,
    "dockerfile parse error on line {line}: unknown instruction: {word}": Kind.UNKNOWN_INSTRUCTION,
    "dockerfile parse error on line {line}: {word}:{line} unterminated": Kind.BAD_DOCKERFILE,
    "{word}.go:{line}: unexpected token": Kind.UNKNOWN,
    "error writing layer blob: write {path}: no space left on device": Kind.DISK_FULL,
    "failed to push {ref}: open {path}: permission denied": Kind.UNKNOWN,
    "mkdir {path}: read-only file system": Kind.UNKNOWN,
    'process "/bin/sh -c cat {path} {url} {line}" did not complete successfully: exit code: {exit}': Kind.UNKNOWN,
    'target stage "{word}" could not be found': Kind.NO_STAGE,
    'no builder "{word}" found': Kind.NO_BUILDER,
    "could not lock /{path}/index.json.lock": Kind.INDEX_LOCKED,
}
_WORDS = st.sampled_from(
    [
        "401",
        "403",
        "404",
        "408",
        "429",
        "500",
        "503",
        "507",
        "denied",
        "unauthorized",
        "not-found",
        "toomanyrequests",
        "x509",
        "eof",
        "timeout",
        "forbidden",
        "no-such-host",
        "app",
        "pr-404",
        "v1.503.0",
        "http",
        "status-403",
        "canceled",
        "reset",
    ]
)
_PATHS = st.lists(_WORDS, min_size=1, max_size=4).map("/".join)
_HOSTS = st.builds("{}.example.com{}".format, _WORDS, st.sampled_from(["", ":401", ":5000"]))
_REFS = st.builds("{}/{}:{}".format, _HOSTS, _PATHS, _WORDS)
_DIGESTS = st.text("0123456789abcdef4", min_size=64, max_size=64).map("sha256:{}".format)
_FIELDS = st.fixed_dictionaries(
    {
        "ref": st.one_of(_REFS, st.builds("{}@{}".format, _REFS, _DIGESTS)),
        "url": st.builds("https://{}/v2/{}/manifests/{}".format, _HOSTS, _PATHS, st.one_of(_WORDS, _DIGESTS)),
        "address": st.builds("10.0.{}.{}:{}".format, *[st.integers(400, 599)] * 3),
        "host": _HOSTS,
        "digest": _DIGESTS,
        "path": st.builds("/{}{}".format, _PATHS, st.sampled_from(["", " denied: 403 Forbidden/x", "/404 Not Found"])),
        "word": _WORDS,
        "line": st.integers(400, 599),
        "exit": st.integers(1, 255),
    }
)


PLAIN = {
    "ref": "r.example/app:1",
    "url": "https://r.example/v2/app/manifests/1",
    "address": "10.0.0.1:443",
    "host": "r.example",
    "digest": f"sha256:{A}",
    "path": "/a",
    "word": "a",
    "line": 1,
    "exit": 1,
}


@settings(deadline=None, max_examples=30)
@given(_FIELDS)
def test_no_name_changes_what_a_text_means(fields: dict[str, object]) -> None:
    for template, kind in TEMPLATES.items():
        text = template.format(**fields)
        problem = classify(text)
        assert problem.kind is kind, text
        assert problem.retryable is CAUSES[kind].is_passing
        assert problem.operation is classify(template.format(**PLAIN)).operation, text


# --- the rest ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "operation"),
    [
        ("could not lock /c/index.json.lock", Operation.USE_FOLDER),
        ("failed to build: could not read /c/index.json: x", Operation.USE_FOLDER),
        ("mkdir /c: no space left on device", Operation.USE_FOLDER),
        ('process "/bin/sh -c mkdir /c: x" did not complete successfully: exit code: 1', None),
        ("Error response from daemon: No such image: moby/buildkit:1", Operation.PULL_IMAGE),
        ("#1 pulling image moby/buildkit:1", Operation.PULL_IMAGE),
        ("no builder pull/pull-access found", None),
    ],
)
def test_what_failed(words: str, operation: Operation | None) -> None:
    assert classify(words).operation is operation


def test_the_address_of_a_repository_is_a_problems_subject() -> None:
    url = f"https://r.example:5000/v2/team/app/blobs/sha256:{A}"
    assert classify(f"unexpected status from GET request to {url}: 403 Forbidden").subject == "r.example:5000/team/app"
    assert classify("denied").subject == ""


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("context canceled", True),
        ('process "/bin/sh -c make" did not complete successfully: exit code: 137: context canceled', True),
        ("rpc error: code = Canceled desc = x", True),
        ('process "/bin/sh -c echo context canceled" did not complete successfully: exit code: 1', False),
        ('failed to compute cache key: "/context canceled": not found', False),
        ("x", False),
    ],
)
def test_an_error_that_follows_from_another(words: str, expected: bool) -> None:  # noqa: FBT001 -- a table
    assert is_cancelled(words) is expected


@pytest.mark.parametrize(
    ("line", "folder"),
    [
        ("WARNING: local cache import at /c d not found due to err: x", "/c d"),
        ("local cache import at /c skipped due to err: x", "/c"),
        ("ERROR: local cache import at /c not found due to err: x", ""),
    ],
)
def test_a_folder_that_is_not_imported(line: str, folder: str) -> None:
    assert absent_folder(line) == folder


@pytest.mark.parametrize(
    "line",
    [
        "GET /toomanyrequests/x.js 200",
        "GET https://a.example/?code=429 200",
        "foo.c:429: error",
        "ok    pkg/no space left on device_test.go",
        "loaded 'no such host' fixtures",
        "wrote /tmp/ENOSPC.txt",
        "retried 429 times",
    ],
)
def test_a_line_of_a_log_that_names_a_cause_is_none(line: str) -> None:
    assert classify_command("exit code: 1", (line,)) is Kind.UNKNOWN


def test_an_odd_quote_in_a_log_hides_no_other_line() -> None:
    log = ('say "hello', "curl: (22) The requested URL returned error: 429", 'bye"')
    assert classify_command("exit code: 1", log) is Kind.THROTTLED
