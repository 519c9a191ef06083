"""A folder that takes pushes, over real sockets: what the push part of the distribution specification asks for.

The table follows the push tests of the specification's conformance suite (``conformance/02_push_test.go``).
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import re
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from ipaddress import ip_address
from pathlib import Path

import pytest

from buildx_cache import layout
from buildx_cache.layout import verification, writer
from buildx_cache.layout.parse import MalformedError
from buildx_cache.serve import Limits, Pushed, WriteLimits, peers
from buildx_cache.serve.peers import may_read, may_write
from tests.integration.pushing import Client, Pushable, described, index_of, pushable, receiving, tree
from tests.integration.test_serve import OTHER_USER, rest, said_to, wait_until
from tests.unit.layout.damages import flip_bit
from tests.unit.layout.layouts import (
    CACHE_CONFIG,
    DOCKER_MANIFEST,
    IMAGE_CONFIG,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
    Layout,
    config_of,
    digest_of,
    encoded,
)

BLOB = b"".join(b"line %d of the blob\n" % number for number in range(500))
CACHE = pushable(b"one", b"two", b"three")
OTHER = pushable(b"one", b"four")
ABSENT = digest_of(b"absent")
HALF = len(BLOB) // 2


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "cache").mkdir()
    return tmp_path / "cache"


@pytest.fixture
def client(folder: Path) -> Iterator[Client]:
    with receiving(folder) as client:
        yield client


def mended(client: Client, step: str) -> str:
    """The words of a step with this server's places in it."""
    known = {"cache": CACHE.digest, "blob": digest_of(BLOB), "absent": ABSENT, "tag": client.tag}
    return step.format(**known)


Step = tuple[str, str, bytes, Mapping[str, str], int, str]
"""Method, path (``>`` is the upload that the last Location named), body, headers, status, code of the error."""

FIRST, SECOND = f"0-{HALF - 1}", f"{HALF}-{len(BLOB) - 1}"
BEGIN: Step = ("POST", "blobs/uploads/", b"", {}, 202, "")
CLOSE: Step = ("PUT", ">?digest={blob}", b"", {}, 201, "")
THERE: Step = ("HEAD", "blobs/{blob}", b"", {}, 200, "")
NOT_THERE: Step = ("HEAD", "blobs/{blob}", b"", {}, 404, "")
WHOLE: Step = ("PUT", ">?digest={blob}", BLOB, {}, 201, "")
OCI = {"Content_Type": OCI_MANIFEST}

TABLE: Mapping[str, tuple[Step, ...]] = {
    "a blob that is not there": (NOT_THERE,),
    "POST and PUT": (BEGIN, WHOLE, THERE),
    "POST alone": (("POST", "blobs/uploads/?digest={blob}", BLOB, {}, 201, ""), THERE),
    "POST alone with another digest": (
        ("POST", "blobs/uploads/?digest={absent}", BLOB, {}, 400, "DIGEST_INVALID"),
        ("HEAD", "blobs/{absent}", b"", {}, 404, ""),
        NOT_THERE,
    ),
    "POST alone with no digest": (("POST", "blobs/uploads/?digest=sha256:abc", BLOB, {}, 400, "DIGEST_INVALID"),),
    "a stream": (BEGIN, ("PATCH", ">", BLOB, {}, 202, ""), CLOSE, THERE),
    "an empty blob": (
        BEGIN,
        ("PUT", f">?digest={digest_of(b'')}", b"", {}, 201, ""),
        ("HEAD", f"blobs/{digest_of(b'')}", b"", {}, 200, ""),
    ),
    "another digest": (BEGIN, ("PUT", ">?digest={absent}", BLOB, {}, 400, "DIGEST_INVALID"), NOT_THERE),
    "no digest": (BEGIN, ("PUT", ">", BLOB, {}, 400, "DIGEST_INVALID"), NOT_THERE),
    "chunks": (
        BEGIN,
        ("PATCH", ">", BLOB[:HALF], {"Content_Range": FIRST}, 202, ""),
        ("GET", ">", b"", {}, 204, ""),
        ("PATCH", ">", BLOB[HALF:], {"Content_Range": SECOND}, 202, ""),
        CLOSE,
        THERE,
    ),
    "chunks, the last one with PUT": (
        BEGIN,
        ("PATCH", ">", BLOB[:HALF], {"Content_Range": FIRST}, 202, ""),
        ("PUT", ">?digest={blob}", BLOB[HALF:], {"Content_Range": SECOND}, 201, ""),
        THERE,
    ),
    "a chunk out of order": (BEGIN, ("PATCH", ">", BLOB[HALF:], {"Content_Range": SECOND}, 416, "BLOB_UPLOAD_INVALID")),
    "a chunk again": (
        BEGIN,
        ("PATCH", ">", BLOB[:HALF], {"Content_Range": FIRST}, 202, ""),
        ("PATCH", ">", BLOB[:HALF], {"Content_Range": FIRST}, 416, "BLOB_UPLOAD_INVALID"),
        ("PATCH", ">", BLOB[HALF:], {"Content_Range": SECOND}, 202, ""),
        CLOSE,
    ),
    "a chunk of another length": (
        BEGIN,
        ("PATCH", ">", BLOB[:HALF], {"Content_Range": "0-9"}, 416, "BLOB_UPLOAD_INVALID"),
    ),
    "a chunk with no range": (BEGIN, ("PATCH", ">", BLOB, {"Content_Range": "lots"}, 416, "BLOB_UPLOAD_INVALID")),
    "an upload that is given up": (
        BEGIN,
        ("PATCH", ">", BLOB, {}, 202, ""),
        ("DELETE", ">", b"", {}, 204, ""),
        ("GET", ">", b"", {}, 404, "BLOB_UPLOAD_UNKNOWN"),
        ("PUT", ">?digest={blob}", b"", {}, 404, "BLOB_UPLOAD_UNKNOWN"),
        NOT_THERE,
    ),
    "an upload that there is not": (("PATCH", "blobs/uploads/" + 64 * "a", BLOB, {}, 404, "BLOB_UPLOAD_UNKNOWN"),),
    "an upload that is done": (BEGIN, WHOLE, ("PATCH", ">", BLOB, {}, 404, "BLOB_UPLOAD_UNKNOWN"), THERE),
    "a body of unknown length": (BEGIN, ("PATCH", ">", b"", {"Transfer_Encoding": "chunked"}, 411, "SIZE_INVALID")),
    "a mount of what is there": (
        *(BEGIN, WHOLE),
        ("POST", "blobs/uploads/?mount={blob}&from=buildx-cache", b"", {}, 201, ""),
    ),
    "a mount of what is not": (
        ("POST", "blobs/uploads/?mount={blob}&from=buildx-cache", b"", {}, 202, ""),
        WHOLE,
        THERE,
    ),
    "a mount of a way out": (("POST", "blobs/uploads/?mount=../../index.json", b"", {}, 202, ""),),
    "a manifest without its blobs": (
        ("PUT", "manifests/{tag}", CACHE.manifest, OCI, 400, "MANIFEST_BLOB_UNKNOWN"),
        ("HEAD", "manifests/{tag}", b"", {}, 404, ""),
        ("HEAD", "blobs/{cache}", b"", {}, 404, ""),
    ),
    "a manifest that is none": (("PUT", "manifests/{tag}", BLOB, OCI, 400, "MANIFEST_INVALID"),),
    "a manifest of no type": (("PUT", "manifests/{tag}", CACHE.manifest, {}, 400, "MANIFEST_INVALID"),),
    "a manifest by another tag": (("PUT", "manifests/other", CACHE.manifest, OCI, 404, "NAME_UNKNOWN"),),
    "a manifest by another digest": (("PUT", "manifests/{absent}", CACHE.manifest, OCI, 400, "DIGEST_INVALID"),),
    "a manifest that is deleted": (("DELETE", "manifests/{tag}", b"", {}, 405, "UNSUPPORTED"),),
    "a blob that is deleted": (BEGIN, WHOLE, ("DELETE", "blobs/{blob}", b"", {}, 405, "UNSUPPORTED"), THERE),
    "a way out": (("GET", "blobs/../../index.json", b"", {}, 404, "BLOB_UNKNOWN"),),
    "a way out of the uploads": (("PATCH", "blobs/uploads/../../index.json", BLOB, {}, 404, "BLOB_UPLOAD_UNKNOWN"),),
    "tags": (("GET", "tags/list", b"", {}, 404, "NAME_UNKNOWN"),),
    "the base": (("GET", "/v2/", b"", {}, 200, ""),),
    "the base, written": (("PUT", "/v2/", b"", {}, 405, "UNSUPPORTED"),),
    "the repository that is read": (("POST", "/v2/buildx-cache/blobs/uploads/", b"", {}, 404, "NAME_UNKNOWN"),),
    "a repository by a guess": (("POST", f"/v2/buildx-cache/{32 * '0'}/blobs/uploads/", b"", {}, 404, "NAME_UNKNOWN"),),
}


@pytest.mark.parametrize("steps", TABLE.values(), ids=TABLE)
def test_every_endpoint_answers_as_specified(folder: Path, client: Client, steps: tuple[Step, ...]) -> None:
    location = ""
    for method, path, body, headers, status, code in steps:
        reply = client.ask(method, mended(client, path).replace(">", location), body, **headers)
        assert (reply.status, reply.error if code else "") == (status, code)
        if status == 202:
            location = reply.headers["location"]
            assert reply.headers["docker-upload-uuid"] in location
        if status == 201:
            assert reply.headers["location"].endswith(reply.headers["docker-content-digest"])
    if steps[-1] is THERE:
        assert client.ask("GET", f"blobs/{digest_of(BLOB)}").body == BLOB
        assert (folder / "blobs/sha256" / digest_of(BLOB)[7:]).stat().st_mode & 0o777 == 0o444


def test_an_upload_says_where_it_goes_on(client: Client) -> None:
    upload = client.begin()
    assert client.ask("PATCH", upload, BLOB[:HALF]).headers["range"] == FIRST
    again = client.ask("PATCH", upload, BLOB[:HALF], Content_Range=FIRST)
    assert (again.status, again.headers["range"]) == (416, FIRST)
    assert client.ask("GET", upload).headers["range"] == FIRST


@pytest.mark.parametrize("media_type", [OCI_MANIFEST, DOCKER_MANIFEST, OCI_INDEX])
def test_a_cache_that_is_pushed_is_in_the_folder(folder: Path, media_type: str) -> None:
    cache = pushable(b"one", b"two", media_type=media_type)
    with receiving(folder) as client:
        assert client.push(cache).status == 201
        for reference in (client.tag, cache.digest):
            found = client.ask("GET", f"manifests/{reference}")
            assert (found.body, found.headers["content-type"]) == (cache.manifest, media_type)
            assert client.ask("HEAD", f"manifests/{reference}").headers["docker-content-digest"] == cache.digest
        assert client.received.pushed == Pushed(
            requests=client.received.pushed.requests, blobs=3, bytes=sum(map(len, cache.parts.values())), manifests=1
        )
    assert index_of(folder) == {"latest": cache.digest}
    assert layout.verify(folder, deep=True) == ()
    assert layout.is_layout(folder)
    assert list((folder / "ingest").iterdir()) == []


def test_a_manifest_by_its_digest_gets_no_tag(folder: Path, client: Client) -> None:
    for part in CACHE.parts.values():
        client.put_blob(part)
    assert client.put_manifest(CACHE, CACHE.digest).status == 201
    assert client.ask("GET", f"manifests/{CACHE.digest}").body == CACHE.manifest
    assert client.ask("GET", f"manifests/{client.tag}").status == 404
    assert not (folder / "index.json").exists()


def test_the_same_cache_again_writes_nothing(folder: Path) -> None:
    with receiving(folder) as client:
        client.push(CACHE)
    before, times = tree(folder), {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    with receiving(folder) as client:
        assert client.push(CACHE).status == 201
        assert client.received.pushed.blobs == 0
    assert tree(folder) == before
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()} == {
        path: time for path, time in times.items() if path.is_file()
    }


def test_other_tags_and_what_else_an_index_says_stay(folder: Path) -> None:
    old = Layout(folder)
    old.tag("other", old.cache([b"an old one"]))
    old.write_index()
    index = json.loads((folder / "index.json").read_bytes())
    (folder / "index.json").write_text(json.dumps({**index, "annotations": {"kept": "yes"}}))
    for cache in (CACHE, OTHER):
        with receiving(folder, tag="mine") as client:
            assert client.push(cache).status == 201
    assert index_of(folder) == {"other": old.entries[0]["digest"], "mine": OTHER.digest}
    assert json.loads((folder / "index.json").read_bytes())["annotations"] == {"kept": "yes"}


def test_notes_of_where_a_layer_was_read_do_not_get_into_the_folder(folder: Path) -> None:
    with receiving(folder) as client:
        client.push(CACHE)
    before = tree(folder)
    noted = json.loads(CACHE.manifest)
    for each in noted["layers"]:
        each["annotations"] = {"containerd.io/distribution.source.127.0.0.1:4711": "buildx-cache"}
    with receiving(folder) as client:
        again = Pushable(parts={}, manifest=encoded(noted))
        reply = client.put_manifest(again)
        assert (reply.status, reply.headers["docker-content-digest"]) == (201, again.digest)
    assert tree(folder) == before


def test_it_is_told_whether_the_folder_has_what_was_written(folder: Path) -> None:
    """Who learns the name on the way could write another cache."""
    noted = json.loads(CACHE.manifest)
    for each in noted["layers"]:
        each["annotations"] = {"containerd.io/distribution.source.127.0.0.1:4711": "buildx-cache"}
    came = Pushable(parts=CACHE.parts, manifest=encoded(noted))
    with receiving(folder) as client:
        assert not client.received.holds({CACHE.digest})
        assert client.push(came).status == 201
        assert client.received.holds({came.digest})
        assert client.received.holds({CACHE.digest})
        assert client.push(OTHER).status == 201
    assert not client.received.holds({came.digest})
    with receiving(folder) as client:
        assert client.received.holds({OTHER.digest, ABSENT})
        assert not client.received.holds(())


# --- what is there, and what is not ---


DAMAGES: Mapping[str, Callable[[Path], object]] = {
    "lost": Path.unlink,
    "cut off": lambda path: path.write_bytes(b"on"),
    "swapped": lambda path: path.write_bytes(b"two"),
    "with another bit": flip_bit,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_blob_is_sent_again(folder: Path, damage: Callable[[Path], object]) -> None:
    with receiving(folder) as client:
        client.push(CACHE)
    path = folder / "blobs/sha256" / digest_of(b"one")[7:]
    path.chmod(0o644)
    damage(path)
    with receiving(folder) as client:
        assert client.ask("HEAD", f"blobs/{digest_of(b'one')}").status == 404
        assert client.push(CACHE).status == 201
        assert client.received.pushed.blobs == 1
    assert layout.verify(folder, deep=True) == ()


def test_a_blob_is_hashed_once_a_call(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with receiving(folder) as client:
        client.push(CACHE)
    hashed: list[str] = []

    def content_fault(content: io.FileIO, digest: str, known: verification.Hashed) -> MalformedError | None:
        hashed.append(digest)
        return verification.content_fault(content, digest, known)

    monkeypatch.setattr(writer, "content_fault", content_fault)
    with receiving(folder) as client:
        for _ in range(2):
            assert client.push(CACHE).status == 201
    assert sorted(hashed) == sorted({*CACHE.parts, CACHE.digest})


def test_a_file_with_several_names_is_hashed_once_a_call(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The attack: one large file under the digests of all layers that a build is going to write."""
    large = folder.parent / "large"
    large.write_bytes(b"large")
    for digest in CACHE.parts:
        (Layout(folder).blobs / digest[7:]).hardlink_to(large)
    read: list[object] = []
    real = verification._hash
    monkeypatch.setattr(verification, "_hash", lambda pieces: read.append(pieces) or real(pieces))  # type: ignore[func-returns-value]
    with receiving(folder) as client:
        for digest in CACHE.parts:
            assert client.ask("HEAD", f"blobs/{digest}").status == 404
    assert len(read) == 1


@pytest.mark.parametrize("is_linked", [False, True])
def test_a_blob_that_changes_while_it_is_written_to_is_sent_again(folder: Path, *, is_linked: bool) -> None:
    with receiving(folder) as client:
        client.push(CACHE)
    path = folder / "blobs/sha256" / digest_of(b"one")[7:]
    if is_linked:  # as --load makes them
        (folder.parent / "second").hardlink_to(path)
    with receiving(folder) as client:
        client.push(CACHE)
        path.chmod(0o644)
        flip_bit(path)
        assert client.push(CACHE).status == 201
    assert layout.verify(folder, deep=True) == ()


def test_what_nobody_vouches_for_goes_from_its_tag_and_leaves_the_others(folder: Path) -> None:
    with receiving(folder, tag="other") as client:
        client.push(OTHER)
    with receiving(folder) as client:
        client.push(CACHE)
    client.received.take_back()
    assert index_of(folder) == {"other": OTHER.digest}
    assert layout.verify(folder, deep=True) == ()
    client.received.take_back()
    assert not client.received.holds([CACHE.digest])


def test_what_nobody_vouches_for_gives_its_tag_back_to_the_cache_before(folder: Path) -> None:
    with receiving(folder) as client:
        client.push(OTHER)
    with receiving(folder) as client:
        client.push(CACHE)
    client.received.take_back()
    assert index_of(folder) == {"latest": OTHER.digest}
    assert layout.verify(folder, deep=True) == ()


def test_what_another_call_wrote_meanwhile_keeps_the_tag(folder: Path) -> None:
    with receiving(folder) as client:
        client.push(CACHE)
    with receiving(folder) as another:
        another.push(OTHER)
    client.received.take_back()
    assert index_of(folder) == {"latest": OTHER.digest}


def test_a_changed_blob_that_no_tag_vouches_for_is_sent_again(folder: Path) -> None:
    with receiving(folder) as client:
        client.put_blob(b"one")
    path = folder / "blobs/sha256" / digest_of(b"one")[7:]
    path.chmod(0o644)
    flip_bit(path)
    with receiving(folder) as client:
        assert client.ask("HEAD", f"blobs/{digest_of(b'one')}").status == 404
        assert client.push(CACHE).status == 201
    assert layout.verify(folder, deep=True) == ()


def test_a_link_in_the_place_of_a_blob_is_replaced_and_not_followed(folder: Path, tmp_path: Path) -> None:
    (folder / "blobs/sha256").mkdir(parents=True)
    (tmp_path / "outside").write_bytes(b"one")
    (folder / "blobs/sha256" / digest_of(b"one")[7:]).symlink_to(tmp_path / "outside")
    with receiving(folder) as client:
        assert client.ask("HEAD", f"blobs/{digest_of(b'one')}").status == 404
        assert client.push(CACHE).status == 201
    assert layout.verify(folder, deep=True) == ()
    assert (tmp_path / "outside").read_bytes() == b"one"


@pytest.mark.parametrize("name", ["blobs", "blobs/sha256", "ingest"])
def test_a_folder_that_is_a_link_is_not_followed(folder: Path, tmp_path: Path, name: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).symlink_to(outside)
    with receiving(folder) as client:
        reply = client.ask("POST", f"blobs/uploads/?digest={digest_of(BLOB)}", BLOB)
        assert reply.status == 413
        assert client.received.pushed.failure
    assert list(outside.iterdir()) == []


def test_the_folder_may_be_set_aside_meanwhile(folder: Path) -> None:
    with receiving(folder) as client:
        client.push(CACHE)
        layout.set_aside(folder)
        assert client.ask("HEAD", f"blobs/{digest_of(b'one')}").status == 404
        assert client.push(CACHE).status == 201
    assert layout.verify(folder, deep=True) == ()


def bad_caches() -> Mapping[str, Pushable]:
    unlike = encoded(config_of([ABSENT]))
    short = json.loads(CACHE.manifest)
    short["layers"][0]["size"] += 1
    image = encoded({"architecture": "amd64", "os": "linux"})
    no_cache = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": described(image, IMAGE_CONFIG),
        "layers": [described(b"one", OCI_LAYER)],
    }
    inner = encoded(no_cache)
    nested = {
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": [described(inner, OCI_MANIFEST), described(encoded(config_of([])), CACHE_CONFIG)],
    }
    parts = {digest_of(part): part for part in (image, b"one", inner, encoded(config_of([])))}
    return {
        "a config that is no JSON": pushable(b"one", config=b"junk"),
        "a config of other layers": pushable(b"one", config=unlike),
        "a layer of another size": Pushable(parts=CACHE.parts, manifest=encoded(short)),
        "another media type inside": pushable(b"one", media_type=OCI_MANIFEST, claimed=OCI_INDEX),
        "an image": Pushable(parts=parts, manifest=encoded(no_cache)),
        "an index of images": Pushable(parts=parts, manifest=encoded(nested), media_type=OCI_INDEX),
        "nothing in it": Pushable(parts={}, manifest=b"{}"),
        "nested too deeply": Pushable(parts={}, manifest=b'{"a":' * 90_000 + b"1" + b"}" * 90_000),
    }


@pytest.mark.parametrize("name", bad_caches())
def test_what_is_no_cache_gets_no_tag(folder: Path, name: str) -> None:
    cache = bad_caches()[name]
    with receiving(folder) as client:
        client.push(OTHER)
        before = (folder / "index.json").read_bytes()
        for digest, content in cache.parts.items():
            assert client.put_blob(content).headers["docker-content-digest"] == digest
        reply = client.put_manifest(cache)
        assert (reply.status, reply.error) == (400, "MANIFEST_INVALID")
        assert any("MANIFEST_INVALID" in line for line in client.log)
    assert (folder / "index.json").read_bytes() == before
    assert layout.verify(folder, deep=True) == ()
    assert index_of(folder) == {"latest": OTHER.digest}


# --- limits ---


def send(client: Client, head: str, body: bytes = b"") -> socket.socket:
    """A connection on which this was sent, and which stays open."""
    connection = socket.create_connection(("127.0.0.1", client.received.port), timeout=20)
    connection.sendall(head.replace("\n", "\r\n").encode() + b"\r\n\r\n" + body)
    return connection


def nothing_left(folder: Path) -> bool:
    return not any((folder / "ingest").iterdir())


@pytest.mark.parametrize("end", [True, False], ids=["ended", "stalled"])
def test_who_lies_about_the_length_leaves_nothing(folder: Path, *, end: bool) -> None:
    with receiving(folder, limits=Limits(stall_seconds=0.2)) as client:
        head = f"PUT {client.begin()}?digest={digest_of(BLOB)} HTTP/1.1\nContent-Length: {len(BLOB) + 9}"
        with send(client, head, BLOB) as connection:
            if end:
                connection.shutdown(socket.SHUT_WR)
            assert rest(connection) == b""
        wait_until(lambda: nothing_left(folder))
        assert client.ask("HEAD", f"blobs/{digest_of(BLOB)}").status == 404


def test_what_comes_after_the_body_is_the_next_request(client: Client) -> None:
    upload = client.begin()
    head = f"PUT {upload}?digest={digest_of(BLOB)} HTTP/1.1\nContent-Length: {len(BLOB)}"
    next_one = f"HEAD {client.base}/blobs/{digest_of(BLOB)} HTTP/1.1\r\nConnection: close\r\n\r\n".encode()
    with send(client, head, BLOB + next_one) as connection:
        assert re.findall(rb"HTTP/1\.1 ([0-9]{3})", rest(connection)) == [b"201", b"200"]


def test_who_waits_to_be_asked_for_the_body_is_asked(client: Client) -> None:
    head = f"PUT {client.begin()}?digest={digest_of(BLOB)} HTTP/1.1\nContent-Length: {len(BLOB)}\nExpect: 100-continue"
    with send(client, head) as connection:
        assert connection.recv(12, socket.MSG_WAITALL) == b"HTTP/1.1 100"
        connection.sendall(BLOB)
        connection.shutdown(socket.SHUT_WR)
        assert b"HTTP/1.1 201" in rest(connection)


@pytest.mark.parametrize(
    ("limits", "status"),
    [
        (WriteLimits(blob_bytes=len(BLOB) - 1), 413),
        (WriteLimits(pending_bytes=len(BLOB) - 1), 413),
        (WriteLimits(uploads=1), 429),
    ],
)
def test_limits_are_kept_before_anything_is_taken(folder: Path, limits: WriteLimits, status: int) -> None:
    with receiving(folder, write_limits=limits) as client:
        client.begin()
        reply = client.ask("POST", f"blobs/uploads/?digest={digest_of(BLOB)}", BLOB)
        assert reply.status == status
        assert client.ask("HEAD", f"blobs/{digest_of(BLOB)}").status == 404


def test_only_what_no_tag_leads_to_counts(folder: Path) -> None:
    limits = WriteLimits(pending_bytes=2 * sum(map(len, CACHE.parts.values())))
    with receiving(folder, write_limits=limits) as client:
        for number in range(9):
            assert client.push(pushable(b"one", b"two", b"%5d" % number)).status == 201


def test_a_manifest_of_many_bytes_is_refused_before_it_is_taken(client: Client) -> None:
    head = f"PUT {client.base}/manifests/{client.tag} HTTP/1.1\nContent-Length: {9 << 20}"
    with send(client, head) as connection:
        assert connection.recv(12, socket.MSG_WAITALL) == b"HTTP/1.1 413"


def test_a_full_disk_leaves_a_sound_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with receiving(folder) as client:
        client.push(OTHER)
        monkeypatch.setattr("buildx_cache.layout.writer.Upload.write", full)
        reply = client.ask("POST", f"blobs/uploads/?digest={digest_of(BLOB)}", BLOB)
        assert 400 <= reply.status < 500  # BuildKit would try again after a 5xx
        assert client.received.pushed.failure == "No space left on device"
        assert nothing_left(folder)
    assert layout.verify(folder, deep=True) == ()
    assert index_of(folder) == {"latest": OTHER.digest}


# --- the end ---


def test_at_the_end_nothing_is_left_of_what_no_tag_leads_to(folder: Path) -> None:
    with receiving(folder) as client:
        client.push(CACHE)
        client.put_blob(BLOB)
        client.ask("PATCH", client.begin(), BLOB)
    assert nothing_left(folder)
    layout.sweep(folder, keep_since=0.0 + 1)
    assert not (folder / "blobs/sha256" / digest_of(BLOB)[7:]).exists()
    assert layout.verify(folder, deep=True) == ()
    assert index_of(folder) == {"latest": CACHE.digest}


def test_the_end_cuts_an_upload(folder: Path) -> None:
    with receiving(folder) as client:
        connection = send(client, f"PATCH {client.begin()} HTTP/1.1\nContent-Length: {len(BLOB)}", BLOB[:9])
        wait_until(lambda: bool(list((folder / "ingest").glob("*/data"))))
    with connection:
        assert rest(connection) == b""
    assert nothing_left(folder)


def test_every_export_has_another_name(folder: Path) -> None:
    with receiving(folder) as one, receiving(folder, tag="other") as other:
        assert re.fullmatch(r"127\.0\.0\.1:\d+/buildx-cache/[0-9a-f]{32}:cache", one.received.reference)
        assert one.base != other.base
        assert one.ask("POST", f"{other.base}/blobs/uploads/").status == 404


@pytest.mark.skipif(os.geteuid() != 0, reason="takes root to be another user")
@pytest.mark.parametrize(
    ("user", "manner", "is_heard"), [(0, "waits", True), (OTHER_USER, "waits", False), (OTHER_USER, "leaves", False)]
)
def test_another_user_of_this_host_writes_nothing(client: Client, user: int, manner: str, *, is_heard: bool) -> None:
    """Who can read the name in the arguments of Buildx."""
    head = f"POST {client.base}/blobs/uploads/?digest={digest_of(BLOB)} HTTP/1.1\nContent-Length: {len(BLOB)}\n\n"
    answer = said_to(user, client.received.port, head, BLOB, manner=manner)
    assert (b" 201 " in answer) is is_heard
    assert (client.ask("HEAD", f"blobs/{digest_of(BLOB)}").status == 200) is is_heard


@pytest.mark.parametrize(
    ("family", "listening", "asked"),
    [
        (socket.AF_INET, "127.0.0.1", "127.0.0.1"),
        (socket.AF_INET6, "::1", "::1"),
        (socket.AF_INET6, "127.0.0.1", "::ffff:127.0.0.1"),
    ],
)
def test_a_client_that_has_gone_does_not_count_as_who_has_its_port(family: int, listening: str, asked: str) -> None:
    """On another address of loopback, another user can have the port of a client of this user's."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.create_server((listening, 0), family=_family(listening)))
        client = stack.enter_context(socket.socket(family))
        client.connect((asked, server.getsockname()[1]))
        stack.enter_context(server.accept()[0])
        end, here = (listening, client.getsockname()[1]), server.getsockname()[:2]
        assert may_write(end, here)
        assert not may_write(("127.0.0.2", end[1]), here)


def words(address: str) -> str:
    """An address as the kernel's tables have it."""
    return f"{int.from_bytes(ip_address(address).packed, sys.byteorder):08X}"


ROUTES = (
    ("docker0", "172.17.0.0", "255.255.0.0"),
    ("eth0", "172.16.0.0", "255.240.0.0"),
    ("ppp0", "0.0.0.0", "0.0.0.0"),  # noqa: S104 -- a route to everywhere
)


@pytest.mark.parametrize(
    ("client", "server", "is_heard"),
    [
        ("172.17.0.2", "172.17.0.1", True),
        ("172.18.0.2", "172.17.0.1", False),
        ("192.0.2.7", "172.17.0.1", False),
        ("192.0.2.7", "127.0.0.1", False),
        ("192.0.2.7", "198.51.100.1", False),
        ("2001:db8:1::2", "2001:db8:1::1", True),
        ("2001:db8:2::2", "2001:db8:1::1", False),
        ("172.17.0.2", "2001:db8:1::1", False),
    ],
)
def test_only_who_is_on_the_network_of_the_server_is_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, client: str, server: str, *, is_heard: bool
) -> None:
    """Another user of the host can have a machine, or a virtual one, on another network of the host's."""
    lines = (f"{name}\t{words(network)}\t00000000\t0001\t0\t0\t0\t{words(mask)}" for name, network, mask in ROUTES)
    gateway = f"eth1\t{words('192.0.2.0')}\t{words('172.16.0.1')}\t0003\t0\t0\t0\t{words('255.255.255.0')}"
    (tmp_path / "route").write_text("\n".join(("Iface\tDestination", *lines, gateway)))
    (tmp_path / "if_inet6").write_text(f"{ip_address('2001:db8:1::1').packed.hex()} 02 40 00 80 docker0\n")
    monkeypatch.setattr(peers, "_ROUTES", tmp_path / "route")
    monkeypatch.setattr(peers, "_ADDRESSES", tmp_path / "if_inet6")
    for admits in (may_read, may_write):
        assert admits((client, 4711), (server, 4712)) is is_heard


def test_who_cannot_be_told_writes_nothing(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where no descriptor is left; the next one is heard again."""
    with monkeypatch.context() as patched:
        patched.setattr(peers, "_TABLES", (Path("/"),))
        with pytest.raises(OSError):  # noqa: PT011 -- it ends, in one of several ways
            client.ask("POST", "blobs/uploads/")
        with pytest.raises(OSError):  # noqa: PT011 -- same
            may_write(("192.0.2.1", 4711), ("127.0.0.1", 4712))
    assert client.ask("POST", "blobs/uploads/").status == 202


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def test_two_at_once_write_both_of_their_caches(folder: Path) -> None:
    with receiving(folder, tag="one") as one, receiving(folder, tag="two") as two:
        assert one.push(CACHE).status == two.push(OTHER).status == 201
    assert index_of(folder) == {"one": CACHE.digest, "two": OTHER.digest}
    assert layout.verify(folder, deep=True) == ()
