"""Choose the cache tags of a repository to delete, and delete them and nothing else.

Keep a tag in doubt: with an unreadable manifest, of unknown age, or that may belong to an existing branch. Keep every
image, whatever its tag: if the registry deletes manifests only, another tag's index may refer to the manifest, and the
list of tags does not show that.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from buildx_cache.cache_tags import REF_PREFIX, scope_text, scopes_of
from buildx_cache.errors import BuildxCacheError, CacheError, UsageError
from buildx_cache.layout.parse import MalformedError
from buildx_cache.registry.distribution import Removal, in_parallel
from buildx_cache.registry.repository import Repository, TagKind

_HOUR = 3_600
_UNMATCHED = "none of the branches given has a cache here: the list may be a wrong one"
_DAY = 24 * _HOUR


@dataclass(frozen=True, kw_only=True, slots=True)
class CacheTag:
    """A candidate for deletion. ``created`` (seconds since the epoch) is that of ``RemoteCache``.

    ``problem`` says why the manifest cannot be read. ``named``: the user named this tag. ``image``: the tag is an
    image, not a cache.
    """

    name: str
    digest: str = ""
    created: float | None = None
    problem: str = ""
    named: bool = False
    image: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """A tag, and the reason to delete it or keep it."""

    tag: CacheTag
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """The tags to delete and the tags to keep."""

    delete: tuple[Decision, ...]
    kept: tuple[Decision, ...]


@dataclass(frozen=True, kw_only=True)
class Deletion:
    """The deleted and the kept tags. If ``error`` ended the deletion early, raise it after showing the rest."""

    deleted: tuple[Decision, ...]
    kept: tuple[Decision, ...]
    error: BuildxCacheError | None = None


def survey(repository: Repository, tag: str = "") -> tuple[CacheTag, ...]:
    """Return the repository's ``buildcache-*`` tags, or only ``tag``, whatever its name. Read several concurrently.

    Raises:
        UsageError: the repository or the tag does not exist.
        CacheError: the digest of ``tag`` cannot be determined.
        DeniedError: the user may not read the repository.
        UnreachableError: the registry does not answer.
    """
    if tag:
        return (_named(repository, tag),)
    return tuple(in_parallel(lambda name: _listed(repository, name), repository.cache_tags()))


def _named(repository: Repository, name: str) -> CacheTag:
    """Return the tag that the user named, even if its manifest is unreadable: to delete it, its digest is enough."""
    try:
        return dataclasses.replace(_looked_at(repository, name), named=True)
    except CacheError as error:
        return CacheTag(name=name, digest=_digest(repository, name), problem=error.message, named=True)


def _listed(repository: Repository, name: str) -> CacheTag:
    try:
        return _looked_at(repository, name)
    except (CacheError, UsageError) as error:  # UsageError: the tag was deleted since it was listed
        return CacheTag(name=name, problem=error.message)


def _looked_at(repository: Repository, name: str) -> CacheTag:
    found = repository.inspect(name)
    return CacheTag(
        name=name,
        digest=found.digest,
        # With unreadable records, the newest time found may not be the newest step.
        created=None if found.findings else found.created,
        image=found.holds is not TagKind.CACHE,
    )


def choose(
    tags: Iterable[CacheTag], *, now: float, max_age: float | None = None, branches: Iterable[str] | None = None
) -> Choice:
    """Choose the tags to delete: those older than ``max_age`` that belong to none of ``branches``. Pure.

    An absent condition holds for every tag. With no condition at all, choose only the tag that the user named. Only
    that tag may have a name other than ``buildcache-*``. If ``branches`` is empty, or no tag belongs to any of them,
    assume that the list is wrong and choose nothing.

    Args:
        tags: the candidates.
        now: seconds since the epoch.
        max_age: seconds.
        branches: the names of all existing branches, and of scopes to keep.
    """
    tags = tuple(tags)
    owners = None if branches is None else _Owners(frozenset(filter(None, branches)))
    unconditional = owners is None and max_age is None
    unmatched = owners is not None and not any(owners.of(tag.name) for tag in tags)
    going: list[Decision] = []
    kept: list[Decision] = []
    for tag in tags:
        stays = _why_not_eligible(tag, unconditional=unconditional)
        stays = stays or _claimed(tag, owners) or (_UNMATCHED if unmatched else "") or _too_young(tag, max_age, now)
        if stays:
            kept.append(Decision(tag=tag, reason=stays))
        else:
            going.append(Decision(tag=tag, reason=_why_it_goes(tag, owners, max_age, now)))
    return Choice(delete=tuple(going), kept=tuple(kept))


def _why_not_eligible(tag: CacheTag, *, unconditional: bool) -> str:
    if tag.image:
        return "it is an image, not a cache"
    if tag.named and tag.digest:
        return ""
    if tag.problem or not tag.digest:
        return f"it cannot be read: {tag.problem}"
    if not tag.name.startswith(REF_PREFIX):
        return "it is no branch's cache by its name"
    return "neither an age nor branches were given" if unconditional else ""


def _claimed(tag: CacheTag, owners: _Owners | None) -> str:
    if owners is None:
        return ""
    if not owners.branches:
        return "the list of branches is empty"
    if not tag.name.startswith(REF_PREFIX):
        return "it is no branch's cache by its name"
    owner = owners.of(tag.name)
    return f"branch {owner} exists" if owner else ""


def _too_young(tag: CacheTag, max_age: float | None, now: float) -> str:
    if max_age is None:
        return ""
    if tag.created is None:
        return "its age is not known"
    return "" if now - tag.created > max_age else f"younger than the limit: {_age(now - tag.created)}"


def _why_it_goes(tag: CacheTag, owners: _Owners | None, max_age: float | None, now: float) -> str:
    branch = () if owners is None else ("its branch does not exist",)
    age = () if max_age is None or tag.created is None else (f"older than the limit: {_age(now - tag.created)}",)
    return ", ".join((*branch, *age)) or "it was named"


def _age(seconds: float) -> str:
    if seconds < _HOUR:
        return "less than an hour"
    number, unit = (int(seconds // _DAY), "day") if seconds >= _DAY else (int(seconds // _HOUR), "hour")
    return f"1 {unit}" if number == 1 else f"{number} {unit}s"


class _Owners:
    """Find the branch that a tag belongs to, by computing the tag text of every branch: it cannot be reversed."""

    def __init__(self, branches: frozenset[str]) -> None:
        self.branches = branches
        self._by_text = {scope_text(branch): branch for branch in branches}

    def of(self, tag: str) -> str:
        """Return the branch that the tag belongs to, on any platform; empty if it belongs to none."""
        return next((self._by_text[text] for text in scopes_of(tag) if text in self._by_text), "")


def delete(repository: Repository, choice: Choice) -> Deletion:
    """Delete the chosen tags and nothing else.

    Delete each by its tag if the registry can. If the registry deletes manifests only, all tags of a manifest go with
    it: keep a manifest that another tag of the repository points at. Keep a tag that was rewritten since it was
    read. The registry garbage-collects the blobs.
    """
    return _Deleter(repository=repository, choice=choice).run()


@dataclass(kw_only=True)
class _Deleter:
    repository: Repository
    choice: Choice
    deleted: list[Decision] = field(default_factory=list)
    kept: list[Decision] = field(default_factory=list)
    waiting: list[Decision] = field(default_factory=list)

    def run(self) -> Deletion:
        error: BuildxCacheError | None = None
        try:
            self._by_tag(self.choice.delete)
            if self.waiting:
                self._by_manifest()
        except BuildxCacheError as failure:
            error = failure
        return Deletion(deleted=tuple(self.deleted), kept=(*self.choice.kept, *self.kept), error=error)

    def _by_tag(self, going: Sequence[Decision]) -> None:
        sharers = {one.tag.digest: one.tag.name for one in self.choice.kept if one.tag.digest}
        for place, one in enumerate(going):
            if not self._is_unchanged(one):
                continue
            if self.repository.registry.delete(one.tag.name) is not Removal.DONE:
                self.waiting += [one, *(other for other in going[place + 1 :] if self._is_unchanged(other))]
                return
            self.deleted.append(one)
            if sharer := sharers.get(one.tag.digest):
                self._assert_present(sharer, one.tag.name)

    def _is_unchanged(self, one: Decision) -> bool:
        now = _digest(self.repository, one.tag.name)
        if now == one.tag.digest:
            return True
        if now:
            self.kept.append(Decision(tag=one.tag, reason="it was written anew meanwhile"))
        else:
            self.deleted.append(one)
        return False

    def _assert_present(self, sharer: str, deleted: str) -> None:
        if not _digest(self.repository, sharer):
            raise CacheError(
                f"{self.repository.name}: deleting {deleted} also deleted {sharer}, which has the same manifest",
                code="pruned-too-much",
                hint=f"push {sharer} again; this registry does not follow the OCI specification",
            )

    def _by_manifest(self) -> None:
        """Delete manifests, after reading the digest of every tag; if one is unknown, delete nothing."""
        names = self.repository.tags()
        digests = in_parallel(lambda name: _digest(self.repository, name), names)
        going = {one.tag.name for one in self.waiting}
        sharers = {digest: name for name, digest in zip(names, digests, strict=True) if name not in going}
        gone: set[str] = set()
        for one in self.waiting:
            if sharer := sharers.get(one.tag.digest):
                reason = f"{sharer} has the same manifest, and {self.repository.registry.host} deletes manifests only"
                self.kept.append(Decision(tag=one.tag, reason=reason))
                continue
            if one.tag.digest not in gone and self.repository.registry.delete(one.tag.digest) is Removal.UNSUPPORTED:
                raise self.repository.registry.unsupported()
            gone.add(one.tag.digest)
            self.deleted.append(one)


def _digest(repository: Repository, tag: str) -> str:
    """Return the digest of the tag's manifest; empty if the tag does not exist.

    Raises:
        CacheError: the digest cannot be determined.
    """
    try:
        return repository.registry.digest(tag) or ""
    except MalformedError as error:
        raise CacheError(
            f"{repository.name}:{tag} {error.problem}: its other tags are unknown",
            code="cache-damaged",
            hint="delete that tag first, or name the one tag to delete",
        ) from None
