"""What a tag holds, and the damage that verify finds."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace as replace_limit
from io import BytesIO

import pytest
import urllib3
from urllib3.exceptions import IncompleteRead

from buildx_cache.cli import cache_registries
from buildx_cache.display.cache_tables import UnreadableCache
from buildx_cache.errors import CacheError, UnreachableError, UsageError
from buildx_cache.layout.model import Finding, FindingKind, Shape
from buildx_cache.registry import repository
from buildx_cache.registry.repository import TagKind
from buildx_cache.registry.transport import RegistryRequest
from tests.unit.registry.fakes import (
    CACHE_CONFIG,
    CONFIG,
    INDEX,
    LAYER,
    MANIFEST,
    NEWEST_SECONDS,
    FakeRegistry,
    answer,
    digest_of,
    errors,
)

ONE, THREE = digest_of(b"one"), digest_of(b"three")


@pytest.fixture
def registry() -> FakeRegistry:
    return FakeRegistry()


@pytest.mark.parametrize("listed", [False, True])
def test_a_cache_of_either_shape_is_described(registry: FakeRegistry, *, listed: bool) -> None:
    pushed = registry.cache("buildcache-main", listed=listed)
    found = registry.repository().inspect("buildcache-main")
    assert found.digest == pushed["digest"]
    assert found.shape is (Shape.LAYER_LIST if listed else Shape.IMAGE_MANIFEST)
    assert found.holds is TagKind.CACHE
    assert [(layer.digest, layer.size) for layer in found.layers] == [(THREE, 5), (ONE, 3)]
    assert (found.records, found.created, found.findings) == (2, NEWEST_SECONDS, ())
    assert found.size == len(registry.manifests[found.digest][1]) + sum(map(len, registry.blobs.values()))


def test_layers_are_not_touched_to_describe_a_cache(registry: FakeRegistry) -> None:
    registry.cache("t")
    registry.repository().inspect("t")
    assert [request.method for request in registry.requests] == ["GET", "GET"]


def test_an_image_with_an_inline_cache_is_told_from_one_without(registry: FakeRegistry) -> None:
    registry.image("with", layers=(b"one", b"three"), inline=True)
    registry.image("without")
    found = registry.repository().inspect("with")
    assert (found.holds, found.records, found.created) == (TagKind.INLINE, 2, NEWEST_SECONDS)
    other = registry.repository().inspect("without")
    assert (other.holds, other.records, other.created) == (TagKind.IMAGE, None, None)
    assert found.findings == other.findings == ()


def test_the_images_of_an_index_are_described_together(registry: FakeRegistry) -> None:
    images = [registry.image(layers=(b"one", word), inline=True) for word in (b"amd64", b"arm64")]
    registry.put_manifest({"schemaVersion": 2, "mediaType": INDEX, "manifests": images}, INDEX, "1.0")
    found = registry.repository().inspect("1.0")
    assert (found.holds, found.records, len(found.layers)) == (TagKind.INLINE, 4, 3)
    assert registry.repository().verify("1.0") == ()


def test_times_of_layers_are_told(registry: FakeRegistry) -> None:
    layer = {**registry.put(b"one", LAYER), "annotations": {"buildkit/createdat": "2026-03-04T05:06:07Z"}}
    config = registry.put(b'{"layers":[],"records":[]}', CACHE_CONFIG)
    registry.put_manifest({"mediaType": MANIFEST, "config": config, "layers": [layer]}, MANIFEST, "t")
    assert registry.repository().inspect("t").layers[0].created == NEWEST_SECONDS


def test_an_absent_tag_is_a_usage_error(registry: FakeRegistry) -> None:
    for look in (registry.repository().inspect, registry.repository().verify):
        with pytest.raises(UsageError, match="has no tag buildcache-x"):
            look("buildcache-x")


@pytest.mark.parametrize(
    ("content", "media_type"),
    [
        (b"", MANIFEST),
        (b"nothing", MANIFEST),
        (b"[]", MANIFEST),
        (b"[" * 100_000, MANIFEST),
        (b"{}", "text/html"),
        (b"{}", ""),
        (b"{}", LAYER),
        (b'{"mediaType":7}', MANIFEST),
    ],
)
def test_what_is_no_manifest_is_damage(registry: FakeRegistry, content: bytes, media_type: str) -> None:
    registry.manifests[digest_of(content)] = (media_type, content)
    registry.tags["t"] = digest_of(content)
    with pytest.raises(CacheError, match="team/app:t "):
        registry.repository().inspect("t")
    assert len(registry.repository().verify("t")) == 1


def lose(digest: str) -> Callable[[FakeRegistry], None]:
    def damage(registry: FakeRegistry) -> None:
        del registry.blobs[digest]

    return damage


def replace(digest: str, content: bytes) -> Callable[[FakeRegistry], None]:
    return lambda registry: registry.blobs.update({digest: content})


def config_digest(registry: FakeRegistry) -> str:
    return next(digest for digest in registry.blobs if digest not in (ONE, THREE))


QUICK = [
    ("a lost layer", lose(THREE), FindingKind.MISSING),
    ("a layer cut short", replace(ONE, b"o"), FindingKind.SIZE),
    ("a layer too long", replace(ONE, b"ones"), FindingKind.SIZE),
    ("a lost config", lambda registry: lose(config_digest(registry))(registry), FindingKind.MISSING),
    ("a config cut short", lambda registry: replace(config_digest(registry), b"{")(registry), FindingKind.SIZE),
    (
        "a config of other content",
        lambda registry: replace(config_digest(registry), b" " * len(registry.blobs[config_digest(registry)]))(
            registry
        ),
        FindingKind.CONTENT,
    ),
]
DEEP = [("a layer of other content", replace(ONE, b"two"), FindingKind.CONTENT)]


@pytest.mark.parametrize(("what", "damage", "kind"), QUICK)
@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("listed", [False, True])
def test_damage_is_found(
    registry: FakeRegistry,
    what: str,
    damage: Callable[[FakeRegistry], None],
    kind: FindingKind,
    *,
    deep: bool,
    listed: bool,
) -> None:
    pushed = registry.cache("t", listed=listed)
    assert registry.repository().verify("t", deep=deep) == ()
    damage(registry)
    found = registry.repository().verify("t", deep=deep)
    assert [one.kind for one in found] == [kind], what
    assert found[0].referrer == pushed["digest"]
    assert found[0].remedy
    assert "folder" not in found[0].remedy + found[0].problem


@pytest.mark.parametrize(("what", "damage", "kind"), DEEP)
def test_damage_that_only_reading_finds(
    registry: FakeRegistry, what: str, damage: Callable[[FakeRegistry], None], kind: FindingKind
) -> None:
    registry.cache("t")
    damage(registry)
    assert registry.repository().verify("t") == ()
    assert [one.kind for one in registry.repository().verify("t", deep=True)] == [kind], what


def faults_of(registry: FakeRegistry) -> list[Finding]:
    return list(registry.repository().verify("t"))


def test_records_that_lead_nowhere_are_found(registry: FakeRegistry) -> None:
    config = {"layers": [{"blob": THREE, "parent": -1}], "records": [{"layers": [{"layer": 9}]}]}
    cacheconfig = registry.put(json.dumps(config).encode(), CACHE_CONFIG)
    manifest = {"mediaType": MANIFEST, "config": cacheconfig, "layers": [registry.put(b"one", LAYER)]}
    registry.put_manifest(manifest, MANIFEST, "t")
    assert [one.kind for one in faults_of(registry)] == [FindingKind.RECORDS, FindingKind.RECORDS]


def test_a_broken_inline_cache_is_found(registry: FakeRegistry) -> None:
    for value in ("###", "aGVsbG8=", 7):
        config = registry.put(json.dumps({"moby.buildkit.cache.v0": value}).encode(), CONFIG)
        registry.put_manifest({"mediaType": MANIFEST, "config": config, "layers": []}, MANIFEST, "t")
        assert [one.kind for one in faults_of(registry)] == [FindingKind.RECORDS]


def test_what_buildkit_would_not_import_for_its_size_is_a_notice(registry: FakeRegistry) -> None:
    config = registry.put(b'{"layers":[],"records":[]}' + b" " * (1 << 20), CACHE_CONFIG)
    registry.put_manifest({"mediaType": MANIFEST, "config": config, "layers": []}, MANIFEST, "t")
    (found,) = faults_of(registry)
    assert found.kind is FindingKind.TOO_LARGE
    assert found.blob == config["digest"]


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"config": None},
        {"config": 7, "layers": 7},
        {"manifests": [7, {}, {"digest": "sha256:x"}]},
        {"manifests": {"a": 1}, "layers": [[]]},
        {"config": {"mediaType": "x/y", "digest": ONE, "size": 1}},
        {"config": {"mediaType": CACHE_CONFIG, "digest": "sha256:../../x", "size": 1}},
        {"config": {"mediaType": CACHE_CONFIG, "digest": ONE, "size": -1}},
        {"config": {"mediaType": CACHE_CONFIG, "digest": ONE, "size": 1 << 62}},
    ],
)
def test_a_malformed_manifest_is_found_and_crashes_nothing(registry: FakeRegistry, document: object) -> None:
    registry.put_manifest(document, MANIFEST, "t")
    assert faults_of(registry)
    assert registry.repository().inspect("t").findings


def test_an_index_of_too_many_images_is_not_read_to_its_end(registry: FakeRegistry) -> None:
    others = [registry.image(layers=(str(place).encode(),)) for place in range(200)]
    registry.put_manifest({"mediaType": INDEX, "manifests": others}, INDEX, "t")
    assert FindingKind.MORE in {one.kind for one in faults_of(registry)}
    assert len(registry.requests) < 600


def test_a_manifest_of_too_many_layers_is_not_followed_to_its_end(
    registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repository, "TAG_LIMITS", replace_limit(repository.TAG_LIMITS, blobs=10))
    layers = [{"mediaType": LAYER, "digest": f"sha256:{number:064x}", "size": 1} for number in range(30)]
    registry.put_manifest({"mediaType": MANIFEST, "layers": layers}, MANIFEST, "t")
    found = registry.repository().inspect("t")
    assert len(found.layers) < 10
    assert FindingKind.MORE in {finding.kind for finding in found.findings}


def test_a_list_of_caches_takes_so_many_layers_and_no_more(
    registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_registries, "_LISTED_LAYERS", 1)
    for place in range(3):
        registry.image(f"buildcache-{place}", layers=(str(place).encode(),))
    listed = cache_registries._listed(registry.repository())
    assert [type(each) for each in listed].count(UnreadableCache) == 2


def test_a_lost_image_of_an_index_is_found(registry: FakeRegistry) -> None:
    image = registry.image()
    registry.put_manifest({"mediaType": INDEX, "manifests": [image, {**image, "size": 5}]}, INDEX, "t")
    assert [one.kind for one in faults_of(registry)] == []
    del registry.manifests[str(image["digest"])]
    assert faults_of(registry)[0].kind is FindingKind.MISSING


def test_layers_that_registries_do_not_keep_are_not_asked_for(registry: FakeRegistry) -> None:
    foreign = {"mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "digest": ONE, "size": 9}
    config = registry.put(b"{}", CONFIG)
    registry.put_manifest({"mediaType": MANIFEST, "config": config, "layers": [foreign]}, MANIFEST, "t")
    assert faults_of(registry) == []
    assert registry.sent("HEAD") == []


def test_a_layer_whose_size_is_not_told_is_taken_as_present(registry: FakeRegistry) -> None:
    registry.cache("t")
    registry.instead["HEAD", ONE] = urllib3.HTTPResponse(
        BytesIO(), status=200, preload_content=False, request_method="HEAD"
    )
    assert faults_of(registry) == []


def test_a_connection_cut_in_a_layer_is_no_damage_of_the_cache(registry: FakeRegistry) -> None:
    class Cut(BytesIO):
        def read(self, _: int | None = -1) -> bytes:
            raise IncompleteRead(1, 2)

    registry.cache("t")
    registry.instead["GET", ONE] = urllib3.HTTPResponse(Cut(), status=200, preload_content=False)
    with pytest.raises(UnreachableError, match="no answer from"):
        registry.repository().verify("t", deep=True)


def test_a_layer_without_end_is_not_read_to_its_end(registry: FakeRegistry) -> None:
    read: list[int | None] = []

    def endless(request: RegistryRequest) -> urllib3.HTTPResponse | None:
        if request.method != "GET" or not request.url.endswith(ONE):
            return None

        class Endless(BytesIO):
            def read(self, size: int | None = -1) -> bytes:
                read.append(size)
                return b"x" * (size or 1)

        return urllib3.HTTPResponse(Endless(), status=200, preload_content=False)

    registry.cache("t")
    registry.guard = endless
    assert [one.kind for one in registry.repository().verify("t", deep=True)] == [FindingKind.SIZE]
    assert len(read) < 5


@pytest.mark.parametrize(("method", "deep"), [("HEAD", False), ("GET", True)])
def test_a_refused_layer_is_an_error_and_no_damage(registry: FakeRegistry, method: str, *, deep: bool) -> None:
    registry.cache("t")
    registry.instead[method, ONE] = answer(500, content=errors("UNKNOWN"), method=method)
    with pytest.raises(UnreachableError, match=f"does not give the blob {ONE} of team/app: HTTP 500"):
        registry.repository().verify("t", deep=deep)
