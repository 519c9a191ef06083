"""Whatever is pushed, in whatever order: nothing outside of the folder changes, and the folder is sound."""

from __future__ import annotations

import re
import shutil
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from buildx_cache import layout
from buildx_cache.serve import Limits, WriteLimits
from tests.integration.pushing import Client, Pushable, index_of, pushable, receiving, tree
from tests.integration.test_serve import rest
from tests.selection import examples
from tests.unit.layout.layouts import DOCKER_LIST, OCI_INDEX, OCI_MANIFEST, Layout, digest_of, encoded

REPEATABLE = settings(
    derandomize=True,
    deadline=None,
    max_examples=examples(push=10, long=60),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
FIRST, SECOND = pushable(b"one", b"two"), pushable(b"two", b"three", media_type=OCI_INDEX)
JUNK = Pushable(parts={}, manifest=encoded({"schemaVersion": 2, "config": {}, "layers": [None, {"digest": 5}]}))
CONTENTS = [*FIRST.parts.values(), *SECOND.parts.values(), FIRST.manifest, SECOND.manifest, JUNK.manifest, b""]
OLD = pushable(b"an old layer")


@dataclass(frozen=True, kw_only=True)
class Place:
    """A folder in a larger one, all of which is watched."""

    around: Path

    @property
    def folder(self) -> Path:
        return self.around / "cache"

    def reset(self) -> None:
        """The folder with a cache in it, and with what waits to be followed out of it."""
        shutil.rmtree(self.around, ignore_errors=True)
        self.around.mkdir()
        (self.around / "secret").write_bytes(b"keep out")
        made = Layout(self.folder)
        made.tag("old", made.cache([b"an old layer"]))
        made.write_index()
        for digest in FIRST.parts:
            made.path(digest).symlink_to(self.around / "secret")
            break
        (self.folder / "index.json.lock").unlink(missing_ok=True)

    def check(self) -> None:
        outside = {path: content for path, content in tree(self.around).items() if not path.startswith("cache/")}
        assert outside == {"secret": b"keep out"}
        kept = [path.name for path in self.folder.iterdir()]
        assert set(kept) <= {"blobs", "index.json", "ingest", "oci-layout"}
        assert list((self.folder / "ingest").iterdir()) == []
        tags = index_of(self.folder)
        assert set(tags) <= {"old", "latest"}
        assert tags["old"] == layout_of_old()
        for path in (self.folder / "blobs/sha256").iterdir():
            assert path.is_symlink() or digest_of(path.read_bytes()) == f"sha256:{path.name}"
        foreign = (layout.FindingKind.NOT_A_FILE,)  # the link that was there before
        assert [each for each in layout.verify(self.folder, deep=True) if each.kind not in foreign] == []


def layout_of_old() -> str:
    return OLD.digest


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(around=tmp_path_factory.mktemp("fuzz") / "around")


DIGESTS = st.sampled_from(
    [*map(digest_of, CONTENTS), "sha256:../../../secret", "sha256:" + "A" * 64, "sha512:" + "0" * 128]
)
METHODS = st.sampled_from(["POST", "PUT", "PUT", "PATCH", "PATCH", "GET", "HEAD", "DELETE"])
TYPES = st.sampled_from([OCI_MANIFEST, OCI_INDEX, DOCKER_LIST, "text/plain", ""])
PLACES = st.sampled_from(
    [
        *(
            ["blobs/uploads/"] * 3
            + ["<upload>"] * 5
            + ["manifests/<tag>"] * 4
            + ["blobs/<digest>", "manifests/<digest>"]
        ),
        *(
            "manifests/other",
            "blobs/uploads/../../../secret",
            "blobs/uploads/%2e%2e",
            "blobs/../index.json",
            "",
            "tags/list",
        ),
        "blobs/uploads/" + "0" * 64,
    ]
)
QUERIES = st.sampled_from([""] * 3 + ["?digest=<digest>"] * 5 + ["?mount=<digest>&from=x", "?digest=", "?digest=%00"])
EXTENTS = st.sampled_from([""] * 6 + ["0-2", "3-5", "bytes 0-2/3", "5-3", "0-999999999999999999", "-1", "a-b"])
LIES = st.sampled_from([0] * 8 + [1, 5, -1])
STEP = st.tuples(METHODS, PLACES, QUERIES, DIGESTS, st.sampled_from(CONTENTS), TYPES, EXTENTS, LIES)


def step(client: Client, upload: str, asked: tuple[str, str, str, str, bytes, str, str, int]) -> str:
    """Send one request; return the path of the upload that goes on."""
    method, path, query, digest, body, media_type, extent, lie = asked
    target = (path + query).replace("<digest>", digest).replace("<tag>", client.tag)
    target = target.replace("<upload>", upload) if "<upload>" in target else f"{client.base}/{target}"
    headers = {"Content-Length": str(max(0, len(body) + lie)), "Content-Type": media_type, "Content-Range": extent}
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items() if value), "", ""]
    with socket.create_connection(("127.0.0.1", client.received.port), timeout=20) as connection:
        with suppress(OSError):
            connection.sendall("\r\n".join(lines).encode() + body)
            connection.shutdown(socket.SHUT_WR)
        reply = rest(connection)
    assert b"keep out" not in reply
    assert not reply or re.match(rb"HTTP/1\.1 (20[0-6]|4\d\d) ", reply)
    found = re.search(rb"Location: (/v2/\S+/blobs/uploads/[0-9a-f]{64})\r\n", reply)
    return found[1].decode() if found else upload


@given(steps=st.lists(STEP, min_size=1, max_size=14), is_pushed=st.booleans())
@REPEATABLE
def test_whatever_is_pushed_the_folder_stays_sound(
    place: Place, steps: list[tuple[str, str, str, str, bytes, str, str, int]], *, is_pushed: bool
) -> None:
    place.reset()
    limits = WriteLimits(uploads=5, blob_bytes=4096, pending_bytes=8192)
    with receiving(place.folder, limits=Limits(stall_seconds=5.0), write_limits=limits) as client:
        if is_pushed:
            client.push(SECOND)
        upload = f"{client.base}/blobs/uploads/none"
        for each in steps:
            upload = step(client, upload, each)
    place.check()


@given(sent=st.binary(max_size=300), method=METHODS)
@REPEATABLE
def test_bytes_that_are_no_request_do_no_harm(place: Place, sent: bytes, method: str) -> None:
    place.reset()
    with receiving(place.folder) as client:
        head = f"{method} {client.base}/blobs/uploads/ HTTP/1.1\r\n".encode()
        with socket.create_connection(("127.0.0.1", client.received.port), timeout=20) as connection:
            with suppress(OSError):
                connection.sendall(head + sent)
                connection.shutdown(socket.SHUT_WR)
            rest(connection)
    place.check()


@given(cut=st.integers(0, len(OLD.manifest)), byte=st.binary(min_size=1, max_size=1))
@REPEATABLE
def test_a_manifest_that_is_changed_anywhere_gets_a_tag_only_if_it_is_sound(
    place: Place, cut: int, byte: bytes
) -> None:
    place.reset()
    changed = FIRST.manifest[:cut] + byte + FIRST.manifest[cut + 1 :]
    with receiving(place.folder) as client:
        for part in FIRST.parts.values():
            client.put_blob(part)
        reply = client.put_manifest(Pushable(parts={}, manifest=changed))
        assert reply.status in (201, 400)
    place.check()
