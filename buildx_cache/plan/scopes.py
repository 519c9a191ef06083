"""Choose the cache scopes that a build reads and writes, and the tags of their caches.

A scope is a branch, or the name in ``--cache-scope``. A branch has variants of its cache for builds that differ in
target, Dockerfile, build context or template of the scope: with one cache, each build would overwrite the other's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePath

from buildx_cache.cache_tags import cache_tag, may_be_cache, scope_text, variant_text
from buildx_cache.caches.backend import CacheKind
from buildx_cache.caches.entry import SCOPED
from buildx_cache.ci import CIContext
from buildx_cache.errors import UsageError
from buildx_cache.plan.facts import Facts
from buildx_cache.plan.tags import FIELD, fill
from buildx_cache.reference import Reference, parse_reference
from buildx_cache.request.build_request import BuildRequest

_BRANCH = "{branch}"
_LATEST = "latest"


@dataclass(frozen=True, kw_only=True)
class Scopes:
    """The scopes of a build: first the scope that it writes, then those that it only reads."""

    names: tuple[str, ...]
    variant: str = ""
    """The text that distinguishes this build from others in these scopes; empty for the usual build."""

    @property
    def tags(self) -> tuple[str, ...]:
        """Return the tags that hold the caches, in an image repository or a folder."""
        return tuple(cache_tag(name, self.variant) for name in self.names)


def plan_scopes(request: BuildRequest, ci: CIContext, facts: Facts) -> Scopes:
    """Choose the scopes: the build's own, then the pull request's target, then the default branches.

    A template with ``{branch}`` makes a variant of each branch's cache, so that pruning recognizes the branch.

    Raises:
        UsageError: a template has an unknown field, or a field without a value in this build.
    """
    branches = (own_branch(ci), ci.target_branch, *ci.default_branches)
    template = request.cache_scope
    variant = variant_text(_word(FIELD.sub("", template)), "scope", template) if _BRANCH in template else ""
    if template and not variant:
        branches = (fill(template, ci, facts, what="--cache-scope"), *branches[1:])
    return Scopes(
        names=tuple(dict.fromkeys(name for name in branches if name)),
        variant=variant or ("" if template else _variant(request, facts)),
    )


def own_branch(ci: CIContext) -> str:
    """Return the branch whose cache the build writes: a merge queue's base, the branch, or the default branch."""
    return ci.queue_base or ci.branch or ci.default_branches[0]


def is_unplaced(request: BuildRequest, ci: CIContext, kind: CacheKind) -> bool:
    """Return whether the build writes no branch's cache, since its branch is unknown."""
    return kind in SCOPED and SCOPED[kind].is_shared and is_of_unknown_branch(request, ci)


def is_of_unknown_branch(request: BuildRequest, ci: CIContext) -> bool:
    """Return whether the built branch is unknown, and the caller chooses no scope: the build may be a fork's.

    Outside of a CI and of a working copy there are no branches, so nothing is unknown.
    """
    is_named = request.cache_scope and _BRANCH not in request.cache_scope
    is_chosen = is_named or request.cache_read_only is not None
    is_known = ci.branch or (ci.tag and ci.default_branch)
    is_somewhere = ci.is_ci or ci.is_remote or ci.sha
    return bool(is_somewhere and not (is_known or is_chosen))


def folder_tags(request: BuildRequest, scopes: Scopes) -> tuple[str, ...]:
    """Return the tags in a local folder, the one to write first; empty stands for Buildx' default tag.

    A folder belongs to one branch at a time, so branches need no tags. A variant and a scope have tags; they also read
    the default tag.
    """
    if request.cache_scope:
        return (*scopes.tags, "")
    return (f"{_LATEST}-{scopes.variant}", "") if scopes.variant else ("",)


def references(ci: CIContext, facts: Facts, place: str, scopes: Scopes) -> tuple[Reference, ...]:
    """Return the references of the scopes' caches: with the tag of ``place`` if it has one, else the scopes' tags.

    ``place`` is the template of ``--cache-ref``, or the image's repository.
    """
    named = cache_references(ci, facts, place, scopes.names)
    if named[0].tag:
        return named
    return tuple(Reference(host=named[0].host, path=named[0].path, tag=tag) for tag in scopes.tags)


def check_apart(place: str, cache: Reference, tags: tuple[Reference, ...]) -> None:
    """Refuse a tag of the image that is a cache's, of this branch or of another one.

    A branch called ``cache-main`` would push its image to where the cache of main is, or its cache over an image.

    Raises:
        UsageError: the tag.
    """
    template = place.rpartition("/")[2].partition(":")[2]
    parts = FIELD.split(template)[::2]
    same = (tag for tag in tags if tag.canonical.repository == cache.canonical.repository)
    if template and (taken := next((tag for tag in same if may_be_cache(tag.tagged.tag, parts)), None)):
        raise UsageError(
            f"the tag {str(taken)!r} may be that of a cache: --cache-ref is {place!r}",
            code="tag-reserved",
            hint="keep caches under names that no image has: --cache-ref REPOSITORY:buildcache-{branch}",
        )


def cache_references(ci: CIContext, facts: Facts, place: str, branches: tuple[str, ...]) -> tuple[Reference, ...]:
    """Fill in a template for several branches; return each reference once."""
    filled = (fill(place, ci, facts, what="--cache-ref", branch=scope_text(branch)) for branch in branches)
    return tuple(dict.fromkeys(map(parse_reference, filled)))


def _variant(request: BuildRequest, facts: Facts) -> str:
    """Return the text that distinguishes a build from the project's usual build; empty for the usual build."""
    source = facts.place.source
    if not (source or request.target):
        return ""
    word = request.target or next((_word(part) for part in source if _word(part)), "")
    return variant_text(word, request.target, *source)


def _word(text: str) -> str:
    """Return the part of a path or template by which people recognize it, as a short lower-case word."""
    name = re.sub(r"(?i)dockerfile", "", PurePath(text).name)
    return re.sub(r"[^a-z0-9]", "", name.lower())
