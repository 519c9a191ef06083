"""Which cache tags of a repository may go, and taking them away without taking anything else.

What is not known to be dead is kept: a tag whose manifest cannot be read or whose age is not known, and one that may
belong to a branch that exists. So is an image, whatever its tag: where a registry deletes manifests only, an index of
another tag can lose it, and no list of tags shows that.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from buildx_cache.cache_tags import REF_PREFIX, scope_text, scopes_of
from buildx_cache.errors import BuildxCacheError, CacheError, UsageError
from buildx_cache.layout.parse import MalformedError
from buildx_cache.registry.distribution import Removal, in_parallel
from buildx_cache.registry.repository import Holds, Repository

_HOUR = 3_600
_UNMATCHED = "none of the branches given has a cache here: the list may be a wrong one"
_DAY = 24 * _HOUR


@dataclass(frozen=True, kw_only=True, slots=True)
class CacheTag:
    """A tag that could go: ``created`` (seconds since the epoch) as in ``RemoteCache``.

    ``problem`` says why the manifest cannot be read, if so. ``named`` tells that the user spelled the tag out, and
    ``image`` that it is no cache.
    """

    name: str
    digest: str = ""
    created: float | None = None
    problem: str = ""
    named: bool = False
    image: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """A tag with why it goes or stays."""

    tag: CacheTag
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """Which tags go and which stay."""

    delete: tuple[Decision, ...]
    kept: tuple[Decision, ...]


@dataclass(frozen=True, kw_only=True)
class Deletion:
    """What was deleted, and what stays. ``error`` ended it early; raise it once the rest is shown."""

    deleted: tuple[Decision, ...]
    kept: tuple[Decision, ...]
    error: BuildxCacheError | None = None


def survey(repository: Repository, tag: str = "") -> tuple[CacheTag, ...]:
    """Return the repository's ``buildcache-*`` tags, or just ``tag``, whatever it is called.

    Several are read at a time.

    Raises:
        UsageError: there is no such repository or tag.
        CacheError: what ``tag`` stands for cannot be told.
        DeniedError: the user may not read it.
        UnreachableError: the registry does not answer.
    """
    if tag:
        return (_named(repository, tag),)
    return tuple(in_parallel(lambda name: _listed(repository, name), repository.cache_tags()))


def _named(repository: Repository, name: str) -> CacheTag:
    """Return a tag that is to go even if it cannot be read: what it stands for is all that deleting it takes."""
    try:
        return dataclasses.replace(_looked_at(repository, name), named=True)
    except CacheError as error:
        return CacheTag(name=name, digest=_digest(repository, name), problem=error.message, named=True)


def _listed(repository: Repository, name: str) -> CacheTag:
    try:
        return _looked_at(repository, name)
    except (CacheError, UsageError) as error:  # the latter: it went since it was listed
        return CacheTag(name=name, problem=error.message)


def _looked_at(repository: Repository, name: str) -> CacheTag:
    found = repository.inspect(name)
    return CacheTag(
        name=name,
        digest=found.digest,
        # The times of records that cannot all be read may not tell the newest step.
        created=None if found.findings else found.created,
        image=found.holds is not Holds.CACHE,
    )


def choose(
    tags: Iterable[CacheTag], *, now: float, max_age: float | None = None, branches: Iterable[str] | None = None
) -> Choice:
    """Which tags may go: those that are older than ``max_age`` and that belong to none of ``branches``.

    A condition that is not given is met by every tag. Without any, only a tag goes that the user named, which alone
    need not be called ``buildcache-*``. ``max_age`` is in seconds, ``now`` in seconds since the epoch. ``branches``
    are the names of all branches that exist, and of scopes to keep; a list that is empty, or that none of the tags
    belongs to, is taken for a wrong one, and nothing goes. Pure.
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
    """Whose a tag is. Names go forward to tags, never back: a tag does not tell its branch."""

    def __init__(self, branches: frozenset[str]) -> None:
        self.branches = branches
        self._by_text = {scope_text(branch): branch for branch in branches}

    def of(self, tag: str) -> str:
        """Name the branch that the tag belongs to, on any platform; empty if there is none."""
        return next((self._by_text[text] for text in scopes_of(tag) if text in self._by_text), "")


def delete(repository: Repository, choice: Choice) -> Deletion:
    """Delete the chosen tags and nothing else.

    Each is deleted by its tag where the registry can do that. Where it deletes manifests only, every tag of one goes
    with it: a manifest that any other tag of the repository stands for then stays. A tag that was written anew since
    it was looked at stays as well. Blobs are the registry's to collect.
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
        """Every tag of the repository is asked for its manifest first; if one cannot be told, nothing goes."""
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
    """Return what the tag stands for; empty if nothing.

    Raises:
        CacheError: it cannot be told.
    """
    try:
        return repository.registry.digest(tag) or ""
    except MalformedError as error:
        raise CacheError(
            f"{repository.name}:{tag} {error.problem}: its other tags are unknown",
            code="cache-damaged",
            hint="delete that tag first, or name the one tag to delete",
        ) from None
