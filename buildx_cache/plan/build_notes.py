"""Say what the user should know before a build starts."""

from __future__ import annotations

from collections.abc import Iterator

from buildx_cache.caches.entry import SCOPED, CacheEntry
from buildx_cache.ci import CIContext
from buildx_cache.plan.build_plan import BuilderPlan, BuildInvocation, CachePlan
from buildx_cache.plan.facts import Facts
from buildx_cache.plan.scopes import is_unplaced
from buildx_cache.request.build_request import BuildRequest, Driver
from buildx_cache.request.local_paths import flag_values, secret_sources
from buildx_cache.request.outputs import pushes

ASCII_ONLY = "Buildx takes only printable ASCII in its path"
_POLICY_NOTE = (
    "a policy at the build context's address is not evaluated: it could read files here; your own: "
    "-- --policy filename=cwd://FILE"
)


def build_notes(
    request: BuildRequest, ci: CIContext, facts: Facts, builder: BuilderPlan, cache: CachePlan, build: BuildInvocation
) -> tuple[str, ...]:
    """Return the notes on a build, a line each."""
    backend = SCOPED.get(cache.kind)
    candidates = (
        (build.resets_policy, _POLICY_NOTE),
        (
            backend is not None and backend.is_in_image and not (pushes(request) or cache.read_only),
            "an inline cache is part of the pushed image: without --push nothing is written",
        ),
        (
            backend is not None and backend.is_pushed and not (pushes(request) or cache.read_only),
            "the cache is pushed to its registry although the image is not",
        ),
        (
            cache.max_size is not None and not cache.written_folders,
            "--cache-max-size bounds a local cache's folder, and this build writes none",
        ),
        (
            bool(unusable_folder(cache)),
            f"the cache folder {unusable_folder(cache)!r} is not used: {ASCII_ONLY}; give another folder",
        ),
        (
            request.push_auto,
            "a pull request from a fork, or possibly one: the image is not pushed"
            + (", and the cache is read-only" if cache.read_only else ""),
        ),
        (
            cache.read_only and request.cache_read_only is None and not request.push_auto,
            "a pull request from a fork, or possibly one: the cache is read-only",
        ),
        (
            is_unplaced(request, ci, cache.kind) and not cache.read_only,
            f"{_unplaced(ci)}: the cache is read-only; write it with --cache-scope",
        ),
        (
            not (pushes(request) or request.push_auto or request.load or request.output)
            and builder.driver != Driver.DOCKER,
            "the image stays in the builder's cache: add --push or --load to keep it",
        ),
        (
            any(argument.is_secret for argument in build.build_args),
            "build arguments are kept in the image's history and provenance: hand secrets over with --secret",
        ),
        (
            request.prune is None and ci.is_ci and not builder.owned,
            f"the builder {builder.name!r} is not this project's own: it is not pruned",
        ),
    )
    unknown = dict.fromkeys(
        f"the attribute {key!r} of a cache of type={entry.type} is not known here: BuildKit may ignore it"
        for entry in (*cache.imports, *cache.exports)
        for key in entry.unknown
    )
    left_out = (_left_out_note(entry, missing) for entry, missing in cache.left_out)
    applying = (text for applies, text in candidates if applies)
    return (*applying, *unknown, *dict.fromkeys(left_out), *_unset_secrets(request, facts))


def unusable_folder(cache: CachePlan) -> str:
    """Return the first local folder whose path Buildx cannot use, else the empty string.

    Buildx sends the path to BuildKit in a gRPC header, and gRPC accepts only printable ASCII there.
    """
    folders = (entry.folder for entry in (*cache.written, *cache.imports))
    return next((folder for folder in folders if folder and not (folder.isascii() and folder.isprintable())), "")


def _left_out_note(entry: CacheEntry, missing: str) -> str:
    """Return the note on a cache entry that Buildx leaves out."""
    return f"the cache {entry.place} is left out: not set: {missing}; pass them to this step"


def _unplaced(ci: CIContext) -> str:
    who = "the build context's address" if ci.is_remote else ci.provider if ci.is_ci else "git"
    return f"{who} tells neither branch nor tag" if not ci.tag else f"{who} does not tell the default branch"


def _unset_secrets(request: BuildRequest, facts: Facts) -> Iterator[str]:
    """Yield a note for each secret whose variable is not set: BuildKit mounts an empty file then.

    A secret that may be a file, too, gets no note: Buildx itself reports an absent file.
    """
    if facts.variables is None:
        return
    for entry in (*request.secret, *flag_values(request.buildx_flags, "--secret")):
        names, path = secret_sources(entry)
        for name in names:
            if name and not path and name not in facts.variables:
                yield f"--secret {entry}: the variable {name} is empty or not set: the secret is empty"
