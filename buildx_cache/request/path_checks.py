"""Refuse paths that cannot be used, or that lead elsewhere than named, before anything has an effect."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable
from pathlib import Path

from buildx_cache.atomic import read_regular
from buildx_cache.caches.backend import closest
from buildx_cache.errors import UsageError
from buildx_cache.layout.model import FindingKind
from buildx_cache.layout.parse import MalformedError
from buildx_cache.layout.store import INGEST, open_store
from buildx_cache.request.build_request import BuildRequest, option_key, parse_endpoint
from buildx_cache.request.images import stages_but
from buildx_cache.request.local_paths import (
    RESULT_FILES,
    SYNTAX,
    dockerfiles_of,
    is_path,
    layout_folders,
    output_pairs,
    outputs_of,
    read_paths,
    secret_sources,
    used_paths,
    values_of,
    written_layouts,
)
from buildx_cache.request.probe import (
    check_readable,
    check_written,
    is_ordinary,
    is_unending,
    look,
    refuse_foreign_links,
    working_directory,
)
from buildx_cache.request.remote_context import is_remote_context, is_url
from buildx_cache.working_copy import led_outside

IGNORE = ".dockerignore"
_LAYOUT = ("index.json", "index.json.lock", "oci-layout", "blobs", "blobs/sha256", "ingest")
_OWN_FRONTEND = re.compile(rb"(?:docker\.io/)?docker/dockerfile(?:-upstream)?(?:[:@][\w.:@-]+)?")
# BuildKit's ``frontend/dockerfile/parser/directives.go``: `#` or `//` at the head of the file; or the file is JSON.
_COMMENTS = re.compile(rb"(?:\xef\xbb\xbf)?(?:[ \t\r\f\v]*(?:(?:#|//)[^\n]*)?(?:\n|\Z))*")
_DIRECTIVE = re.compile(rb"(?:#|//)\s*syntax\s*=\s*(\S*)", re.IGNORECASE)
_HEAD = 1 << 20
_REGO_MODULE = re.compile(rb"\bdata\b")
_PLAIN_LOAD = re.compile(rb'\bload_json\s*\(\s*"[\w./-]+"\s*\)')
_MOST_SHOWN = 20


def check_paths(request: BuildRequest) -> None:
    """Refuse a context, Dockerfile or configuration that cannot be read, and a report that cannot be written.

    Raises:
        UsageError: with the path and the reason.
        ExhaustedError: this user may not write to a report's folder.
    """
    _check_reports(request)
    _refuse_links_outside(request)
    _check_policy(request)
    _check_secrets(request)
    _check_layouts(request)
    _check_frontend(request)
    _check_target(request)
    if is_remote_context(request.context):
        check_shadow(request.context)
        return
    context = Path(request.context)
    found = look(context)
    if not found.is_folder:
        absent = f"cannot be read: {found.hidden}" if found.hidden else "does not exist"
        what = "is a file" if found.is_file else absent
        raise UsageError(
            f"the build context {request.context!r} {what}",
            code="context-unreadable",
            hint="give the folder that COPY reads from",
        )
    if not os.access(context, os.R_OK | os.X_OK):
        raise UsageError(
            f"the build context {request.context!r} cannot be read",
            code="context-unreadable",
            hint="check its permissions",
        )
    for file in _dockerfiles(request):
        dockerfile = Path(file)
        check_readable(dockerfile, "the Dockerfile", "give it with -f/--file")
        _check_waits(dockerfile, dockerfile.with_name(f"{dockerfile.name}{IGNORE}"))
    named = (Path(text.partition("=")[2]) for text in values_of(request, "build_context"))
    _check_waits(context / IGNORE, *(folder / IGNORE for folder in named if look(folder).is_folder))
    if request.buildkitd_config:
        check_readable(Path(request.buildkitd_config), "--buildkitd-config", "give the path of a buildkitd.toml")
    for endpoint in map(parse_endpoint, request.endpoint):
        for key, path in endpoint.files:
            check_readable(Path(path), f"the {key} of --endpoint {endpoint.address}", "give a PEM file")


def unmoved(request: BuildRequest) -> Callable[[], None]:
    """Return a check for further builds of the call: it raises if a path that Buildx uses leads elsewhere than now.

    An image that the call exports can replace the build context, a secret or a policy by a link.
    """
    before = _led(request)

    def check() -> None:
        check_paths(request)
        names = (name for (name, place), (_, now) in zip(before, _led(request), strict=True) if place != now)
        if moved := next(names, ""):
            raise UsageError(
                f"{_called(moved)} leads elsewhere than at the start of this call: building stops",
                code="context-moved",
                hint="export the image to another folder",
            )

    return check


def _led(request: BuildRequest) -> tuple[tuple[str, str], ...]:
    found = (each for each in (*read_paths(request), *used_paths(request)) if is_path(each.path))
    return tuple((each.name, os.path.realpath(each.path)) for each in found)


def _called(name: str) -> str:
    return "the build context" if name == "context" else f"--{option_key(name)}"


def _refuse_links_outside(request: BuildRequest) -> None:
    """Refuse a path with a committed link out of the working copy: the repository would choose the target."""
    for each in (*read_paths(request), *used_paths(request)):
        is_local = is_path(each.path) and not is_remote_context(each.path)
        if is_local and (link := led_outside(Path(each.path))):
            raise UsageError(
                f"{_called(each.name)} {each.path} leaves the working copy by its symbolic link {link}",
                code="path-behind-a-link",
                hint="give the path that is meant, if you trust the link",
            )
        if is_local and each.name == "output":
            refuse_foreign_links(each.path, "--output")


def check_shadow(context: str) -> None:
    """Refuse an address that is also a folder here: Buildx would build the folder (``build/opt.go``).

    Raises:
        UsageError: there is such a folder.
    """
    if context != "-" and look(context).is_folder:
        raise UsageError(
            f"the build context {context!r} is an address, but Buildx would build the folder of that name",
            code="context-ambiguous",
            hint="write ./ in front of it to build the folder; remove the folder to build what is at the address",
        )


def _dockerfiles(request: BuildRequest) -> tuple[str, ...]:
    """Return the Dockerfiles that are files on this host, neither an address nor stdin."""
    return tuple(text for text in dockerfiles_of(request) if text != "-" and not is_url(text))


def _check_frontend(request: BuildRequest) -> None:
    """Refuse a frontend of the repository's choice if the frontend could choose file paths or the image's name.

    A frontend chooses the names of platforms, and BuildKit writes those of ``a/b`` and ``a_b`` to the same folder,
    where one image can place links for the other (``exporter/local/export.go``). A frontend also names an image without
    a name, so that the engine may take the image for another one. Docker's own frontend does neither.
    """
    if not _has_frontends_say(request):
        return
    if any(text.startswith(f"{SYNTAX}=") for text in values_of(request, "build_arg")):
        return  # only the caller can set this argument
    files = _dockerfiles(request)
    is_own = bool(files) and not is_remote_context(request.context) and all(map(_has_own_frontend, files))
    if not is_own:
        raise UsageError(
            "the Dockerfile may choose a frontend, which would choose the files' folder or the image's name",
            code="frontend-unknown",
            hint=f"give --build-arg {SYNTAX}=docker/dockerfile:1; or export files with type=tar, and "
            "name images with --tag",
        )


def _check_target(request: BuildRequest) -> None:
    """Refuse a target that is certainly no stage; only Docker's own frontend is checked, others name stages freely."""
    target = values_of(request, "target")[-1]
    has_syntax = any(text.startswith(SYNTAX) for text in values_of(request, "build_arg"))
    if not target or has_syntax or not all(map(_has_own_frontend, _dockerfiles(request))):
        return
    stages = stages_but(request, target)
    if stages is not None:
        unnamed = "no stage has a name: write FROM … AS NAME, or drop --target"
        hint = closest(target, stages[:_MOST_SHOWN]) if stages else unnamed
        raise UsageError(f"--target {target!r} names no stage of the Dockerfile", code="stage-absent", hint=hint)


def _has_frontends_say(request: BuildRequest) -> bool:
    outputs = [dict(output_pairs(output)) for output in outputs_of(request)]
    if request.load or any(flag.startswith("--load") for flag in request.buildx_flags):
        outputs.append({"type": "docker"})
    tag = next(iter(values_of(request, "tag")), "")
    unnamed = (fields for fields in outputs if fields.get("type") == "docker" and not fields.get("name", tag))
    starred = (fields for fields in outputs if fields.get("name") == "*")  # BuildKit asks the frontend for a name
    return any(fields.get("type") == "local" for fields in outputs) or any(unnamed) or any(starred)


def _has_own_frontend(dockerfile: str) -> bool:
    """Return whether a Dockerfile names Docker's own frontend, or none, so that BuildKit uses its own."""
    try:
        with open(dockerfile, "rb", opener=lambda path, flags: os.open(path, flags | os.O_NONBLOCK)) as file:
            text = file.read(_HEAD)
    except OSError:
        return True  # another check reports the file
    comments = _COMMENTS.match(text)
    head, rest = (text[: comments.end()], text[comments.end() :]) if comments else (b"", text)
    is_cut = not rest and len(text) == _HEAD
    return (
        not is_cut
        and not rest.lstrip().startswith(b"{")
        and all(map(_OWN_FRONTEND.fullmatch, _DIRECTIVE.findall(head)))
    )


def _check_policy(request: BuildRequest) -> None:
    """Refuse a policy unless it is a regular file that reads nothing of the host.

    Buildx follows links (``build/opt.go``) and prints what it reads. A policy may read JSON files below the working
    directory, too (``cwd://`` in ``build/policy_loader.go``), print them, and send them away as an image's digest.
    """
    for policy in (f"{dockerfile}.rego" for dockerfile in _dockerfiles(request)):
        if not is_ordinary(Path(policy)):
            raise UsageError(
                f"the policy of the build is not an ordinary file: {policy}",
                code="policy-not-a-file",
                hint="make it an ordinary file",
            )
        if not _is_below_context(request) and _may_read_elsewhere(Path(policy)):
            raise UsageError(
                f"the policy {policy} may read files of the working directory, which is not in the build context",
                code="policy-reads-elsewhere",
                hint='change to the folder of the build context, or name files plainly: load_json("FILE")',
            )


def _is_below_context(request: BuildRequest) -> bool:
    """Return whether the working directory is in the build context, whose files the build has anyway."""
    if is_remote_context(request.context):
        return False
    return Path(os.path.realpath(working_directory())).is_relative_to(os.path.realpath(request.context))


def _may_read_elsewhere(policy: Path) -> bool:
    """Return whether a policy calls ``load_json`` with anything but a plain path, or calls other modules.

    Comments count, too: what is one depends on the strings before it.
    """
    try:
        text = read_regular(policy, _HEAD)
    except OSError as error:
        return error.errno == errno.EFBIG
    return text.count(b"load_json") != len(_PLAIN_LOAD.findall(text)) or _REGO_MODULE.search(text) is not None


def _check_secrets(request: BuildRequest) -> None:
    """Refuse a folder as a secret; BuildKit would fail only when a step reads the secret."""
    sources = (secret_sources(text) for text in values_of(request, "secret"))
    for path in (path for names, path in sources if path and not names):
        if look(path).is_folder:
            raise UsageError(
                f"--secret: {path} is a folder",
                code="secret-file-absent",
                hint="give the file in src=, one secret each",
            )


def _check_layouts(request: BuildRequest) -> None:
    """Refuse a layout with links: Buildx follows them, and prints an ``index.json`` that it cannot parse.

    The folders of caches are verified elsewhere, before they are used.
    """
    read = (folder for text in values_of(request, "build_context") for folder in layout_folders(text))
    for folder in filter(None, (*read, *written_layouts(request))):
        if strange := strange_entry(Path(folder)):
            raise UsageError(
                f"the layout {folder} holds a link, a pipe or a device: {strange}",
                code="layout-has-links",
                hint="give another folder",
            )


def strange_entry(layout: Path) -> str:
    """Return a link, pipe or device in a layout that Buildx would open; exports also open partial writes."""
    if strange := next((name for name in _LAYOUT if not is_ordinary(layout / name)), ""):
        return strange
    try:
        with open_store(layout) as store:
            found = (finding.blob for finding in store.foreign if finding.kind is FindingKind.NOT_A_FILE)
            return next((name for name in found if name.startswith(INGEST) or not is_ordinary(layout / name)), "")
    except MalformedError as error:
        return str(layout) if error.kind is FindingKind.UNREADABLE else ""


def _check_waits(*files: Path) -> None:
    """Refuse pipes and devices in place of files that BuildKit reads: reading could block."""
    for file in files:
        if is_unending(file.parent, file):
            raise UsageError(
                f"{file} is a pipe or a device",
                code="path-not-a-file",
                hint="make it an ordinary file; -f - reads stdin",
            )


def _check_reports(request: BuildRequest) -> None:
    given = ((f"--{option_key(name)}", getattr(request, name)) for name in RESULT_FILES)
    check_written([(option, path) for option, path in given if path])
    for option, path in (("--metadata-file", request.metadata_file), ("--iidfile", request.iidfile)):
        if path and look(Path(path).parent).is_absent:
            raise UsageError(
                f"the folder of {option} {path} does not exist",
                code="path-absent",
                hint="create it first: Buildx does not",
            )
