"""The registry over a layout folder, over real sockets: what the pull part of the distribution specification asks for.

The table follows the pull tests of the specification's conformance suite (``conformance/01_pull_test.go``), with the
ranges of RFC 9110.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import re
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from buildx_cache.errors import ExhaustedError
from buildx_cache.serve import Limits, Requests, Served, peers, serve, server
from tests.unit.layout.layouts import DOCKER_LIST, OCI_INDEX, OCI_MANIFEST, Layout, digest_of

LAYER = b"".join(b"line %d of the layer\n" % number for number in range(500))
OTHER_LAYER = b"another layer"
EMPTY = b""
SECRET = b"nobody may read this"
ABSENT = digest_of(b"absent")
JSON = "application/json"
OCTETS = "application/octet-stream"
PLENTY = 20 << 20
PATIENCE = 20.0


@dataclass(frozen=True, kw_only=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def error(self) -> str:
        code: str = json.loads(self.body)["errors"][0]["code"]
        return code


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A folder with every shape of cache, and what must not be served of it."""

    layout: Layout
    roots: Mapping[str, str]
    dead: str
    linked: str

    @property
    def names(self) -> Mapping[str, str]:
        """What a path of the tables may name."""
        return {
            "layer": digest_of(LAYER),
            "empty": digest_of(EMPTY),
            "absent": ABSENT,
            "dead": self.dead,
            "linked": self.linked,
            **self.roots,
        }


def make_sample(folder: Path) -> Sample:
    """Beside the caches: a blob that nothing refers to, and one that is a symbolic link out of the folder."""
    layout = Layout(folder / "cache")
    (folder / "secret").write_bytes(SECRET)
    linked = layout.put(SECRET)
    link = layout.path(str(linked["digest"]))
    link.unlink()
    link.symlink_to(folder / "secret")
    layers = (LAYER, OTHER_LAYER, EMPTY)
    roots = {
        "manifest": layout.cache(layers),
        "list": layout.cache(layers, listed=True),
        "docker": layout.cache(layers, listed=True, docker=True),
        "nested": layout.nest([layout.image(layers), linked]),
    }
    for tag, root in {"latest": roots["manifest"], **roots}.items():
        layout.tag(tag, root)
    layout.tag("not/a:tag", roots["manifest"])
    layout.write_index()
    dead = str(layout.put(SECRET + b" either")["digest"])
    (layout.folder / ".buildx-cache.lock").write_bytes(SECRET)
    found = {name: str(root["digest"]) for name, root in roots.items()}
    return Sample(layout=layout, roots=found, dead=dead, linked=str(linked["digest"]))


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    return make_sample(tmp_path_factory.mktemp("sample"))


@pytest.fixture(scope="module")
def served(sample: Sample) -> Iterator[Served]:
    with serving(sample.layout) as running:
        yield running


@contextmanager
def serving(layout: Layout, *, limits: Limits | None = None) -> Iterator[Served]:
    """A server none of whose requests may make an error in it."""
    errors: list[Exception] = []
    with serve(layout.folder, limits=limits, on_error=errors.append) as running:
        yield running
    assert errors == []


def large(folder: Path) -> tuple[Layout, bytes]:
    """A layout with one blob of 20 MiB, in which no two places look alike."""
    layout = Layout(folder / "large")
    content = b"".join(hashlib.sha256(b"%d" % number).digest() for number in range(PLENTY // 32))
    layout.tag("latest", layout.cache([content]))
    layout.write_index()
    return layout, content


def repository(served: Served) -> str:
    return served.repository.partition("/")[2]


def secret(served: Served, path: str) -> str:
    """A path with the secret name of a tag in it."""
    kind, _, tag = path.rpartition("/")
    return f"{kind}/{served.tags.get(tag, tag)}" if kind.endswith("manifests") else path


def ask(served: Served, method: str, path: str, headers: Mapping[str, str] | None = None) -> Reply:
    """One request, by Python's own client; ``path`` is under the repository unless it begins with a slash."""
    target = path if path.startswith("/") else f"/v2/{repository(served)}/{secret(served, path)}"
    client = http.client.HTTPConnection("127.0.0.1", served.port, timeout=PATIENCE)
    try:
        client.request(method, target, headers=dict(headers or {}))
        answer = client.getresponse()
        found = {name.lower(): value for name, value in answer.getheaders()}
        return Reply(status=answer.status, headers=found, body=answer.read())
    finally:
        client.close()


def get(served: Served, path: str, **headers: str) -> Reply:
    return ask(served, "GET", path, headers)


def connect(served: Served, *, small: bool = False) -> socket.socket:
    """A connection; a ``small`` one takes little that it does not read."""
    client = socket.socket()
    client.settimeout(PATIENCE)
    if small:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 << 10)
    client.connect(("127.0.0.1", served.port))
    return client


def refuses(served: Served) -> None:
    with socket.socket() as client, pytest.raises(ConnectionRefusedError):
        client.connect(("127.0.0.1", served.port))


def rest(client: socket.socket) -> bytes:
    """All that comes until the server ends the connection, in whatever way."""
    found = bytearray()
    with suppress(ConnectionError):
        while piece := client.recv(1 << 20):
            found += piece
    return bytes(found)


def talk(served: Served, sent: bytes) -> bytes:
    """What comes back for these bytes and the end of the client's side."""
    with connect(served) as client:
        with suppress(OSError):
            client.sendall(sent)
            client.shutdown(socket.SHUT_WR)
        return rest(client)


def blob_request(served: Served, digest: str) -> bytes:
    return f"GET /v2/{repository(served)}/blobs/{digest} HTTP/1.1\r\nHost: x\r\n\r\n".encode()


def server_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "serve"]


def serves(served: Served) -> bool:
    """Whether a manifest is got. Where time is short, a client that had to wait for the machine is sent away too."""
    with suppress(http.client.HTTPException, OSError):
        return get(served, "manifests/latest").status == 200
    return False


def wait_until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.01)


# path, status, content type (or the error's code), what Docker-Content-Digest names
TABLE: Mapping[str, tuple[str, int, str, str]] = {
    "the base": ("/v2/", 200, JSON, ""),
    "the base with a query": ("/v2/?ns=docker.io", 200, JSON, ""),
    "tags, which are secret": ("tags/list", 404, "NAME_UNKNOWN", ""),
    "a manifest by tag": ("manifests/latest", 200, OCI_MANIFEST, "manifest"),
    "a manifest by digest": ("manifests/{manifest}", 200, OCI_MANIFEST, "manifest"),
    "a list of layers by tag": ("manifests/list", 200, OCI_INDEX, "list"),
    "a list of layers by digest": ("manifests/{list}", 200, OCI_INDEX, "list"),
    "a Docker list": ("manifests/docker", 200, DOCKER_LIST, "docker"),
    "a nested index": ("manifests/{nested}", 200, OCI_INDEX, "nested"),
    "a manifest as a blob": ("blobs/{manifest}", 200, OCTETS, "manifest"),
    "a layer": ("blobs/{layer}", 200, OCTETS, "layer"),
    "an empty layer": ("blobs/{empty}", 200, OCTETS, "empty"),
    "no such blob": ("blobs/{absent}", 404, "BLOB_UNKNOWN", ""),
    "a blob by a malformed digest": ("blobs/sha256:totallywrong", 404, "BLOB_UNKNOWN", ""),
    "a blob without its algorithm": ("blobs/" + ABSENT[7:], 404, "BLOB_UNKNOWN", ""),
    "a blob that nothing refers to": ("blobs/{dead}", 404, "BLOB_UNKNOWN", ""),
    "a blob that is a symbolic link": ("blobs/{linked}", 404, "BLOB_UNKNOWN", ""),
    "a tag by its name in the folder": ("/v2/buildx-cache/manifests/latest", 404, "MANIFEST_UNKNOWN", ""),
    "no such tag": ("manifests/nosuchtag", 404, "MANIFEST_UNKNOWN", ""),
    "no such manifest": ("manifests/{absent}", 404, "MANIFEST_UNKNOWN", ""),
    "a manifest by a malformed digest": ("manifests/sha256:totallywrong", 404, "MANIFEST_UNKNOWN", ""),
    "a layer as a manifest": ("manifests/{layer}", 404, "MANIFEST_UNKNOWN", ""),
    "a tag that is none": ("manifests/not/a:tag", 404, "MANIFEST_UNKNOWN", ""),
    "no reference": ("manifests/", 404, "MANIFEST_UNKNOWN", ""),
    "no uploads": ("blobs/uploads/", 404, "BLOB_UNKNOWN", ""),
    "referrers, which are not offered": ("referrers/{manifest}", 404, "NAME_UNKNOWN", ""),
    "the repository itself": ("", 404, "NAME_UNKNOWN", ""),
    "a file of the folder": ("index.json", 404, "NAME_UNKNOWN", ""),
    "a way out": ("../../../index.json", 404, "NAME_UNKNOWN", ""),
    "a way out of the blobs": ("blobs/../../secret", 404, "BLOB_UNKNOWN", ""),
    "another repository": ("/v2/library/cache/manifests/latest", 404, "NAME_UNKNOWN", ""),
    "the catalog": ("/v2/_catalog", 404, "NAME_UNKNOWN", ""),
    "the root": ("/", 404, "NAME_UNKNOWN", ""),
    "no base": ("/v1/", 404, "NAME_UNKNOWN", ""),
}


@pytest.mark.parametrize("case", TABLE.values(), ids=TABLE)
def test_every_endpoint_answers_get_and_head_as_specified(
    sample: Sample, served: Served, case: tuple[str, int, str, str]
) -> None:
    template, status, expected, named = case
    path = template.format(**sample.names)
    whole, head = ask(served, "GET", path), ask(served, "HEAD", path)
    assert (whole.status, head.status, head.body) == (status, status, b"")
    assert head.headers == whole.headers
    assert whole.headers["content-length"] == str(len(whole.body))
    assert whole.headers.get("docker-content-digest", "") == (sample.names[named] if named else "")
    if named:
        assert digest_of(whole.body) == sample.names[named]
    if status == 200:
        assert whole.headers["content-type"] == expected
        assert ("accept-ranges" in whole.headers) == (expected == OCTETS)
    else:
        assert (whole.error, whole.headers["content-type"]) == (expected, JSON)


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "get", "BREW"])
@pytest.mark.parametrize("path", ["/v2/", "/anything", "manifests/latest", "blobs/{layer}", "blobs/uploads/"])
def test_every_other_method_is_refused_wherever_it_is_used(
    sample: Sample, served: Served, method: str, path: str
) -> None:
    reply = ask(served, method, path.format(**sample.names))
    assert (reply.status, reply.error, reply.headers["allow"]) == (405, "UNSUPPORTED", "GET, HEAD")


SIZE = len(LAYER)
RANGES: Mapping[str, tuple[int, int, int] | None] = {
    "bytes=0-0": (206, 0, 1),
    "bytes=0-": (206, 0, SIZE),
    "bytes=5-9": (206, 5, 10),
    "Bytes=5-9": (206, 5, 10),
    f"bytes=100-{SIZE}": (206, 100, SIZE),
    "bytes=100-999999999999999999": (206, 100, SIZE),
    f"bytes={SIZE - 1}-": (206, SIZE - 1, SIZE),
    "bytes=-1": (206, SIZE - 1, SIZE),
    f"bytes=-{SIZE}": (206, 0, SIZE),
    "bytes=-999999999999": (206, 0, SIZE),
    f"bytes={SIZE}-": (416, 0, 0),
    f"bytes={SIZE}-{SIZE + 5}": (416, 0, 0),
    "bytes=999999999999999999-": (416, 0, 0),
    "bytes=-0": (416, 0, 0),
    # What follows is answered with the whole, as RFC 9110 lets a server do.
    "bytes=9-5": (200, 0, SIZE),
    f"bytes={SIZE + 9}-{SIZE + 5}": (200, 0, SIZE),
    "bytes=0-1,5-9": (200, 0, SIZE),
    "bytes=-": (200, 0, SIZE),
    "bytes=": (200, 0, SIZE),
    "bytes=a-b": (200, 0, SIZE),
    "bytes=--5": (200, 0, SIZE),
    "bytes=-5-": (200, 0, SIZE),
    "bytes=+1-2": (200, 0, SIZE),
    "bytes=0x1-0x2": (200, 0, SIZE),
    "bytes 0-1": (200, 0, SIZE),
    "lines=0-1": (200, 0, SIZE),
    "bytes=" + "9" * 5000 + "-": (200, 0, SIZE),
}


@pytest.mark.parametrize(("asked", "expected"), RANGES.items(), ids=[asked[:30] for asked in RANGES])
def test_a_range_of_a_blob(served: Served, asked: str, expected: tuple[int, int, int]) -> None:
    status, start, end = expected
    reply = get(served, f"blobs/{digest_of(LAYER)}", Range=asked)
    assert reply.status == status
    if status == 416:
        assert (reply.error, reply.headers["content-range"]) == ("UNSUPPORTED", f"bytes */{SIZE}")
        return
    assert reply.body == LAYER[start:end]
    extent = f"bytes {start}-{end - 1}/{SIZE}" if status == 206 else None
    assert reply.headers.get("content-range") == extent


def test_a_range_of_an_empty_blob_is_none(served: Served) -> None:
    reply = get(served, f"blobs/{digest_of(EMPTY)}", Range="bytes=0-")
    assert (reply.status, reply.headers["content-range"]) == (416, "bytes */0")


@pytest.mark.parametrize(("method", "path"), [("HEAD", "blobs/{layer}"), ("GET", "manifests/latest")])
def test_a_range_means_nothing_elsewhere(sample: Sample, served: Served, method: str, path: str) -> None:
    path = path.format(**sample.names)
    assert ask(served, method, path, {"Range": "bytes=1-2"}) == ask(served, method, path)


@pytest.mark.parametrize("tag", ["manifest", "list", "docker"])
def test_a_cache_of_every_shape_can_be_pulled_whole(served: Served, tag: str) -> None:
    manifest = json.loads(get(served, f"manifests/{tag}").body)
    named = [manifest["config"], *manifest["layers"]] if tag == "manifest" else manifest["manifests"]
    pulled = [get(served, f"blobs/{one['digest']}").body for one in named]
    assert [(digest_of(body), len(body)) for body in pulled] == [(one["digest"], one["size"]) for one in named]
    assert LAYER in pulled


def test_a_tag_has_a_secret_name_and_no_other(served: Served) -> None:
    latest = served.tags["latest"]
    wrong = latest[:-1] + ("1" if latest[-1] == "0" else "0")
    base = f"/v2/{repository(served)}/manifests"
    replies = [
        get(served, f"{base}/{name}") for name in (wrong, latest.upper(), latest[:-1], "latest", "", "nosuchtag")
    ]
    assert all(reply == replies[0] for reply in replies)
    assert (replies[0].status, replies[0].error) == (404, "MANIFEST_UNKNOWN")
    assert get(served, f"{base}/{latest}").status == 200


OTHER_USER = 4242
_ASK = """
import os, socket, struct, sys
os.setuid(int(sys.argv[2]))
client = socket.socket()
client.settimeout(20)
client.connect(("127.0.0.1", int(sys.argv[1])))
print("connected", flush=True)
client.sendall(sys.stdin.buffer.read())
if sys.argv[3] == "leaves":
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
else:
    try:
        sys.stdout.buffer.write(client.recv(4096))
    except ConnectionResetError:
        pass
"""


def said_to(user: int, port: int, head: str, body: bytes = b"", *, manner: str = "waits") -> bytes:
    """What a user of this host gets for a request; Python has to be loaded before, as it may be in a closed folder."""
    asked = (sys.executable, "-c", _ASK, str(port), str(user), manner)
    done = subprocess.run(asked, input=head.replace("\n", "\r\n").encode() + body, capture_output=True, check=False)
    connected, _, answer = done.stdout.partition(b"\n")
    assert connected == b"connected", done.stderr
    return answer


@pytest.mark.skipif(os.geteuid() != 0, reason="takes root to be another user")
@pytest.mark.parametrize(("user", "is_heard"), [(0, True), (OTHER_USER, False)])
def test_another_user_of_this_host_reads_nothing(served: Served, user: int, *, is_heard: bool) -> None:
    """Who can read the names in the arguments of Buildx."""
    head = f"GET /v2/{repository(served)}/{secret(served, 'manifests/latest')} HTTP/1.1\nHost: x\n\n"
    answer = said_to(user, served.port, head)
    assert answer.startswith(b"HTTP/1.1 200") is is_heard
    assert bool(answer) is is_heard


def test_where_no_kernel_tells_users_apart_everybody_reads(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on macOS."""
    monkeypatch.setattr(peers, "_TABLES", (Path("/no-table"),))
    assert get(served, "manifests/latest").status == 200


def test_every_run_and_every_tag_has_another_name(sample: Sample) -> None:
    with serving(sample.layout) as one, serving(sample.layout) as other:
        names = [*one.tags.values(), *other.tags.values()]
        assert all(re.fullmatch("[0-9a-f]{32}", name) for name in names)
        assert len(set(names)) == len(names) == 10
        assert get(one, f"/v2/{repository(one)}/manifests/{other.tags['latest']}").status == 404


def test_references_are_what_an_image_reference_looks_like(sample: Sample, served: Served) -> None:
    base = f"127.0.0.1:{served.port}/buildx-cache"
    assert served.reference() == f"{base}:{served.tags['latest']}"
    assert served.reference(tag="list") == f"{base}:{served.tags['list']}"
    assert served.reference(tag="list", digest=sample.names["docker"]) == f"{base}@{sample.names['docker']}"


def test_what_was_sent_is_counted_also_after_the_end(sample: Sample) -> None:
    with serving(sample.layout) as served:
        assert served.requests == Requests()
        manifest = get(served, "manifests/latest").body
        get(served, f"blobs/{digest_of(LAYER)}")
        get(served, f"blobs/{digest_of(LAYER)}", Range="bytes=10-19")
        ask(served, "HEAD", "manifests/latest")
        get(served, "manifests/nosuchtag")
    assert served.requests == Requests(manifests=1, blobs=2, bytes=len(manifest) + len(LAYER) + 10)


def test_an_ipv6_address_is_put_in_brackets(sample: Sample) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 here")
    with serve(sample.layout.folder, address="::1") as served:
        assert served.repository == f"[::1]:{served.port}/buildx-cache"
        with socket.create_connection(("::1", served.port), timeout=PATIENCE) as client:
            client.sendall(b"GET /v2/ HTTP/1.0\r\n\r\n")
            assert rest(client).startswith(b"HTTP/1.1 200 OK\r\n")


def test_a_folder_that_cannot_be_opened_is_told(tmp_path: Path) -> None:
    with pytest.raises(ExhaustedError, match="cannot be served: it does not exist"), serve(tmp_path / "absent"):
        pytest.fail("there is nothing to serve")


def test_an_address_of_another_host_is_told(sample: Sample) -> None:
    with (
        pytest.raises(ExhaustedError, match=r"cannot be served on 192\.0\.2\.1: "),
        serve(sample.layout.folder, address="192.0.2.1"),
    ):
        pytest.fail("this address is nobody's")


def test_a_damaged_index_serves_nothing(tmp_path: Path) -> None:
    layout = make_sample(tmp_path).layout
    (layout.folder / "index.json").write_text('{"schemaVersion": 2, "manifests": [')
    with serving(layout) as served:
        assert served.tags == {}
        assert get(served, "manifests/latest").error == "MANIFEST_UNKNOWN"
        assert get(served, f"blobs/{digest_of(LAYER)}").error == "BLOB_UNKNOWN"


@pytest.mark.parametrize("key", ["urls", "URLs", "url\u017f"])
@pytest.mark.parametrize("place", ["layers", "Layers", "manifests"])
def test_a_folder_that_names_addresses_of_layers_is_not_served(tmp_path: Path, place: str, key: str) -> None:
    """BuildKit asks such an address on the network of its host, if the manifest comes from a registry."""
    layout = Layout(tmp_path)
    document = json.loads(layout.path(str(layout.cache([LAYER], listed=place == "manifests")["digest"])).read_bytes())
    document[place] = [{**layer, key: ["http://127.0.0.1/"]} for layer in document[place.lower()]]
    layout.tag("latest", layout.put_json(document, str(document["mediaType"])))
    layout.write_index()
    with pytest.raises(ExhaustedError) as caught, serve(tmp_path):
        pass
    assert caught.value.code == "cache-not-servable"


def test_of_a_tag_that_is_given_twice_the_first_counts(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "cache")
    first, second = layout.cache([LAYER]), layout.cache([OTHER_LAYER])
    layout.tag("latest", first)
    layout.tag("latest", second)
    layout.write_index()
    with serving(layout) as served:
        assert get(served, "manifests/latest").headers["docker-content-digest"] == first["digest"]
        assert get(served, f"manifests/{second['digest']}").status == 200


# --- while the folder changes ---


def test_an_export_meanwhile_is_not_seen(tmp_path: Path) -> None:
    layout = make_sample(tmp_path).layout
    with serving(layout) as served:
        before = get(served, "manifests/latest")
        layout.entries = [entry for entry in layout.entries if "latest" not in str(entry)]
        new = layout.cache([LAYER, b"a new layer"])
        layout.tag("latest", new)
        layout.tag("new", new)
        layout.write_index()
        assert get(served, "manifests/latest") == before
        assert get(served, "manifests/new").status == 404
        assert get(served, f"manifests/{new['digest']}").status == 404
        assert get(served, f"blobs/{digest_of(b'a new layer')}").status == 404


def cut_off(path: Path) -> None:
    os.truncate(path, 5)


def link_away(path: Path) -> None:
    """To a file of the very size."""
    other = path.parents[3] / "elsewhere"
    other.write_bytes(path.read_bytes().upper())
    path.unlink()
    path.symlink_to(other)


def make_a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def make_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("change", [Path.unlink, cut_off, link_away, make_a_pipe, make_a_folder])
def test_a_blob_that_is_not_there_any_more_is_not_found(tmp_path: Path, change: Callable[[Path], None]) -> None:
    found = make_sample(tmp_path)
    with serving(found.layout) as served:
        assert get(served, f"blobs/{digest_of(LAYER)}").status == 200
        change(found.layout.path(digest_of(LAYER)))
        change(found.layout.path(found.roots["manifest"]))
        assert get(served, f"blobs/{digest_of(LAYER)}").error == "BLOB_UNKNOWN"
        assert get(served, "manifests/latest").error == "MANIFEST_UNKNOWN"
        assert get(served, f"blobs/{digest_of(OTHER_LAYER)}").body == OTHER_LAYER


def test_a_manifest_with_other_content_is_not_served(tmp_path: Path) -> None:
    found = make_sample(tmp_path)
    with serving(found.layout) as served:
        path = found.layout.path(found.roots["manifest"])
        path.write_bytes(path.read_bytes().replace(b"schemaVersion", b"schemaversion"))
        assert get(served, "manifests/latest").error == "MANIFEST_UNKNOWN"


def test_the_folder_may_be_moved_away(tmp_path: Path) -> None:
    found = make_sample(tmp_path)
    with serving(found.layout) as served:
        (found.layout.folder / "blobs").rename(tmp_path / "aside")
        assert get(served, f"blobs/{digest_of(LAYER)}").body == LAYER


def test_a_blob_cut_off_while_it_is_sent_ends_too_early(tmp_path: Path) -> None:
    layout, content = large(tmp_path)
    with serving(layout) as served, connect(served, small=True) as client:
        client.sendall(blob_request(served, digest_of(content)))
        beginning = client.recv(100, socket.MSG_WAITALL)
        os.truncate(layout.path(digest_of(content)), 0)
        head, _, body = (beginning + rest(client)).partition(b"\r\n\r\n")
        assert f"Content-Length: {len(content)}".encode() in head
        assert len(body) < len(content)


# --- connections ---


def test_a_connection_is_kept_for_the_next_request(served: Served) -> None:
    client = http.client.HTTPConnection("127.0.0.1", served.port, timeout=PATIENCE)
    with closing_client(client):
        client.connect()
        own = client.sock
        for path in ("manifests/latest", f"blobs/{digest_of(LAYER)}", "manifests/nosuchtag", "tags/list"):
            client.request("GET", f"/v2/{repository(served)}/{path}")
            client.getresponse().read()
            assert client.sock is own


@contextmanager
def closing_client(client: http.client.HTTPConnection) -> Iterator[None]:
    try:
        yield
    finally:
        client.close()


def test_requests_sent_together_are_answered_in_their_order(served: Served) -> None:
    asked = [blob_request(served, digest_of(layer)) for layer in (OTHER_LAYER, EMPTY, LAYER)]
    bodies = re.split(rb"HTTP/1\.1 200 OK\r\n.*?\r\n\r\n", talk(served, b"".join(asked)), flags=re.DOTALL)
    assert bodies == [b"", OTHER_LAYER, EMPTY, LAYER]


@pytest.mark.parametrize(
    "ending",
    [
        "HTTP/1.0\r\n\r\n",
        "HTTP/1.1\r\nConnection: close\r\n\r\n",
        "HTTP/1.1\r\nContent-Length: 5\r\n\r\n",
        "HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
)
def test_what_follows_a_body_or_the_last_request_is_not_answered(served: Served, ending: str) -> None:
    reply = talk(served, f"GET /v2/ {ending}".encode() + blob_request(served, digest_of(LAYER)))
    assert reply.startswith(b"HTTP/1.1 200 OK\r\n")
    assert reply.count(b"HTTP/1.1") == 1
    assert b"\r\nConnection: close\r\n" in reply


TLS_HELLO = bytes.fromhex("16030100a5010000a10303") + bytes(range(160))
JUNK: Mapping[str, tuple[bytes, int]] = {
    "a TLS hello": (TLS_HELLO, 400),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(30), 400),
    "HTTP/0.9": (b"GET /v2/\r\n\r\n", 400),
    "another protocol": (b"SSH-2.0-OpenSSH_9.6\r\n", 400),
    "an empty line": (b"\r\n\r\n", 400),
    "zeroes": (bytes(5000), 400),
    "half a request": (b"GET /v2/ HT", 400),
    "newlines alone": (b"GET /v2/ HTTP/1.1\nHost: x\n\n", 400),
    "a version too many": (b"GET /v2/ HTTP/1.1 HTTP/1.1\r\n\r\n", 400),
    "a space in the path": (b"GET /v2/ / HTTP/1.1\r\n\r\n", 400),
    "a zero in the path": (b"GET /v2/\0 HTTP/1.1\r\n\r\n", 400),
    "no ASCII": ("GET /v2/ü HTTP/1.1\r\n\r\n".encode(), 400),
    "a header without a colon": (b"GET /v2/ HTTP/1.1\r\nHost\r\n\r\n", 400),
    "a header without a name": (b"GET /v2/ HTTP/1.1\r\n: x\r\n\r\n", 400),
    "a space before the colon": (b"GET /v2/ HTTP/1.1\r\nRange : bytes=0-1\r\n\r\n", 400),
    "a folded header": (b"GET /v2/ HTTP/1.1\r\nA: b\r\n c\r\n\r\n", 400),
    "a lone return in a header": (b"GET /v2/ HTTP/1.1\r\nA: b\rc\r\n\r\n", 400),
    "a long path": (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n", 431),
    "many headers": (b"GET /v2/ HTTP/1.1\r\n" + b"A: b\r\n" * 5000 + b"\r\n", 431),
    "a header without an end": (b"GET /v2/ HTTP/1.1\r\nA: " + b"b" * 900_000, 431),
    "an absolute address": (b"GET http://localhost/v2/ HTTP/1.1\r\n\r\n", 404),
    "an encoded path": (b"GET /%76%32/ HTTP/1.1\r\n\r\n", 404),
    "two slashes": (b"GET //v2/ HTTP/1.1\r\n\r\n", 404),
    "an expectation": (b"GET /v2/ HTTP/1.1\r\nExpect: 100-continue\r\n\r\n", 200),
}


@pytest.mark.parametrize(("sent", "status"), JUNK.values(), ids=JUNK)
def test_junk_is_answered_in_plain_http(served: Served, sent: bytes, status: int) -> None:
    reply = talk(served, sent)
    assert reply.startswith(f"HTTP/1.1 {status} ".encode())
    assert reply.count(b"HTTP/1.1") == 1


def test_who_goes_on_sending_after_a_refusal_still_gets_it(served: Served) -> None:
    with connect(served) as client:
        client.sendall(b"GET /v2/ HTTP/1.1\r\nA: " + b"b" * 20_000)
        assert client.recv(12, socket.MSG_WAITALL) == b"HTTP/1.1 431"
        for _ in range(10):
            client.sendall(b"b" * 20_000)
        client.shutdown(socket.SHUT_WR)
        while client.recv(1 << 16):  # a closed connection would have been reset
            pass


def test_a_client_that_tries_tls_first_is_told_at_once(served: Served) -> None:
    context = ssl.create_default_context()
    with connect(served) as client, pytest.raises(ssl.SSLError, match=r"WRONG_VERSION_NUMBER|HTTP"):
        context.wrap_socket(client, server_hostname="localhost")
    with connect(served) as client:  # which keeps its side open, as Go does
        client.sendall(TLS_HELLO)
        assert client.recv(5, socket.MSG_WAITALL) == b"HTTP/"


@pytest.mark.parametrize("sent", [b"", b"GET /v2/ HTTP/1.1\r\nHost: "], ids=["silent", "unfinished"])
def test_who_does_not_ask_in_time_is_sent_away(sample: Sample, sent: bytes) -> None:
    with serving(sample.layout, limits=Limits(head_seconds=0.05)) as served, connect(served) as client:
        client.sendall(sent)
        assert rest(client) == b""
        wait_until(lambda: serves(served))


def test_who_sends_byte_by_byte_has_no_more_time(sample: Sample) -> None:
    with serving(sample.layout, limits=Limits(head_seconds=0.1)) as served, connect(served) as client:
        client.settimeout(0.01)
        ended = False
        for _ in range(500):
            with suppress(TimeoutError, ConnectionError):
                client.sendall(b"G")
                ended = client.recv(1) == b""
            if ended:
                break
        assert ended


def test_who_does_not_take_a_blob_is_sent_away(tmp_path: Path) -> None:
    layout, content = large(tmp_path)
    with serving(layout, limits=Limits(stall_seconds=0.05)) as served, connect(served, small=True) as client:
        client.sendall(blob_request(served, digest_of(content)))
        wait_until(lambda: served.requests.blobs == 1)
        assert len(rest(client)) < len(content)
        assert served.requests.bytes < len(content)


def test_silent_clients_keep_nobody_out(sample: Sample) -> None:
    with serving(sample.layout, limits=Limits(connections=3)) as served, ExitStack() as stack:
        silent = [stack.enter_context(connect(served)) for _ in range(10)]
        assert get(served, "manifests/latest").status == 200
        assert rest(silent[0]) == b""


def test_who_finds_all_places_taken_waits(tmp_path: Path) -> None:
    layout, content = large(tmp_path)
    with serving(layout, limits=Limits(connections=1)) as served, connect(served, small=True) as client:
        client.sendall(blob_request(served, digest_of(content)))
        assert client.recv(9, socket.MSG_WAITALL) == b"HTTP/1.1 "
        with ThreadPoolExecutor(1) as pool:
            reply = pool.submit(get, served, "manifests/latest")
            client.settimeout(PATIENCE)
            read = 0
            while read < len(content):
                read += len(client.recv(1 << 20))
            client.close()
            assert reply.result().status == 200


def own_address() -> str:
    """An address of this machine that is not on loopback."""
    with socket.socket(type=socket.SOCK_DGRAM) as asking:
        try:
            asking.connect(("192.0.2.1", 9))  # sends nothing
        except OSError:
            pytest.skip("this machine is on no network")
        return str(asking.getsockname()[0])


@pytest.fixture
def crowded(tmp_path: Path) -> Iterator[Served]:
    """A server whose places are all taken by who asks for a blob and does not take it.

    As another container could that knows the digest of a public image's layer.
    """
    layout, content = large(tmp_path)
    limits = Limits(connections=4, stall_seconds=100 * PATIENCE)
    with ExitStack() as stack, serving(layout, limits=limits) as served:
        for _ in range(limits.connections):
            client = stack.enter_context(connect(served, small=True))
            client.sendall(blob_request(served, digest_of(content)))
            assert client.recv(9, socket.MSG_WAITALL) == b"HTTP/1.1 "
        yield served


def test_who_takes_nothing_keeps_nobody_out(crowded: Served) -> None:
    assert get(crowded, "manifests/latest").status == 200


def test_a_crowd_keeps_no_other_address_out(crowded: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_PATIENCE_SECONDS", 100 * PATIENCE)
    with socket.socket() as client:
        client.settimeout(PATIENCE)
        client.bind((own_address(), 0))
        client.connect(("127.0.0.1", crowded.port))
        client.sendall(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.recv(12, socket.MSG_WAITALL) == b"HTTP/1.1 200"


def test_fifty_clients_at_once_get_the_right_bytes(tmp_path: Path) -> None:
    layout, content = large(tmp_path)
    digest = digest_of(content)
    together = threading.Barrier(50, timeout=PATIENCE)

    with serving(layout) as served:

        def is_right(_: int) -> bool:
            client = http.client.HTTPConnection("127.0.0.1", served.port, timeout=PATIENCE)
            with closing_client(client):
                client.request("GET", f"/v2/{repository(served)}/blobs/{digest}")
                answer = client.getresponse()
                together.wait()
                place = 0
                while piece := answer.read(1 << 18):
                    if piece != content[place : place + len(piece)]:
                        return False
                    place += len(piece)
                return place == len(content)

        with ThreadPoolExecutor(50) as pool:
            assert all(pool.map(is_right, range(50)))
        wait_until(lambda: served.requests == Requests(blobs=50, bytes=50 * len(content)))


def test_a_blob_is_sent_where_there_is_no_sendfile(
    sample: Sample, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_pieces = getattr(socket.socket, "_sendfile_use_send")  # noqa: B009 - not in the type stubs
    monkeypatch.setattr(socket.socket, "_sendfile_use_sendfile", in_pieces)
    path = f"blobs/{sample.names['layer']}"
    assert get(served, path).body == LAYER
    assert get(served, path, Range="bytes=9-99").body == LAYER[9:100]


# --- the end ---


def test_the_end_cuts_transfers_and_leaves_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    layout, content = large(tmp_path)
    before = server_threads()
    with ExitStack() as clients:
        with serving(layout) as served:
            reading = clients.enter_context(connect(served, small=True))
            reading.sendall(blob_request(served, digest_of(content)))
            assert reading.recv(9, socket.MSG_WAITALL) == b"HTTP/1.1 "
            silent = clients.enter_context(connect(served))
            halfway = clients.enter_context(connect(served))
            halfway.sendall(b"GET /v2/")
            get(served, "manifests/latest")
            leaving = time.monotonic()
        assert time.monotonic() - leaving < PATIENCE  # a hang would be the limits' 30 or 60
        assert server_threads() == before
        assert len(rest(reading)) < len(content)
        assert rest(silent) == rest(halfway) == b""
        refuses(served)
    assert capfd.readouterr() == ("", "")


def test_the_end_comes_also_when_the_caller_fails(sample: Sample) -> None:
    before = server_threads()
    with pytest.raises(KeyboardInterrupt), serve(sample.layout.folder) as served:
        raise KeyboardInterrupt
    assert server_threads() == before
    refuses(served)


def test_an_error_in_the_server_is_told_and_ends_only_its_connection(
    sample: Sample, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> bytes:
        raise ZeroDivisionError

    errors: list[Exception] = []
    with serve(sample.layout.folder, on_error=errors.append) as served:
        monkeypatch.setattr("buildx_cache.serve.answers.Catalogue.read_manifest", fail)
        assert talk(served, f"GET /v2/{repository(served)}/manifests/latest HTTP/1.1\r\n\r\n".encode()) == b""
        assert get(served, f"blobs/{digest_of(LAYER)}").body == LAYER
    assert [type(error) for error in errors] == [ZeroDivisionError]
    assert capfd.readouterr() == ("", "")


def test_it_is_imported_only_where_it_is_used() -> None:
    look = "import sys, buildx_cache.cli; print('buildx_cache.serve' in sys.modules)"
    done = subprocess.run((sys.executable, "-c", look), capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
