"""Which cache tags go, and that nothing else goes with them."""

from __future__ import annotations

import dataclasses

import pytest
import urllib3
from hypothesis import given, settings
from hypothesis import strategies as st

from buildx_cache.cache_tags import cache_tag, variant_text
from buildx_cache.errors import CacheError, DeniedError, UnreachableError, UsageError
from buildx_cache.registry.pruning import CacheTag, Choice, choose, delete, survey
from buildx_cache.registry.transport import RegistryRequest
from tests.unit.registry.fakes import INDEX, NEWEST_SECONDS, Deletes, FakeRegistry, answer, errors
from tests.unit.tags import whole_tag

NOW = 2_000_000_000.0
DAY = 86_400.0
DIGEST = "sha256:" + "0" * 64


def tag(name: str, days: float | None = 0, *, named: bool = False) -> CacheTag:
    return CacheTag(name=name, digest=DIGEST, created=None if days is None else NOW - days * DAY, named=named)


def names(choice: Choice) -> tuple[list[str], dict[str, str]]:
    return [one.tag.name for one in choice.delete], {one.tag.name: one.reason for one in choice.kept}


# Choosing.


def test_tags_older_than_the_limit_go() -> None:
    tags = [tag("buildcache-a", 31), tag("buildcache-b", 29.9), tag("buildcache-c", 30), tag("buildcache-d", -3)]
    doomed, kept = names(choose(tags, now=NOW, max_age=30 * DAY))
    assert doomed == ["buildcache-a"]
    assert kept == {
        "buildcache-b": "younger than the limit: 29 days",
        "buildcache-c": "younger than the limit: 30 days",
        "buildcache-d": "younger than the limit: less than an hour",
    }


@pytest.mark.parametrize(
    ("hours", "age"),
    [
        (0.9, "less than an hour"), (1, "1 hour"), (23.9, "23 hours"), (24, "1 day"), (47.9, "1 day"), (48, "2 days"),
    ],
)  # fmt: skip
def test_an_age_is_told_in_days_or_below_one_in_hours(hours: float, age: str) -> None:
    _, kept = names(choose([tag("buildcache-a", hours / 24)], now=NOW, max_age=30 * DAY))
    assert kept == {"buildcache-a": f"younger than the limit: {age}"}


def test_tags_of_branches_that_do_not_exist_go() -> None:
    tags = [tag("buildcache-main"), tag("buildcache-gone"), tag(cache_tag("feature/x"))]
    choice = choose(tags, now=NOW, branches=["main", "feature/x"])
    doomed, kept = names(choice)
    assert doomed == ["buildcache-gone"]
    assert choice.delete[0].reason == "its branch does not exist"
    assert kept == {"buildcache-main": "branch main exists", cache_tag("feature/x"): "branch feature/x exists"}


def test_of_two_conditions_both_must_hold() -> None:
    tags = [tag("buildcache-main", 99), tag("buildcache-gone", 1), tag("buildcache-old", 99)]
    doomed, _ = names(choose(tags, now=NOW, max_age=30 * DAY, branches=["main"]))
    assert doomed == ["buildcache-old"]


@pytest.mark.parametrize(
    ("name", "branch", "kept"),
    [
        ("buildcache-main", "main", True),
        ("buildcache-main-linux-arm64", "main", True),
        ("buildcache-main-linux-arm-v7", "main", True),
        ("buildcache-main-windows-amd64", "main", True),
        (whole_tag("main", "", "arm64"), "main", True),
        (whole_tag("main", "", "linux/mips/softfloat"), "main", True),
        (cache_tag("feature/x"), "feature/x", True),
        (whole_tag("main", variant_text("web", "web-{branch}"), "linux/arm64"), "main", True),
        (whole_tag("feature/x", variant_text("test", "test"), ""), "feature/x", True),
        (whole_tag("main", variant_text("test", "test"), ""), "main-for-test", False),
        (whole_tag("feature/x", "", "linux/amd64"), "feature/x", True),
        (cache_tag("main-linux-arm64"), "main-linux-arm64", True),
        ("buildcache-feature-x", "feature-x", True),
        # A tag is one branch's alone.
        ("buildcache-main-linux-arm64", "main-linux-arm64", False),
        ("buildcache-main-linux-arm64", "main-linux", False),
        ("buildcache-main-linux-arm64", "mai", False),
        ("buildcache-main-linux-arm64", "main-linux-amd64", False),
        (cache_tag("main-linux-arm64"), "main", False),
        ("buildcache-feature-x", "feature/x", False),
        (cache_tag("feature/x"), "feature-x", False),
        ("buildcache-main-2", "main", False),
        ("buildcache-main", "main-2", False),
        ("buildcache-Main", "main", False),
    ],
)
def test_whose_a_tag_may_be(name: str, branch: str, *, kept: bool) -> None:
    choice = choose([tag(name), tag("buildcache-other")], now=NOW, branches=[branch, "other"])
    assert (name in [each.tag.name for each in choice.kept]) is kept


PLATFORMS = ["", "linux/amd64", "linux/arm/v7", "linux/arm64/v8", "windows/amd64", "arm64", "linux", "darwin/arm64"]
VARIANTS = st.sampled_from(["", variant_text("test", "test")])
BRANCHES = st.text(min_size=1, max_size=200) | st.text("ab/-.#é_", min_size=1, max_size=140)


@settings(derandomize=True, deadline=None, max_examples=200)
@given(
    branch=BRANCHES,
    others=st.frozensets(BRANCHES, max_size=4),
    platform=st.sampled_from(PLATFORMS),
    variant=VARIANTS,
    days=st.none() | st.integers(-10, 10_000),
)
def test_a_tag_of_an_existing_branch_is_never_chosen(
    branch: str, others: frozenset[str], platform: str, variant: str, days: int | None
) -> None:
    name = whole_tag(branch, variant, platform)
    choice = choose([tag(name, days)], now=NOW, branches={branch, *others}, max_age=DAY)
    assert choice.delete == ()


@settings(derandomize=True, deadline=None)
@given(branch=BRANCHES, platform=st.sampled_from(PLATFORMS), variant=VARIANTS)
def test_a_tag_of_a_branch_that_is_gone_is_chosen(branch: str, platform: str, variant: str) -> None:
    name = whole_tag(branch, variant, platform)
    tags = [tag(name), tag("buildcache-another-branch")]
    assert [each.tag for each in choose(tags, now=NOW, branches=["another-branch"]).delete] == tags[:1]


def test_a_list_of_branches_none_of_which_has_a_cache_dooms_nothing() -> None:
    doomed, kept = names(choose([tag("buildcache-a", 99)], now=NOW, branches=["typo"], max_age=DAY))
    assert doomed == []
    assert kept == {"buildcache-a": "none of the branches given has a cache here: the list may be a wrong one"}


@pytest.mark.parametrize("branches", [[], [""]])
def test_an_empty_list_of_branches_dooms_nothing(branches: list[str]) -> None:
    doomed, kept = names(choose([tag("buildcache-a", 99)], now=NOW, branches=branches, max_age=DAY))
    assert doomed == []
    assert kept == {"buildcache-a": "the list of branches is empty"}


def test_a_tag_of_unknown_age_is_kept_where_age_matters() -> None:
    assert names(choose([tag("buildcache-a", None)], now=NOW, max_age=1)) == (
        [],
        {"buildcache-a": "its age is not known"},
    )
    assert choose([tag("buildcache-a", None), tag("buildcache-main")], now=NOW, branches=["main"]).delete


def test_a_tag_that_cannot_be_read_is_kept() -> None:
    broken = CacheTag(name="buildcache-a", digest=DIGEST, problem="is not JSON")
    assert names(choose([broken], now=NOW, branches=["main"])) == (
        [],
        {"buildcache-a": "it cannot be read: is not JSON"},
    )


def test_other_tags_are_not_taken_for_a_branchs() -> None:
    _, kept = names(choose([tag("latest", 999)], now=NOW, branches=["main"]))
    assert kept == {"latest": "it is no branch's cache by its name"}
    _, kept = names(choose([tag("latest", 999, named=True)], now=NOW, branches=["main"]))
    assert kept == {"latest": "it is no branch's cache by its name"}


def test_without_conditions_only_the_tag_that_was_named_goes() -> None:
    choice = choose([tag("cache", None, named=True), tag("buildcache-main", 999)], now=NOW)
    assert [(one.tag.name, one.reason) for one in choice.delete] == [("cache", "it was named")]
    assert names(choice)[1] == {"buildcache-main": "neither an age nor branches were given"}
    assert choose([tag("buildcache-main", 999)], now=NOW).delete == ()


def test_a_tag_that_was_named_need_not_be_a_branchs_but_must_be_old_enough() -> None:
    tags = [tag("cache", 31, named=True), tag("other", 31)]
    assert names(choose(tags, now=NOW, max_age=30 * DAY))[0] == ["cache"]
    assert names(choose(tags, now=NOW, max_age=32 * DAY))[0] == []


# Looking.


def test_only_cache_tags_are_looked_at_unless_one_is_named() -> None:
    registry = FakeRegistry()
    registry.cache("buildcache-main", "latest", "my-cache")
    (found,) = survey(registry.repository())
    assert (found.name, found.digest, found.created) == (
        "buildcache-main",
        registry.tags["buildcache-main"],
        NEWEST_SECONDS,
    )
    assert not found.named
    assert [(one.name, one.named) for one in survey(registry.repository(), "my-cache")] == [("my-cache", True)]


def test_a_tag_that_cannot_be_read_is_told_and_hides_no_other() -> None:
    registry = FakeRegistry()
    registry.cache("buildcache-a")
    registry.put_manifest([], "text/html", "buildcache-b")
    first, second = survey(registry.repository())
    assert first.digest
    assert (second.digest, second.created) == ("", None)
    assert "is not a JSON object" in second.problem


def test_a_tag_that_cannot_be_read_goes_if_it_was_named() -> None:
    registry = FakeRegistry()
    registry.put_manifest([], "text/html", "buildcache-b", "latest")
    (found,) = survey(registry.repository(), "buildcache-b")
    assert found.digest == registry.tags["buildcache-b"]
    assert delete(registry.repository(), choose([found], now=NOW)).error is None
    assert list(registry.tags) == ["latest"]


def test_a_tag_that_went_since_it_was_listed_is_told_and_hides_no_other() -> None:
    registry = FakeRegistry()
    registry.cache("buildcache-a")
    registry.tags["buildcache-b"] = DIGEST
    first, second = survey(registry.repository())
    assert first.digest
    assert "has no tag buildcache-b" in second.problem
    with pytest.raises(UsageError):
        survey(registry.repository(), "buildcache-b")


def test_the_age_of_a_cache_that_is_damaged_is_not_known() -> None:
    registry = FakeRegistry()
    registry.cache("buildcache-a")
    config = next(digest for digest, content in registry.blobs.items() if content.startswith(b"{"))
    del registry.blobs[config]
    (found,) = survey(registry.repository())
    assert found.digest
    assert found.created is None


def test_a_registry_that_fails_ends_the_look() -> None:
    registry = FakeRegistry()
    registry.cache("buildcache-a", "buildcache-b")
    registry.instead["GET", "/manifests/buildcache-b"] = answer(500)
    with pytest.raises(UnreachableError):
        survey(registry.repository())


# Deleting.


def doom(registry: FakeRegistry, *doomed: str) -> Choice:
    """All cache tags looked at, these chosen."""
    every = choose(survey(registry.repository()), now=NOW, max_age=0).delete
    registry.requests.clear()
    return Choice(
        delete=tuple(one for one in every if one.tag.name in doomed),
        kept=tuple(one for one in every if one.tag.name not in doomed),
    )


@pytest.fixture
def shared() -> FakeRegistry:
    """Tags a and b of one manifest, c of another, and an image tag."""
    registry = FakeRegistry()
    registry.cache("buildcache-a", "buildcache-b")
    registry.cache("buildcache-c", layers=(b"other",))
    registry.image("latest")
    return registry


def test_a_tag_is_deleted_alone_where_the_registry_can(shared: FakeRegistry) -> None:
    done = delete(shared.repository(), doom(shared, "buildcache-a"))
    assert [one.tag.name for one in done.deleted] == ["buildcache-a"]
    assert sorted(shared.tags) == ["buildcache-b", "buildcache-c", "latest"]
    assert shared.sent("DELETE") == ["buildcache-a"]
    assert done.error is None


REFUSALS = [
    (400, "DIGEST_INVALID"),
    (400, "UNSUPPORTED"),
    (405, "UNSUPPORTED"),
    (405, ""),
    (400, "TAG_INVALID"),
    (404, "MANIFEST_UNKNOWN"),
    (501, ""),
]


@pytest.mark.parametrize("refusal", REFUSALS)
def test_elsewhere_a_manifest_is_deleted_when_all_its_tags_go(shared: FakeRegistry, refusal: tuple[int, str]) -> None:
    shared.deletes, shared.refusal = Deletes.MANIFESTS, refusal
    digest = shared.tags["buildcache-a"]
    done = delete(shared.repository(), doom(shared, "buildcache-a", "buildcache-b"))
    assert sorted(one.tag.name for one in done.deleted) == ["buildcache-a", "buildcache-b"]
    assert sorted(shared.tags) == ["buildcache-c", "latest"]
    assert digest in shared.sent("DELETE")


@pytest.mark.parametrize("refusal", REFUSALS)
def test_elsewhere_a_manifest_that_a_kept_tag_has_too_stays(shared: FakeRegistry, refusal: tuple[int, str]) -> None:
    shared.deletes, shared.refusal = Deletes.MANIFESTS, refusal
    done = delete(shared.repository(), doom(shared, "buildcache-a", "buildcache-c"))
    assert [one.tag.name for one in done.deleted] == ["buildcache-c"]
    assert done.kept[-1].tag.name == "buildcache-a"
    assert done.kept[-1].reason.startswith("buildcache-b has the same manifest")
    assert sorted(shared.tags) == ["buildcache-a", "buildcache-b", "latest"]


def test_a_manifest_that_an_image_tag_has_too_stays(shared: FakeRegistry) -> None:
    shared.deletes = Deletes.MANIFESTS
    shared.tags["release"] = shared.tags["buildcache-c"]
    done = delete(shared.repository(), doom(shared, "buildcache-c"))
    assert done.deleted == ()
    assert done.kept[-1].reason.startswith("release has the same manifest")
    assert "release" in shared.tags


@pytest.mark.parametrize("words", [("",), ("buildcache-gone",)], ids=["listed", "named"])
@pytest.mark.parametrize("inline", [False, True])
def test_an_image_of_an_index_stays_whatever_other_tag_it_has(words: tuple[str], *, inline: bool) -> None:
    """The attack: a cache's tag for the image that a release's index holds for one platform."""
    registry = FakeRegistry(deletes=Deletes.MANIFESTS)
    image = registry.image("buildcache-gone", inline=inline)
    registry.put_manifest({"schemaVersion": 2, "mediaType": INDEX, "manifests": [image]}, INDEX, "release")
    choice = choose(survey(registry.repository(), *words), now=NOW, max_age=0 if inline else None)
    done = delete(registry.repository(), choice)
    assert [(one.tag.name, one.reason) for one in done.kept] == [("buildcache-gone", "it is an image, not a cache")]
    assert image["digest"] in registry.manifests


@pytest.mark.parametrize("deletes", [Deletes.TAGS, Deletes.MANIFESTS])
def test_a_tag_written_anew_meanwhile_stays(shared: FakeRegistry, deletes: Deletes) -> None:
    shared.deletes = deletes
    choice = doom(shared, "buildcache-c")
    shared.cache("buildcache-c", layers=(b"newer",))
    done = delete(shared.repository(), choice)
    assert done.deleted == ()
    assert done.kept[-1].reason == "it was written anew meanwhile"
    assert "buildcache-c" in shared.tags


def test_a_tag_that_is_gone_already_counts_as_deleted(shared: FakeRegistry) -> None:
    choice = doom(shared, "buildcache-c")
    del shared.tags["buildcache-c"]
    assert [one.tag.name for one in delete(shared.repository(), choice).deleted] == ["buildcache-c"]
    assert shared.sent("DELETE") == []


@pytest.mark.parametrize("deletes", [Deletes.TAGS, Deletes.MANIFESTS])
def test_deleting_nothing_asks_nothing(shared: FakeRegistry, deletes: Deletes) -> None:
    shared.deletes = deletes
    delete(shared.repository(), doom(shared))
    assert shared.requests == []


def test_a_registry_that_deletes_nothing_is_told_with_its_own_way(shared: FakeRegistry) -> None:
    shared.deletes = Deletes.NOTHING
    done = delete(shared.repository(host="docker.io"), doom(shared, "buildcache-c"))
    assert done.deleted == ()
    assert isinstance(done.error, UsageError)
    assert "docker.io does not let tags be deleted" in done.error.message
    assert "hub.docker.com" in done.error.hint


def test_an_error_in_between_tells_what_was_deleted_before(shared: FakeRegistry) -> None:
    choice = doom(shared, "buildcache-a", "buildcache-c")
    shared.instead["DELETE", "buildcache-c"] = answer(403, content=errors("DENIED"))
    done = delete(shared.repository(), choice)
    assert [one.tag.name for one in done.deleted] == ["buildcache-a"]
    assert isinstance(done.error, DeniedError)


@pytest.mark.parametrize("status", [403, 500])
def test_nothing_is_deleted_by_manifest_while_a_tag_cannot_be_told(shared: FakeRegistry, status: int) -> None:
    shared.deletes = Deletes.MANIFESTS
    choice = doom(shared, "buildcache-c")
    shared.instead["HEAD", "/latest"] = answer(status, method="HEAD")
    done = delete(shared.repository(), choice)
    assert done.error is not None
    assert "buildcache-c" in shared.tags


def test_nothing_is_deleted_by_manifest_while_a_tags_manifest_is_malformed(shared: FakeRegistry) -> None:
    shared.deletes = Deletes.MANIFESTS
    choice = doom(shared, "buildcache-c")
    shared.instead["HEAD", "/latest"] = answer(200, method="HEAD")
    shared.instead["GET", "/latest"] = answer(200, {"Docker-Content-Digest": DIGEST}, b"{}")
    done = delete(shared.repository(), choice)
    assert isinstance(done.error, CacheError)
    assert "buildcache-c" in shared.tags


def test_a_registry_that_takes_other_tags_along_is_stopped_at_the_first(shared: FakeRegistry) -> None:
    choice = doom(shared, "buildcache-a", "buildcache-c")

    def greedy(request: RegistryRequest) -> urllib3.HTTPResponse | None:
        if request.method == "DELETE":
            digest = shared.tags[request.url.rpartition("/")[2]]
            shared.tags = {name: other for name, other in shared.tags.items() if other != digest}
            return answer(202)
        return None

    shared.guard = greedy
    done = delete(shared.repository(), choice)
    assert isinstance(done.error, CacheError)
    assert "buildcache-b" in done.error.message
    assert "buildcache-c" in shared.tags


@settings(derandomize=True, deadline=None, max_examples=200)
@given(
    contents=st.lists(st.integers(0, 3), min_size=1, max_size=8),
    doomed=st.sets(st.integers(0, 7)),
    images=st.sets(st.integers(0, 3), max_size=2),
    deletes=st.sampled_from(Deletes),
)
def test_no_tag_but_the_doomed_is_ever_lost(
    contents: list[int], doomed: set[int], images: set[int], deletes: Deletes
) -> None:
    registry = FakeRegistry(deletes=deletes)
    for place, content in enumerate(contents):
        registry.cache(f"buildcache-{place}", layers=(b"layer", str(content).encode()))
    for content in images:
        registry.cache(f"v{content}", layers=(b"layer", str(content).encode()))
    before = dict(registry.tags)
    chosen = {f"buildcache-{place}" for place in doomed}
    done = delete(registry.repository(), doom(registry, *chosen))
    lost = {name for name in before if name not in registry.tags}
    assert lost <= chosen
    assert lost == {one.tag.name for one in done.deleted}
    assert deletes is not Deletes.TAGS or lost == chosen & set(before)
    assert all(registry.tags[name] in registry.manifests for name in registry.tags)


def test_what_is_judged_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        tag("buildcache-a").name = "latest"  # type: ignore[misc]
