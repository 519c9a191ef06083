"""Whatever is sent to the registry over a folder: it gives only what its index leads to, and goes on serving."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from buildx_cache.serve import Served, serve
from tests.integration.test_serve import (
    ABSENT,
    LAYER,
    OTHER_LAYER,
    SECRET,
    Sample,
    get,
    make_sample,
    repository,
    talk,
)
from tests.selection import examples
from tests.unit.layout.layouts import digest_of

REPEATABLE = settings(
    derandomize=True,
    deadline=None,
    max_examples=examples(push=50, long=1000),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
STATUSES = {200, 206, 400, 404, 405, 416, 431}


@dataclass(frozen=True, kw_only=True)
class Target:
    """A server that is being fuzzed, and all that it may give."""

    sample: Sample
    served: Served
    errors: list[Exception]
    blobs: dict[str, bytes]
    """What the index leads to, by digest."""

    def fill(self, text: str) -> str:
        """The path with the repository, a tag's secret name and digests in their places."""
        known = {"name": repository(self.served), "secret": self.served.tags["latest"], **self.sample.names}
        places = {f"<{key}>": value for key, value in known.items()}
        return re.sub("<[a-z]+>", lambda found: places.get(found[0], found[0]), text)

    def send(self, sent: bytes) -> bytes:
        """The answer, of which is checked what holds for every one."""
        reply = talk(self.served, sent)
        assert SECRET not in reply
        assert self.errors == []
        if reply:
            status = re.match(rb"HTTP/1\.1 ([0-9]{3}) [A-Za-z ]+\r\n", reply)
            assert status
            assert int(status[1]) in STATUSES
        assert get(self.served, f"blobs/{digest_of(OTHER_LAYER)}").body == OTHER_LAYER
        return reply


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    sample = make_sample(tmp_path_factory.mktemp("fuzz"))
    errors: list[Exception] = []
    with serve(sample.layout.folder, on_error=errors.append) as served:
        yield Target(sample=sample, served=served, errors=errors, blobs=reachable(sample))
    assert errors == []


def reachable(sample: Sample) -> dict[str, bytes]:
    """Found by reading the manifests, independently of the program."""
    found: dict[str, bytes] = {}
    waiting: list[str] = [*sample.roots.values()]
    while waiting:
        digest = waiting.pop()
        path = sample.layout.path(digest)
        if digest not in found and path.is_file() and not path.is_symlink():  # records have digests too
            found[digest] = path.read_bytes()
            waiting += re.findall(r'"digest":"(sha256:[0-9a-f]{64})"', found[digest].decode("latin-1"))
    return found


SEGMENTS = st.sampled_from(
    [
        *("", ".", "..", "v2", "<secret>", "<name>", "manifests", "blobs", "tags", "list", "uploads"),
        *("latest", "list", "<manifest>", "<layer>", "<empty>", "<absent>", "<dead>", "<linked>"),
        *("index.json", "oci-layout", "ingest", "blobs/sha256", "secret", ".buildx-cache.lock", "_catalog"),
        *(
            "%2e%2e",
            "%2F",
            "..%2fsecret",
            "%00",
            "%c0%ae%c0%ae",
            "..;",
            "\\..\\",
            "~",
            "sha256:",
            "sha512:" + "0" * 128,
        ),
        *("sha256:../../index.json", "sha256:" + "/" * 64, "sha256:" + "A" * 64, "sha256:" + "\uff10" * 64, "a" * 9000),
    ]
)
PLAIN = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=12)
PATHS = st.one_of(
    st.lists(SEGMENTS | PLAIN, max_size=10).map(lambda parts: "/" + "/".join(parts)),
    st.lists(SEGMENTS | PLAIN, max_size=4).map(lambda parts: "/v2/<name>/" + "/".join(parts)),
    st.tuples(
        st.sampled_from(["/v2/<name>/"] * 3 + ["//v2/<name>/", "/v2/<name>/../<name>/"]),
        st.sampled_from(["blobs/", "manifests/", "blobs/", "manifests/", "blobs/sha256:", "blobs/../", "tags/", ""]),
        SEGMENTS | PLAIN,
        st.sampled_from(["", "", "", "?ns=docker.io", "#part", "?../..", "/", "%20", "\\"]),
    ).map("".join),
    st.sampled_from(["http://localhost/v2/", "*", "/v2/", "localhost:80", "file:///etc/passwd", "/v2"]),
)
NUMBERS = st.sampled_from([st.integers(0, len(LAYER) + 50)] * 4 + [st.integers(-5, 10**30)]).flatmap(
    lambda numbers: numbers.map(str)
) | st.just("")
RANGES = st.one_of(
    st.builds("bytes={}-{}".format, NUMBERS, NUMBERS),
    st.builds("{}={}-{}".format, st.sampled_from(["Bytes", "", "lines", "bytes "]), NUMBERS, NUMBERS),
    st.lists(st.builds("{}-{}".format, NUMBERS, NUMBERS), max_size=4).map(lambda parts: "bytes=" + ",".join(parts)),
    PLAIN,
)
HEADER = st.one_of(
    st.tuples(st.just("Range"), RANGES),
    st.tuples(st.sampled_from(["Content-Length", "Expect", "Transfer-Encoding", "Connection", "Host"]), PLAIN),
    st.tuples(
        st.sampled_from(["Content-Length", "Transfer-Encoding", "Connection", "Expect", "Upgrade", "If-Range"]),
        st.sampled_from(["0", "5", "-1", "9" * 5000, "chunked", "close", "keep-alive", "100-continue", "h2c"]),
    ),
    st.tuples(st.just("X"), st.sampled_from([100, 9000, 20_000]).map(lambda length: "x" * length)),
)
HEADERS = st.lists(HEADER, max_size=4)
METHODS = st.sampled_from(["GET"] * 8 + ["HEAD", "HEAD", "POST", "DELETE", "CONNECT", "get"])
VERSIONS = st.sampled_from(["HTTP/1.1"] * 8 + ["HTTP/1.0", "HTTP/2.0", "HTTP/1.9", ""])
ANY_HEADERS = st.lists(HEADER | st.tuples(st.text(max_size=10), st.text(max_size=40)), max_size=4)
ANY_METHODS = METHODS | st.text(max_size=10) | st.just("G" * 20_000)


def request(method: str, path: str, version: str, headers: list[tuple[str, str]]) -> bytes:
    lines = (f"{method} {path} {version}", *(f"{name}: {value}" for name, value in headers), "", "")
    return "\r\n".join(lines).encode("utf-8", "surrogatepass")


@given(method=METHODS, path=PATHS, version=VERSIONS, headers=HEADERS)
@REPEATABLE
@example(method="GET", path="/v2/<name>/blobs/<layer>", version="HTTP/1.1", headers=[("Range", "bytes=7-")])
def test_only_what_the_index_leads_to_is_ever_given(
    target: Target, method: str, path: str, version: str, headers: list[tuple[str, str]]
) -> None:
    reply = target.send(request(method, target.fill(path), version, headers))
    head, _, body = reply.partition(b"\r\n\r\n")
    if re.match(rb"HTTP/1\.1 20[06] ", head):
        assert body == b"{}" or any(body in blob for blob in target.blobs.values())
    elif method != "HEAD":
        assert b'{"errors": [{"code": "' in body


@given(method=ANY_METHODS, path=PATHS | st.text(), version=VERSIONS | st.text(), headers=ANY_HEADERS)
@REPEATABLE
def test_requests_of_any_text_do_no_harm(
    target: Target, method: str, path: str, version: str, headers: list[tuple[str, str]]
) -> None:
    target.send(request(method, target.fill(path), version, headers))


@given(
    digest=st.sampled_from(["<layer>", "<empty>", "<manifest>"]),
    span=RANGES,
    head=st.sampled_from([False] * 4 + [True]),
)
@REPEATABLE
def test_whatever_range_is_asked_for_the_bytes_are_those_that_the_answer_says(
    target: Target, digest: str, span: str, *, head: bool
) -> None:
    method = "HEAD" if head else "GET"
    path = target.fill(f"/v2/<name>/blobs/{digest}")
    reply = target.send(request(method, path, "HTTP/1.1", [("Range", span), ("Connection", "close")]))
    content = target.blobs[target.fill(digest)]
    top, _, body = reply.partition(b"\r\n\r\n")
    if top.startswith(b"HTTP/1.1 206 "):
        found = re.search(rb"Content-Range: bytes ([0-9]+)-([0-9]+)/([0-9]+)\r\n", top)
        assert found
        first, last, size = map(int, found.groups())
        assert (size, body) == (len(content), content[first : last + 1])
        assert 0 <= first <= last < size
    elif top.startswith(b"HTTP/1.1 200 "):
        assert body == (b"" if head else content)
    else:
        assert re.match(rb"HTTP/1\.1 4(00|16) ", top)


@given(first=st.integers(0, len(LAYER) + 50), last=st.integers(0, len(LAYER) + 50))
@REPEATABLE
def test_a_plain_range_gives_the_slice(target: Target, first: int, last: int) -> None:
    reply = get(target.served, f"blobs/{digest_of(LAYER)}", Range=f"bytes={first}-{last}")
    if last < first:
        assert (reply.status, reply.body) == (200, LAYER)
    elif first >= len(LAYER):
        assert reply.status == 416
    else:
        assert (reply.status, reply.body) == (206, LAYER[first : last + 1])


@given(sent=st.binary(max_size=300) | st.binary(max_size=30).map(lambda tail: b"GET /v2/ HTTP/1.1\r\n" + tail))
@REPEATABLE
def test_bytes_that_are_no_request_do_no_harm(target: Target, sent: bytes) -> None:
    target.send(sent)


@given(
    parts=st.lists(
        st.sampled_from(
            [
                *(b"GET ", b"HEAD ", b"/v2/", b" HTTP/1.1", b"\r\n", b"\r\n\r\n", b"\n", b"\r", b"\0", b": ", b"Range"),
                *(b"bytes=", b"0-5", b",", b"Content-Length: 4\r\n", b"Transfer-Encoding: chunked\r\n", b"\xff\xfe"),
                b"GET /v2/ HTTP/1.1\r\n\r\n",
            ]
        ),
        max_size=30,
    )
)
@REPEATABLE
def test_requests_in_pieces_do_no_harm(target: Target, parts: list[bytes]) -> None:
    target.send(b"".join(parts))


def test_what_is_not_served_is_there_to_be_found(target: Target) -> None:
    sample = target.sample
    assert SECRET in sample.layout.path(sample.dead).read_bytes()
    assert sample.layout.path(sample.linked).read_bytes() == SECRET
    assert not {sample.dead, sample.linked, ABSENT} & set(target.blobs)
    assert set(sample.roots.values()) < set(target.blobs)
