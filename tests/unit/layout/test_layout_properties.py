from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from buildx_cache import layout
from buildx_cache.errors import ExhaustedError
from buildx_cache.layout import FindingKind, store
from tests.unit.layout.damages import EVERY, NO_FILE, SEEN_IN_A_LISTING, Damage, flip_bit, rewrite
from tests.unit.layout.layouts import (
    CACHE_CONFIG,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
    Layout,
    encoded,
)
from tests.unit.layout.specs import SPECS, Made, Spec, made


@pytest.fixture(scope="module", autouse=True)
def _no_waiting() -> Iterator[None]:
    """An index that is half written is read again after a moment; there is nobody here to wait for."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "_RETRY_SECONDS", 0)
        yield


REPEATABLE = settings(derandomize=True, deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
EVERYTHING = float("inf")


@given(spec=SPECS)
@REPEATABLE
def test_a_generated_layout_is_sound_and_wholly_understood(spec: Spec) -> None:
    with made(spec) as found:
        reach = layout.reach(found.folder)
        assert layout.verify(found.folder, deep=True) == ()
        assert reach.obstacles == ()
        assert reach.digests == found.live
        assert {tag.name: tag.blobs for tag in reach.tags} == found.by_tag
        assert reach.dead_blobs == len(found.layout.present() - found.live)
        assert reach.live_bytes == sum(found.layout.path(digest).stat().st_size for digest in found.live)


@given(spec=SPECS)
@REPEATABLE
def test_sweep_deletes_just_what_is_unreachable_and_is_idempotent(spec: Spec) -> None:
    with made(spec) as found:
        dead = found.layout.present() - found.live
        told = layout.sweep(found.folder, dry_run=True)
        assert found.layout.present() == found.live | dead
        swept = layout.sweep(found.folder)
        assert set(swept.blobs) == set(told.blobs) == dead
        assert swept.obstacles == ()
        assert found.layout.present() == found.live
        assert layout.sweep(found.folder) == layout.SweepResult()
        assert (found.folder / "index.json").read_bytes() == found.index


@given(spec=SPECS, damage=st.sampled_from(list(SEEN_IN_A_LISTING)), data=st.data())
@REPEATABLE
def test_quick_verify_finds_each_damage_that_a_listing_shows(spec: Spec, damage: Damage, data: st.DataObject) -> None:
    with made(spec) as found:
        victim = data.draw(st.sampled_from(sorted(found.live)))
        damage(found.layout.path(victim))
        findings = [finding for finding in layout.verify(found.folder) if finding.blob == victim]
        assert SEEN_IN_A_LISTING[damage] in {finding.kind for finding in findings}
        assert all(finding.referrer and finding.remedy for finding in findings)
        assert layout.damaged(tuple(findings))


@given(spec=SPECS, data=st.data())
@REPEATABLE
def test_deep_verify_finds_a_flipped_bit_anywhere(spec: Spec, data: st.DataObject) -> None:
    with made(spec) as found:
        victim = data.draw(st.sampled_from(sorted(found.live)))
        flip_bit(found.layout.path(victim))
        assert FindingKind.CONTENT in {one.kind for one in layout.verify(found.folder, deep=True) if one.blob == victim}
        assert layout.damaged(layout.verify(found.folder)) == (victim in found.documents)


@given(spec=SPECS, data=st.data())
@REPEATABLE
def test_deep_verify_finds_a_blob_with_the_content_of_another(spec: Spec, data: st.DataObject) -> None:
    with made(spec) as found:
        victim, other = data.draw(st.permutations(sorted(found.live)))[:2]
        content = found.layout.path(other).read_bytes()
        same_size = found.layout.path(victim).stat().st_size == len(content)
        rewrite(found.layout.path(victim), content)
        assert victim in {finding.blob for finding in layout.verify(found.folder, deep=True)}
        seen_quickly = victim in {finding.blob for finding in layout.verify(found.folder)}
        assert seen_quickly == (victim in found.documents or not same_size)


@given(spec=SPECS, damage=st.sampled_from(EVERY), data=st.data())
@REPEATABLE
def test_sweep_never_deletes_a_blob_that_was_reachable(spec: Spec, damage: Damage, data: st.DataObject) -> None:
    """Whatever is damaged: the blobs below a manifest that cannot be read are still there."""
    with made(spec) as found:
        victim = data.draw(st.sampled_from(sorted(found.live)))
        damage(found.layout.path(victim))
        before = found.layout.present()
        swept = layout.sweep(found.folder, keep_since=EVERYTHING)
        assert found.live & before <= found.layout.present()
        root = victim in {entry["digest"] for entry in found.layout.entries}
        if root or damage in NO_FILE:
            assert found.layout.present() == before
            assert swept.obstacles


@given(spec=SPECS, share=st.floats(0, 1.1), data=st.data())
@REPEATABLE
def test_bound_keeps_within_the_size_and_never_drops_the_tag_to_keep(
    spec: Spec, share: float, data: st.DataObject
) -> None:
    with made(spec) as found:
        keep = data.draw(st.sampled_from(sorted(found.by_tag)))
        before = layout.reach(found.folder)
        limit = int(before.live_bytes * share)
        told = layout.bound(found.folder, max_size=limit, keep_tag=keep, dry_run=True)
        done = layout.bound(found.folder, max_size=limit, keep_tag=keep)
        assert (told.dropped, told.live_bytes, told.over) == (done.dropped, done.live_bytes, done.over)
        assert set(told.swept.blobs) == set(done.swept.blobs)
        after = layout.reach(found.folder)
        assert {tag.name for tag in after.tags} == set(found.by_tag) - set(done.dropped)
        assert keep not in done.dropped
        assert after.live_bytes == done.live_bytes
        assert done.over == (after.live_bytes > limit)
        assert not done.over or [tag.name for tag in after.tags] == [keep]
        assert found.layout.present() == after.digests
        assert layout.verify(found.folder, deep=True) == ()
        _oldest_went_first(before, done.dropped, keep)
        if not done.dropped:
            assert (found.folder / "index.json").read_bytes() == found.index


def _oldest_went_first(before: layout.Reachability, dropped: tuple[str, ...], keep: str) -> None:
    ordered = [tag.name for tag in sorted(before.tags, key=lambda tag: tag.age_key) if tag.name != keep]
    assert list(dropped) == ordered[: len(dropped)]


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats()
    | st.text(st.characters(), max_size=8)
    | st.sampled_from([OCI_INDEX, OCI_MANIFEST, OCI_LAYER, CACHE_CONFIG, "sha256:" + "0" * 64, "\ud800"])
)
KEYS = st.sampled_from(
    (
        *("schemaVersion", "mediaType", "manifests", "config", "layers", "digest", "size", "annotations", "subject"),
        *("records", "inputs", "link", "layer", "chains", "blob", "parent", "createdAt"),
    )
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=5), max_leaves=20
)


@given(index=st.binary(max_size=200) | VALUES.map(encoded))
@REPEATABLE
def test_any_index_is_survived(index: bytes) -> None:
    with made(Spec(tags=(), junk=(b"a", b"b"))) as found:
        (found.folder / "index.json").write_bytes(index)
        _survived(found)


@given(document=VALUES, media_type=st.sampled_from([OCI_INDEX, OCI_MANIFEST, CACHE_CONFIG]), extra=VALUES)
@REPEATABLE
def test_any_document_is_survived(document: object, media_type: str, extra: object) -> None:
    """Documents whose digests are right: what they say is all that is wrong."""
    with made(Spec(tags=(), junk=(b"a", b"b"))) as found:
        _plant(found.layout, document, media_type, extra)
        found.layout.write_index()
        _survived(found)


def _plant(target: Layout, document: object, media_type: str, extra: object) -> None:
    shape = {"schemaVersion": 2, "layers": extra, "records": document, "config": extra, "manifests": document}
    odd = target.put_json(shape, media_type)
    layer = target.put(b"layer")
    wrapped = {"schemaVersion": 2, "config": odd, "layers": [layer]}
    target.tag("odd", target.put_json(wrapped, OCI_MANIFEST))
    target.tag("odder", target.put_json(document, media_type))


def _survived(found: Made) -> None:
    """Nothing raises; and what any of the calls leaves, the others take."""
    before = found.layout.present()
    findings = layout.verify(found.folder, deep=True)
    reach = layout.reach(found.folder)
    encoded(layout.as_json(reach, findings))
    str(findings).encode()
    layout.cache_key(found.folder)
    swept = layout.sweep(found.folder)
    assert not swept.obstacles or found.layout.present() == before
    assert swept.obstacles or not reach.obstacles
    layout.bound(found.folder, max_size=0, keep_tag="odd")
    with suppress(ExhaustedError):
        layout.set_aside(found.folder)
        assert not layout.damaged(layout.verify(found.folder))


PLACES = ["index.json", "oci-layout", "blobs", "blobs/sha256", "ingest", "index.json.lock", ".index.json.buildx-cache"]


@pytest.mark.parametrize("place", PLACES)
@given(spec=SPECS)
@settings(REPEATABLE, max_examples=8)
def test_no_symbolic_link_leads_out_of_the_folder(place: str, spec: Spec) -> None:
    assume(spec.tags)
    with made(spec) as found:
        target = found.folder / place
        if target.is_dir():
            shutil.rmtree(target)
        target.unlink(missing_ok=True)
        target.symlink_to(found.folder.parent / "outside")
        _survived(found)
