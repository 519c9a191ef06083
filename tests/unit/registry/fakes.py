"""A registry at the seam of HTTP: what would go out is answered here, and noted."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from io import BytesIO
from urllib.parse import urlsplit

import urllib3

from buildx_cache.reference import parse_reference
from buildx_cache.registry import Credential
from buildx_cache.registry.repository import Repository, connect
from buildx_cache.registry.transport import RegistryRequest

HOST = "registry.example.com"
PATH = "team/app"
CACHE_CONFIG = "application/vnd.buildkit.cacheconfig.v0"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
CONFIG = "application/vnd.oci.image.config.v1+json"
NEWEST = "2026-03-04T05:06:07Z"
NEWEST_SECONDS = 1772600767.0

Json = dict[str, object]
Headers = Mapping[str, str]


class Deletes(Enum):
    """What a registry can delete."""

    TAGS = "tags"
    MANIFESTS = "manifests"
    NOTHING = "nothing"


def digest_of(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def answer(
    status: int, headers: Headers | None = None, content: bytes = b"", method: str = "GET"
) -> urllib3.HTTPResponse:
    told = {"Content-Length": str(len(content)), **(headers or {})}
    body = BytesIO(b"" if method == "HEAD" else content)
    return urllib3.HTTPResponse(body=body, headers=told, status=status, preload_content=False, request_method=method)


def errors(code: str, message: str = "no") -> bytes:
    return json.dumps({"errors": [{"code": code, "message": message}]}).encode()


@dataclass
class FakeRegistry:
    """One repository. ``instead`` answers certain requests in its place, by method and the path's last parts."""

    tags: dict[str, str] = field(default_factory=dict)
    manifests: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    deletes: Deletes = Deletes.TAGS
    refusal: tuple[int, str] = (400, "DIGEST_INVALID")
    page: int = 0
    guard: Callable[[RegistryRequest], urllib3.HTTPResponse | None] = lambda _: None
    instead: dict[tuple[str, str], urllib3.HTTPResponse | Exception] = field(default_factory=dict)
    requests: list[RegistryRequest] = field(default_factory=list)

    def put(self, content: bytes, media_type: str) -> Json:
        self.blobs[digest_of(content)] = content
        return {"mediaType": media_type, "digest": digest_of(content), "size": len(content)}

    def put_manifest(self, document: object, media_type: str, *tags: str) -> Json:
        content = json.dumps(document).encode()
        digest = digest_of(content)
        self.manifests[digest] = (media_type, content)
        self.tags.update(dict.fromkeys(tags, digest))
        return {"mediaType": media_type, "digest": digest, "size": len(content)}

    def cache(
        self, *tags: str, layers: Sequence[bytes] = (b"one", b"three"), created: str = NEWEST, listed: bool = False
    ) -> Json:
        """Push a cache in one of its two shapes."""
        found = [self.put(layer, LAYER) for layer in layers]
        config = self.put(json.dumps(config_of(found, created)).encode(), CACHE_CONFIG)
        if listed:
            document: Json = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [*found, config]}
            return self.put_manifest(document, INDEX, *tags)
        document = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": found}
        return self.put_manifest(document, MANIFEST, *tags)

    def image(self, *tags: str, layers: Sequence[bytes] = (b"one",), inline: bool = False) -> Json:
        found = [self.put(layer, LAYER) for layer in layers]
        records = json.dumps(config_of(found, NEWEST)["records"]).encode()
        more = {"moby.buildkit.cache.v0": base64.b64encode(records).decode()} if inline else {}
        config = self.put(
            json.dumps({"rootfs": {"diff_ids": [digest_of(layer) for layer in layers]}, **more}).encode(), CONFIG
        )
        document = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": found}
        return self.put_manifest(document, MANIFEST, *tags)

    def __call__(self, request: RegistryRequest) -> urllib3.BaseHTTPResponse:
        self.requests.append(request)
        path = urlsplit(request.url).path
        for (method, end), given in self.instead.items():
            if method == request.method and path.endswith(end):
                if isinstance(given, Exception):
                    raise given
                return given
        return self.guard(request) or self._serve(request, path)

    def _serve(self, request: RegistryRequest, path: str) -> urllib3.HTTPResponse:
        _, _, rest = path.partition(f"/v2/{PATH}/")
        kind, _, name = rest.partition("/")
        if kind == "tags":
            return self._list(request)
        if kind == "blobs":
            content = self.blobs.get(name)
            return answer(404) if content is None else answer(200, content=content, method=request.method)
        return self._delete(name) if request.method == "DELETE" else self._manifest(name, request.method)

    def _list(self, request: RegistryRequest) -> urllib3.HTTPResponse:
        names = list(self.tags)
        if not self.page:
            return answer(200, content=json.dumps({"name": PATH, "tags": names or None}).encode())
        last = urlsplit(request.url).query.removeprefix("last=")
        start = names.index(last) + 1 if last else 0
        shown = names[start : start + self.page]
        more = start + self.page < len(names)
        link = {"Link": f'</v2/{PATH}/tags/list?last={shown[-1]}>; rel="next"'} if more else {}
        return answer(200, link, json.dumps({"tags": shown}).encode())

    def _manifest(self, name: str, method: str) -> urllib3.HTTPResponse:
        digest = self.tags.get(name, name)
        if digest not in self.manifests:
            return answer(404, content=errors("MANIFEST_UNKNOWN"))
        media_type, content = self.manifests[digest]
        return answer(200, {"Content-Type": media_type, "Docker-Content-Digest": digest}, content, method)

    def _delete(self, name: str) -> urllib3.HTTPResponse:
        if name.startswith("sha256:"):
            if self.deletes is Deletes.NOTHING:
                return answer(405, content=errors("UNSUPPORTED"))
            if name not in self.manifests:
                return answer(404, content=errors("MANIFEST_UNKNOWN"))
            del self.manifests[name]
            self.tags = {tag: digest for tag, digest in self.tags.items() if digest != name}
            return answer(202)
        if self.deletes is not Deletes.TAGS:
            status, code = self.refusal
            return answer(status, content=errors(code))
        del self.tags[name]
        return answer(202)

    def repository(self, login: Credential | None = None, host: str = HOST) -> Repository:
        return connect(parse_reference(f"{host}/{PATH}"), lambda _: login, send=self)

    def sent(self, method: str) -> list[str]:
        """The last parts of what was asked for with a method."""
        return [request.url.rpartition("/")[2] for request in self.requests if request.method == method]


def config_of(layers: Sequence[Json], created: str) -> Json:
    """A chain of layers, a record for each."""
    return {
        "layers": [{"blob": layer["digest"], "parent": place - 1} for place, layer in enumerate(layers)],
        "records": [
            {
                "digest": digest_of(f"record {place}".encode()),
                "layers": [{"layer": place, "createdAt": created}],
                **({"inputs": [[{"link": place - 1}]]} if place else {}),
            }
            for place in range(len(layers))
        ],
    }
