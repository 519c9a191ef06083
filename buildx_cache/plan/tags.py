"""Fill in tag templates such as ``registry/app:{short_sha}`` with values from the CI or git."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from buildx_cache.cache_tags import REF_PREFIX
from buildx_cache.caches.backend import closest
from buildx_cache.ci import CIContext
from buildx_cache.errors import UsageError
from buildx_cache.plan.facts import Facts
from buildx_cache.reference import Reference, lowered, parse_reference, safe_tag
from buildx_cache.request.build_request import BuildRequest
from buildx_cache.request.local_paths import flag_values
from buildx_cache.request.outputs import pushes_by_digest, pushing_outputs

FIELD = re.compile(r"\{([^{}]*)\}")
_SHORT_SHA = 7
_REMOTE = "the build context is remote, and its address does not name it: write the tag out"
# A CI's own names for a fork's branch, which no branch can have: `pull/7` (CircleCI), `owner:branch` (Buildkite).
_CIS_OWN = re.compile(r"pull/[0-9]+(?:/|$)|[^:]+:", re.ASCII)

# Each template field and the source of its value; None if this build has no value.
FIELDS: Mapping[str, Callable[[CIContext, Facts], str | None]] = {
    "sha": lambda ci, _: ci.sha,
    "short_sha": lambda ci, _: ci.sha[:_SHORT_SHA] if ci.sha else None,
    "branch": lambda ci, _: safe_tag(ci.branch) if ci.branch else None,
    "tag": lambda ci, _: safe_tag(ci.tag) if ci.tag else None,
    "pr": lambda ci, _: ci.pull_request,
    "build": lambda ci, _: safe_tag(ci.build) if ci.build else None,  # Azure's may be made of the branch's name
    "date": lambda _, facts: facts.place.today,
}


def fill(template: str, ci: CIContext, facts: Facts, *, what: str = "the tag", branch: str = "") -> str:
    """Fill in a template; ``branch`` replaces the build's branch.

    Raises:
        UsageError: a brace is no field, a field is unknown, or a field has no value in this build.
    """

    def value(match: re.Match[str]) -> str:
        name = match[1]
        if name not in FIELDS:
            raise UsageError(
                f"{what} {template!r} has an unknown field {{{name}}}",
                code="template-field-unknown",
                hint=closest(name, list(FIELDS)),
            )
        found = branch if branch and name == "branch" else FIELDS[name](ci, facts)
        if not found:
            raise UsageError(
                f"{what} {template!r} needs {{{name}}}, which this build does not have",
                code="template-field-empty",
                hint=_REMOTE if ci.is_remote and name != "build" else _absent(name),
            )
        return found

    if set(FIELD.sub("", template)) & set("{}"):
        raise UsageError(
            f"{what} {template!r} has a brace that is no field", code="template-malformed", hint="write {branch}"
        )
    return FIELD.sub(value, template)


def expand_tag(template: str, ci: CIContext, facts: Facts) -> Reference:
    """Fill in a template and check the resulting reference.

    Raises:
        UsageError: ``fill`` fails, the reference is invalid or has a digest, or a field makes it a cache's tag.
    """
    reference = _reference(fill(lowered(template), ci, facts), template)
    if reference.digest:
        raise UsageError(
            f"the tag {template!r} holds a digest",
            code="tag-has-digest",
            hint="a digest is the build's result: leave it out",
        )
    if reference.tag.startswith(REF_PREFIX) and not _literal_start(template).startswith(REF_PREFIX):
        # A branch called buildcache-main would overwrite the cache of main, and be read in its place.
        raise UsageError(
            f"the tag {template!r} makes {reference.tag!r} here: tags that begin with {REF_PREFIX} are caches",
            code="tag-reserved",
            hint="rename the branch or tag, or write something before the field: REPOSITORY:branch-{branch}",
        )
    return reference


def case_notes(request: BuildRequest) -> tuple[str, ...]:
    """Return notes on repositories that are written in lower case, which registries require; fields keep their case."""
    return tuple(f"{text} is written in lower case: {low}" for text in request.tag if (low := lowered(text)) != text)


def image_tags(request: BuildRequest, ci: CIContext, facts: Facts) -> tuple[Reference, ...]:
    """Return the image's references, each once; the default tag is ``latest``, or none if it is pushed by digest.

    Raises:
        UsageError: ``expand_tag`` fails; or a reference has a tag, and the image is pushed by digest.
    """
    found = (expand_tag(template, ci, facts) for template in request.tag)
    if pushes_by_digest(request):
        return tuple(dict.fromkeys(map(_untagged, found)))
    return tuple(dict.fromkeys(each.tagged for each in found))


def pushed_names(request: BuildRequest, tags: tuple[Reference, ...]) -> tuple[Reference, ...]:
    """Return the image's names in registries: the tags; if there are none, the outputs' names, as in Buildx.

    Raises:
        UsageError: a name is no reference; or a name has a tag, and the image is pushed by digest.
    """
    outputs = pushing_outputs(request)
    flags = flag_values(request.buildx_flags, "--tag", "t") if outputs else ()
    given = (*tags, *map(parse_reference, filter(None, flags)))
    return tuple(
        dict.fromkeys(
            _untagged(name) if output.is_by_digest else name.tagged
            for output in outputs
            for name in given or map(parse_reference, output.names)
        )
    )


def _untagged(name: Reference) -> Reference:
    if name.tag or name.digest:
        raise UsageError(
            f"{name} cannot be pushed by digest: it has a tag",
            code="push-by-digest-with-tag",
            hint=f"leave it out: {name.repository}",
        )
    return name


def check_fork(template: str, ci: CIContext) -> None:
    """Refuse a fork's template whose tag could be that of another branch or commit.

    A fork may give its branch any name, such as ``main``. A build that a fork's build triggers, and that is no pull
    request, has the default branch as its branch.

    Raises:
        UsageError: the template has such a field.
    """
    if not ci.is_fork or (ci.branch and _CIS_OWN.match(ci.branch)):
        return
    borrowed = ("branch",) if ci.pull_request else ("branch", "tag", "sha", "short_sha")
    if name := next((field for field in FIELD.findall(template) if field in borrowed), ""):
        raise UsageError(
            f"the tag {template!r} is not pushed for a fork: its {{{name}}} may be that of another build",
            code="tag-of-another-build",
            hint="use {pr} or {sha} in a pull request, write the tag out, or do not push it"
            if ci.pull_request
            else "write the tag out, or do not push it",
        )


def _reference(text: str, template: str) -> Reference:
    try:
        return parse_reference(text)
    except UsageError as error:
        made = f" of the tag {template!r}" if text != template else ""
        raise UsageError(f"{error.message}{made}", code="reference-malformed", hint=error.hint) from None


def _literal_start(template: str) -> str:
    """Return the part of the tag before the template's first field."""
    return template.partition("{")[0].rpartition(":")[2]


def _absent(name: str) -> str:
    wants = {
        "sha": "build inside a git work tree with a commit, or in a CI",
        "short_sha": "build inside a git work tree with a commit, or in a CI",
        "branch": "a detached checkout or a tag's build has no branch: use {short_sha} or {tag}",
        "tag": "only a tag's build has one: use {short_sha} for the others",
        "pr": "only a pull request's build has one: use {branch} for the others",
        "build": "only a CI numbers its builds: use {short_sha} elsewhere",
    }
    return wants.get(name, "use another field")
