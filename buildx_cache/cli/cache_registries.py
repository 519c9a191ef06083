"""Run ``cache inspect``, ``verify`` and ``prune`` for a reference in a registry."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol, TypeVar

from buildx_cache.cache_tags import REF_PREFIX
from buildx_cache.ci import provider_of
from buildx_cache.cli.cache_arguments import RegistryLimits
from buildx_cache.cli.displays import CommandOutput
from buildx_cache.display.cache_tables import RegistryTables, UnreadableCache
from buildx_cache.engine.committed import refuse_committed_helpers
from buildx_cache.engine.credentials import credential_for
from buildx_cache.errors import BuildxCacheError, CacheError, UsageError
from buildx_cache.formatting import counted
from buildx_cache.layout import damage_of, damaged, finding_json, rfc3339
from buildx_cache.redaction import Redactor, Secret, rewritten
from buildx_cache.reference import Reference, registry_key
from buildx_cache.registry import Credential, Password
from buildx_cache.registry.deletion_advice import advice_of_untagged
from buildx_cache.registry.distribution import in_parallel
from buildx_cache.registry.pruning import Choice, Decision, Deletion, choose, delete, survey
from buildx_cache.registry.repository import RemoteCache, Repository, TagKind, connect
from buildx_cache.request.ambient import PASSWORD, ambient_login, half_a_login, without_newline
from buildx_cache.request.options import ENV_PREFIX

_LISTED_LAYERS = 200_000
"""The limit of layers in a list of caches: a registry can name any number."""

_Value = TypeVar("_Value")


class _Redact(Protocol):
    """Redact the login's secrets in values from a registry."""

    def __call__(self, value: _Value, /) -> _Value: ...


def inspect_reference(reference: Reference, env: Mapping[str, str], output: CommandOutput, layers: int) -> None:
    """Show the content of a tag, or list the repository's caches.

    Raises:
        UsageError: the repository or tag does not exist.
        DeniedError: the user may not read the repository.
        UnreachableError: the registry does not answer.
        CacheError: the tag's manifest cannot be read.
    """
    with _connected(reference, env, output) as (repository, redact):
        if name := _name(reference):
            with output.working(f"asking {repository.name}"):
                found = redact(repository.inspect(name))
            _tables(output).inspected(repository.name, found, layers=layers)
            output.document(repository=repository.name, caches=[_cache_json(found)])
            return
        with output.working(f"listing the caches of {repository.name}"):
            caches = redact(_listed(repository))
        _tables(output).listed(repository.name, caches)
        output.document(repository=repository.name, caches=[_cache_json(each) for each in caches])


def verify_reference(reference: Reference, env: Mapping[str, str], output: CommandOutput, *, deep: bool) -> None:
    """Look for damage in a tag, or in all of the repository's caches.

    Raises:
        CacheError: a cache is damaged; the damage has been shown.
        UsageError: the repository or tag does not exist, or the repository has no cache.
        DeniedError: the user may not read the repository.
        UnreachableError: the registry does not answer.
    """
    documents, faults = [], 0
    with _connected(reference, env, output) as (repository, redact):
        tags = (_name(reference),) if _name(reference) else repository.cache_tags()
        if not tags:
            raise UsageError(
                f"{repository.name} has no tag {REF_PREFIX}*",
                code="cache-absent",
                hint="name the cache's tag: REPOSITORY:TAG",
            )
        for tag in tags:
            with output.working(f"{'reading' if deep else 'asking for'} {repository.name}:{redact(tag)}"):
                findings = redact(repository.verify(tag, deep=deep))
            faults += len(damage_of(findings))
            sound = not damaged(findings)
            _tables(output).verified(f"{repository.name}:{redact(tag)}", findings, deep=deep)
            named = [finding_json(each) for each in findings]
            documents.append({"tag": redact(tag), "sound": sound, "findings": named})
        output.document(repository=repository.name, deep=deep, sound=not faults, caches=documents)
    if faults:
        raise CacheError(
            f"the cache in {reference} is damaged: {counted(faults, 'fault')}",
            code="cache-damaged",
            hint="delete the damaged tags: the next build writes them again",
        )


def prune_reference(
    reference: Reference, env: Mapping[str, str], output: CommandOutput, limits: RegistryLimits, *, dry_run: bool
) -> None:
    """Delete the repository's caches beyond the limits, or the cache that the reference names.

    Raises:
        UsageError: there is neither a limit nor a tag, the tag is no cache, or the registry does not delete.
        DeniedError: the user may not read or delete.
        UnreachableError: the registry does not answer.
        CacheError: a tag's manifest cannot be read.
    """
    if not reference.tag and limits == RegistryLimits():
        taken = "" if reference.host else f"{reference} is no folder here, and of that repository "
        raise UsageError(
            f"{taken}nothing says which tags may go",
            code="prune-without-limit",
            hint="give --max-age, --keep-branches-from, or one tag: REPOSITORY:TAG",
        )
    with _connected(reference, env, output) as (repository, redact):
        if reference.tag:
            _check_is_cache(repository, reference.tag)
        with output.working(f"listing the caches of {repository.name}"):
            tags = survey(repository, reference.tag)
        choice = choose(tags, now=output.now, max_age=limits.max_age, branches=limits.branches)
        with output.working(f"deleting from {repository.name}"):
            done = redact(_would_be(choice) if dry_run else delete(repository, choice))
        untagged = advice_of_untagged(repository.registry.host)
        _tables(output).pruned(repository.name, done, dry_run=dry_run, untagged=untagged)
        output.document(
            repository=repository.name,
            dry_run=dry_run,
            deleted=[_judged_json(each) for each in done.deleted],
            kept=[_judged_json(each) for each in done.kept],
        )
        if done.error:
            raise done.error


def credential(host: str, env: Mapping[str, str], warn: Callable[[str], object] = str) -> Credential | None:
    """Return the login for a registry: the environment's if that is for this registry, else Docker's stored login.

    If the registry refuses the environment's login, the stored login is used, with a warning by ``warn``.

    Raises:
        UsageError: the registry in the environment is no valid name.
        DeniedError: the stored login cannot be read.
    """

    def stored() -> Credential | None:
        found = credential_for(others, host)
        if found:
            warn(f"{host} refused {ambient.username_env}; the stored login is used")
        return found

    ambient = ambient_login(env, provider_of(env).login)
    hidden = (PASSWORD, ambient.password_env)
    others = {name: value for name, value in env.items() if name not in hidden and not name.startswith(ENV_PREFIX)}
    if not ambient.username or registry_key(host) != ambient.key:
        return credential_for(others, host)
    secret = Secret(without_newline(env[ambient.password_env]))
    return Password(username=ambient.username, secret=secret, fallback=stored)


@contextlib.contextmanager
def _connected(
    reference: Reference, env: Mapping[str, str], output: CommandOutput
) -> Iterator[tuple[Repository, _Redact]]:
    """Connect to the repository; redact the login's secrets, also in errors: a registry's answer can repeat them."""
    refuse_committed_helpers(env)
    repository = _connect(reference, env, output)

    def redact(value: _Value) -> _Value:
        secrets = repository.secrets
        return rewritten(value, Redactor(secrets).text) if secrets else value

    try:
        yield repository, redact
    except BuildxCacheError as error:
        error.rewrite(redact)
        raise


def _connect(reference: Reference, env: Mapping[str, str], output: CommandOutput) -> Repository:
    repository = connect(reference, lambda host: credential(host, env, output.warn), env=env)
    if missing := ambient_login(env, provider_of(env).login).missing:
        output.warn(half_a_login(missing))
    if not reference.host:
        output.say(f"{reference} is no folder here: it is taken for {repository.name}")
    return repository


def _tables(output: CommandOutput) -> RegistryTables:
    return RegistryTables(output.console, now=output.now)


def _name(reference: Reference) -> str:
    return reference.digest or reference.tag


def _check_is_cache(repository: Repository, tag: str) -> None:
    """Refuse to delete an image by its tag. A tag with a cache's name is checked later, when the caches are chosen.

    Raises:
        UsageError: the tag is no cache.
    """
    if tag.startswith(REF_PREFIX) or repository.inspect(tag).holds is TagKind.CACHE:
        return
    raise UsageError(
        f"{repository.name}:{tag} is an image, not a cache", code="not-a-cache", hint="give the tag of a cache, or none"
    )


def _listed(repository: Repository) -> tuple[RemoteCache | UnreadableCache, ...]:
    """Return the repository's caches, newest first."""
    layers = 0

    def look(tag: str) -> RemoteCache | UnreadableCache:
        nonlocal layers
        try:
            found = repository.inspect(tag)
        except CacheError as error:
            return UnreadableCache(tag=tag, problem=error.message)
        layers += len(found.layers)
        if layers > _LISTED_LAYERS:
            return UnreadableCache(tag=tag, problem=f"{tag} has more layers than a list takes: inspect it by its name")
        return found

    found = in_parallel(look, repository.cache_tags())
    return tuple(sorted(found, key=lambda each: (-(each.created or 0.0), each.tag)))


def _would_be(choice: Choice) -> Deletion:
    return Deletion(deleted=choice.delete, kept=choice.kept)


# --- documents -------------------------------------------------------------------------------------------


def _cache_json(found: RemoteCache | UnreadableCache) -> dict[str, object]:
    if isinstance(found, UnreadableCache):
        return {"tag": found.tag, "problem": found.problem}
    return {
        "tag": found.tag,
        "digest": found.digest,
        "holds": found.holds.name.lower(),
        "shape": found.shape.value,
        "bytes": found.size,
        "records": found.records,
        "created": rfc3339(found.created),
        "layers": [
            {
                "digest": layer.digest,
                "bytes": layer.size,
                "media_type": layer.media_type,
                "created": rfc3339(layer.created),
            }
            for layer in found.layers
        ],
        "findings": [finding_json(finding) for finding in found.findings],
    }


def _judged_json(judged: Decision) -> dict[str, object]:
    tag = judged.tag
    return {"tag": tag.name, "digest": tag.digest, "created": rfc3339(tag.created), "reason": judged.reason}
