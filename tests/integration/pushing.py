"""A client that pushes to a folder, over real sockets, and the cache that it pushes."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from buildx_cache.serve import INTERNAL, Limits, Received, WriteLimits, receive
from tests.integration.test_serve import PATIENCE, Reply
from tests.unit.layout.layouts import CACHE_CONFIG, OCI_LAYER, OCI_MANIFEST, Json, config_of, digest_of, encoded


@dataclass(frozen=True, kw_only=True)
class Pushable:
    """The documents of a cache over some layers; ``parts`` are its layers and its config by digest."""

    parts: Mapping[str, bytes]
    manifest: bytes
    media_type: str = OCI_MANIFEST

    @property
    def digest(self) -> str:
        return digest_of(self.manifest)


def described(content: bytes, media_type: str) -> Json:
    return {"mediaType": media_type, "digest": digest_of(content), "size": len(content)}


def pushable(
    *layers: bytes, config: bytes | None = None, media_type: str = OCI_MANIFEST, claimed: str = ""
) -> Pushable:
    """A cache in the shape of an image manifest, or of a list; ``claimed`` is another type that it says it has."""
    config = encoded(config_of([digest_of(layer) for layer in layers])) if config is None else config
    found, of_config = [described(layer, OCI_LAYER) for layer in layers], described(config, CACHE_CONFIG)
    shape = {"manifests": [*found, of_config]} if "index" in media_type else {"config": of_config, "layers": found}
    manifest = encoded({"schemaVersion": 2, "mediaType": claimed or media_type, **shape})
    return Pushable(
        parts={digest_of(part): part for part in (*layers, config)}, manifest=manifest, media_type=media_type
    )


@dataclass(kw_only=True)
class Client:
    """Asks one server; a path is under the repository unless it begins with a slash."""

    received: Received
    log: list[str] = field(default_factory=list)

    @property
    def base(self) -> str:
        return f"/v2/{self.received.reference.partition('/')[2].rpartition(':')[0]}"

    @property
    def tag(self) -> str:
        return self.received.reference.rpartition(":")[2]

    def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> Reply:
        target = path if path.startswith("/") else f"{self.base}/{path}"
        client = http.client.HTTPConnection("127.0.0.1", self.received.port, timeout=PATIENCE)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            client.request(method, target, body=body or None, headers=named)
            answer = client.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return Reply(status=answer.status, headers=found, body=answer.read())
        finally:
            client.close()

    def begin(self) -> str:
        """Return the path of a new upload."""
        reply = self.ask("POST", "blobs/uploads/")
        assert reply.status == 202
        return urlsplit(reply.headers["location"]).path

    def put_blob(self, content: bytes) -> Reply:
        return self.ask("PUT", f"{self.begin()}?digest={digest_of(content)}", content)

    def put_manifest(self, cache: Pushable, reference: str = "") -> Reply:
        return self.ask("PUT", f"manifests/{reference or self.tag}", cache.manifest, Content_Type=cache.media_type)

    def push(self, cache: Pushable) -> Reply:
        """Push as BuildKit does: what is there already is not sent."""
        for digest, content in cache.parts.items():
            if self.ask("HEAD", f"blobs/{digest}").status != 200:
                assert self.put_blob(content).status == 201
        return self.put_manifest(cache)


@contextmanager
def receiving(
    folder: Path, *, tag: str = "latest", limits: Limits | None = None, write_limits: WriteLimits | None = None
) -> Iterator[Client]:
    """A server in which no request may make an error."""
    log: list[str] = []
    with receive(folder, tag=tag, limits=limits, write_limits=write_limits, log=log.append) as received:
        yield Client(received=received, log=log)
    assert [line for line in log if line.startswith(INTERNAL)] == []


def index_of(folder: Path) -> dict[str, str]:
    """The digests of a folder's tags."""
    index = json.loads((folder / "index.json").read_bytes())
    return {each["annotations"]["org.opencontainers.image.ref.name"]: each["digest"] for each in index["manifests"]}


def tree(folder: Path) -> dict[str, bytes]:
    """Every file of a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
