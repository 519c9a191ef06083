"""Which options a configuration file of the repository may set, and to which values.

A file that is found beside the build context or in the working directory belongs to the repository, and anybody who
opens a pull request can change it. It says how the image is built and shown. It does not say where credentials go,
which builder is used, what of the host is read, or what is written outside of the working copy; in a fork's pull
request it says nothing of caches and pushes. A file that the caller names or trusts may set everything.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from buildx_cache.caches import CacheEntry, CacheKind, parse_export, parse_import
from buildx_cache.errors import UsageError
from buildx_cache.redaction import is_secret_argument
from buildx_cache.request.build_request import BuildRequest, Progress
from buildx_cache.request.local_paths import (
    LAYOUT_SCHEME,
    RESULT_FILES,
    SYNTAX,
    LocalPath,
    output_pairs,
    outputs_of,
    used_paths,
)
from buildx_cache.request.sources import Layer, converted, deciding
from buildx_cache.working_copy import leaves, places, project_top

# What a hostile file can have looked at: items of a list, and files of each folder.
_MOST_ITEMS = 100
_MOST_ENTRIES = 20_000


@dataclass(frozen=True, kw_only=True)
class Ground:
    """Where a file was found: the ``root`` of its working copy, and the build ``context`` if that is a folder."""

    root: Path
    context: Path | None = None


def ground_of(folder: Path, context: Path | None) -> Ground:
    """Return the ground of a file in ``folder``.

    The root is the top of the working copy around the folder, else the folder itself.
    """
    folder = Path(os.path.realpath(folder))
    return Ground(root=project_top(folder) or folder, context=Path(os.path.realpath(context)) if context else None)


# Say why one item of a value is refused; the empty string allows it.
Check = Callable[[str, Ground], str]
InFork = Callable[[object], bool]


@dataclass(frozen=True, kw_only=True)
class Permission:
    """What a found file may do with one option, and why.

    ``check`` judges each item of a value; where there is no check, the option is the caller's alone. ``in_fork`` tells
    whether a fork's pull request may set the value, too.
    """

    why: str
    check: Check | None
    in_fork: InFork


def _any(_: str, __: Ground) -> str:
    return ""


def _as_elsewhere(_: object) -> bool:
    return True


# --- paths -------------------------------------------------------------------------------------------------


def _path(text: str, ground: Ground) -> str:
    if text == "-":
        return "it is a stream of the call"
    if text.startswith("~"):
        return "the path is in a home folder"
    return leaves(Path(text), ground.root)


def _layout(text: str, ground: Ground) -> str:
    """Judge a folder of an OCI layout: Buildx follows links in it. A cache has a key file beside its folder."""
    if found := _path(text, ground) or _path(f"{text.rstrip('/')}-key", ground):
        return found
    return _finding(text, os.DirEntry.is_symlink, "a symbolic link")


def _exported(text: str, ground: Ground) -> str:
    """Judge a folder that an image's files are written into: those that are there are replaced, ``.git`` included."""
    return _path(text, ground) or _finding(text, _is_git, ".git")


def _sent(text: str, ground: Ground) -> str:
    """Judge a folder that the builder may read as a whole: ``.git/config`` often has the CI's token."""
    if found := _path(text, ground):
        return found
    is_sent_already = ground.context is not None and Path(os.path.abspath(text)).is_relative_to(ground.context)  # noqa: PTH100 -- normalises `..`
    return "" if is_sent_already else _finding(text, _is_git, ".git")


def _is_git(entry: os.DirEntry[str]) -> bool:
    return entry.name.casefold() == ".git"


def _finding(folder: str, wanted: Callable[[os.DirEntry[str]], bool], what: str) -> str:
    """Say that a folder holds something ``wanted``, or too much to tell; links are not followed."""
    for number, entry in enumerate(_entries(folder)):
        if wanted(entry):
            return f"the folder holds {what}"
        if number == _MOST_ENTRIES:
            return f"the folder holds more than {_MOST_ENTRIES} files"
    return ""


def _entries(folder: str) -> Iterator[os.DirEntry[str]]:
    waiting = [folder]
    while waiting:
        with contextlib.suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                yield entry
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)


_FETCHED = ("http://", "https://")
# Before 0.32, Buildx cut at the first `@` and `:`, and since then at the last (``util/ocilayout/parse.go``).
_LAYOUT_PLACE = re.compile(r"(?P<folder>[^:@]+)(?::[\w.-]+)?(?:@[\w:]+)?", re.ASCII)


def _dockerfile(text: str, ground: Ground) -> str:
    if text.startswith(_FETCHED):
        return ""
    return _path(text, ground) or _sent(os.path.dirname(text) or ".", ground)  # noqa: PTH120 -- as Buildx splits it


def _build_context(text: str, ground: Ground) -> str:
    place = text.partition("=")[2]
    if place.startswith((*_FETCHED, "docker-image://")):
        return ""
    if place.startswith(LAYOUT_SCHEME):
        layout = _LAYOUT_PLACE.fullmatch(place.removeprefix(LAYOUT_SCHEME))
        return _layout(layout["folder"], ground) if layout else "its folder is not clear to every version of Buildx"
    return _sent(place, ground)


# --- other values ------------------------------------------------------------------------------------------


def _build_arg(text: str, _: Ground) -> str:
    name, given, value = text.partition("=")
    if not given:
        return "without a value it takes a variable of the job's environment into the build"
    if name == SYNTAX:
        return "it chooses the program that reads the Dockerfile"
    # Such a value goes by the environment of docker itself: DOCKER_HOST, LD_PRELOAD, SSH_AUTH_SOCK would steer that.
    return "it looks like a secret, and would be set in docker's environment" if is_secret_argument(name, value) else ""


def _progress(text: str, _: Ground) -> str:
    return "stdout would hold events, where the caller expects the image" if text == Progress.JSON else ""


def _network(text: str, _: Ground) -> str:
    """Buildx grants ``network.host`` by itself for ``host`` (``build/opt.go``)."""
    return "" if text in ("", "default", "none") else "it gives steps the host's network"


def _output(text: str, ground: Ground) -> str:
    if not text.isprintable():  # Python drops more of these around an attribute, or a line, than Go does
        return "it holds a control character or an unusual space"
    pairs = output_pairs(text)
    keys = [key for key, _ in pairs]
    fields = dict(pairs)
    kind, place = fields.get("type", ""), fields.get("dest", "")
    if len(set(keys)) != len(keys):
        return "it gives an attribute twice"
    if kind not in _OUTPUT_TYPES or not _OUTPUT_ATTRIBUTES.issuperset(keys):
        return "it has a type or an attribute that only the caller sets"
    if not place:
        return ""
    return (_exported if kind == "local" else _layout if "tar" in fields else _path)(place, ground)


_OUTPUT_TYPES = ("local", "tar", "oci", "docker", "image", "registry", "cacheonly")
# Not `context` (which engine is loaded) and `registry.insecure` (logins in clear). BuildKit's README, "Output".
_OUTPUT_ATTRIBUTES = frozenset((
    "type", "dest", "tar", "name", "push", "push-by-digest", "unpack", "store", "name-canonical", "oci-mediatypes",
    "oci-artifact", "dangling-name-prefix", "compression", "compression-level", "force-compression",
    "rewrite-timestamp", "source-date-epoch", "platform-split", "attestation-prefix",
))  # fmt: skip


def _names_image(output: str) -> bool:
    """Tell whether a ``--output`` names an image: the caller's ``--push`` would push it under that name."""
    return "name" in dict(output_pairs(output))


def is_pushed(output: str) -> bool:
    """Tell whether a ``--output`` pushes: ``push`` is on unless it is off by a word of Go's ``strconv.ParseBool``."""
    fields = dict(output_pairs(output))
    return fields.get("type") == "registry" or fields.get("push", "f").lower() not in ("0", "f", "false")


def _cache_entry(parse: Callable[[str], CacheEntry], text: str, ground: Ground) -> str:
    try:
        entry = parse(text)
    except UsageError:
        return ""  # whoever uses the value refuses it
    if entry.backend.borrows_login:
        return "for its type Buildx fills in the caller's credentials"
    if entry.unknown:
        return "it has an attribute that only the caller sets"
    if ("registry.insecure", "true") in entry.attributes:
        return "it would send logins in clear"
    return _layout(entry.folder, ground) if entry.folder else ""


# --- the table ---------------------------------------------------------------------------------------------


def _rows(names: str, why: str, check: Check | None = _any, in_fork: InFork = _as_elsewhere) -> dict[str, Permission]:
    return dict.fromkeys(names.split(), Permission(why=why, check=check, in_fork=in_fork))


def _caches(names: str, check: Check = _any, left: object = None) -> dict[str, Permission]:
    """Rows of options that a fork may set to nothing but what is ``left``: a value that takes something away."""
    why = "it says which caches are read, written and pruned, which a fork's pull request does not decide"
    return _rows(names, why, check, lambda value: value == left)


def _pushes_nothing(outputs: object) -> bool:
    return isinstance(outputs, tuple) and not any(map(is_pushed, outputs))


_BUILT = "it says how the image is built, as the repository's Dockerfile does"
_SHOWN = "it says how the build is shown"
_NAMED = "it names the image, or keeps it in the engine"
_PUSHED = "the image goes to its own registry, with a login stored for that"
_RESULT = "a result stays in the working copy, or is pushed"
_WRITTEN = "it is a file that the call writes"
_READ = "it says which secrets of the host the build reads"
_OUTSIDE = "a file outside of the working copy is the host's"
_VALUE = "a build argument is a value, not a variable of the job's"
_NETWORK = "the host's network reaches what only the host may"
_PRIVILEGE = "it says which privileges the build has on the host"
_BUILDER = "it says which builder does the work, and so who gets the build's files and logins"
_LOGIN = "it says which credentials are used, and where they go"
PERMISSIONS: Mapping[str, Permission] = {
    **_rows("target platform label annotation pull no_cache no_cache_filter add_host", _BUILT),
    **_rows("attest provenance sbom shm_size ulimit", _BUILT),
    **_rows("tag load", _NAMED),
    **_rows("timeout verbose quiet no_color", _SHOWN),
    **_rows("progress", _SHOWN, _progress),
    **_rows("push", _PUSHED, in_fork=lambda value: value is False),
    **_rows("output", _RESULT, _output, _pushes_nothing),
    **_rows("file", _OUTSIDE, _dockerfile),
    **_rows("build_context", _OUTSIDE, _build_context),
    **_rows("build_arg", _VALUE, _build_arg),
    **_rows("network", _NETWORK, _network),
    **_rows(" ".join(RESULT_FILES), _WRITTEN, _path),
    **_rows("secret ssh", _READ, None),
    **_rows("allow cgroup_parent", _PRIVILEGE, None),
    **_rows("builder driver endpoint driver_opt buildkit_image buildkitd_config", _BUILDER, None),
    **_rows("buildkitd_flags docker_context rm_builder", _BUILDER, None),
    **_rows("registry username password_env", _LOGIN, None),
    **_caches("cache", left=CacheKind.NONE),
    **_caches("cache_read_only", left=True),
    **_caches("prune", left=False),
    **_caches("cache_dir", _layout),
    **_caches("cache_from", partial(_cache_entry, parse_import)),
    **_caches("cache_to", partial(_cache_entry, parse_export)),
    **_caches("cache_ref cache_scope cache_mode cache_compression cache_max_size lazy strict_cache"),
    **_caches("prune_keep prune_older_than"),
}


# --- judging a file ----------------------------------------------------------------------------------------

_HINT = "name the file with --config FILE or BUILDX_CACHE_CONFIG, or trust it with --trust-config"
_FORK = "this is a pull request from a fork"
_FORK_HINT = f"set it in the job's command or environment, which a fork cannot change; or {_HINT}"


def check_found(layer: Layer, ground: Ground, *, is_fork: bool) -> None:
    """Refuse what a found file may not set, whether or not a higher layer sets it, too.

    Raises:
        UsageError: with the file, the key and the reason, without the value.
    """
    for name, value in converted((layer,)).items():
        permission = PERMISSIONS[name]
        if reason := _objection(permission, value, ground):
            raise _refused(layer, name, reason, _HINT)
        if is_fork and not permission.in_fork(value):
            raise _refused(layer, name, _FORK, _FORK_HINT)


def _objection(permission: Permission, value: object, ground: Ground) -> str:
    check = permission.check
    if check is None:
        return permission.why
    items = value if isinstance(value, tuple) else (str(value),)
    if check is not _any and len(items) > _MOST_ITEMS:
        return f"the list has more than {_MOST_ITEMS} items"
    return next(filter(None, (check(item, ground) for item in items if item)), "")


def check_use(request: BuildRequest, layers: Sequence[Layer], layer: Layer, *, is_fork: bool) -> None:
    """Refuse what the merged request would make of the values of a found file, the ``layer``.

    Raises:
        UsageError: with the file, the key and the reason, without the value.
    """
    own = {name for name in layer.values if deciding(name, layers) is layer}
    naming = own & set(_naming(request))
    if is_fork and naming and (_writes_to_registries(request) or _may_be_kept(request)):
        raise _refused(layer, min(naming), f"{_FORK}, which names no image that is kept or pushed", _FORK_HINT)
    named = "tag" if request.tag else "cache_ref"
    says_where = request.registry or (request.ambient and request.ambient.registry)
    if request.username and not says_where and named in own:
        raise _refused(layer, named, "it would say where the login goes", "give --registry HOST with the login")
    exports = tuple(_exported_folders(request))
    for used in used_paths(request):
        meeting = any(_meet(used, export.path) for export in exports if export.text != used.text)
        if meeting and own & {used.name, "output"}:
            blamed = used.name if used.name in own else "output"
            raise _refused(layer, blamed, "an exported image could place a symbolic link there", _HINT)


def _refused(layer: Layer, name: str, reason: str, hint: str) -> UsageError:
    return UsageError(f"{layer.locate(name)}: not allowed in a file of the repository: {reason}", hint=hint)


def _writes_to_registries(request: BuildRequest) -> bool:
    """Whether the image or, which a fork's build does only where the caller says so, its cache is pushed."""
    return pushes_image(request) or request.cache_read_only is False


def _naming(request: BuildRequest) -> Iterator[str]:
    """Yield the options that name the image."""
    yield "tag"
    if any(map(_names_image, request.output)):
        yield "output"
    if any(name in text for text in request.annotation for name in _NAME_ANNOTATIONS):
        yield "annotation"


# An engine that loads an image takes its name from these (containerd's ``images/annotations.go``, OCI's own).
_NAME_ANNOTATIONS = ("io.containerd.image.name", "org.opencontainers.image.ref.name")


def _may_be_kept(request: BuildRequest) -> bool:
    """Tell whether the engine may keep the image, where its name would be taken from the image that had it before.

    The engine's own builder keeps what has a name, asked or not; another branch's build starts from it then.
    """
    kinds = {dict(output_pairs(output)).get("type") for output in outputs_of(request)}
    return request.load or not kinds or not kinds <= {"local", "tar", "oci", "cacheonly"}


def pushes_image(request: BuildRequest) -> bool:
    """Tell whether the image is pushed, or may be by flags of Buildx' own."""
    flags = any("push" in flag or "type=registry" in flag for flag in request.buildx_flags)
    return request.push or flags or any(map(is_pushed, request.output))


def _exported_folders(request: BuildRequest) -> Iterator[LocalPath]:
    return (each for each in used_paths(request) if each.name == "output" and _is_local(each.text))


def _is_local(output: str) -> bool:
    return dict(output_pairs(output)).get("type") == "local"


def _meet(used: LocalPath, export: str) -> bool:
    """Whether an export can put a link on the way to a path, or into a cache's folder."""
    if not used.path:
        return False
    at, folder = Path(os.path.realpath(used.path)), Path(os.path.realpath(export))
    is_below = any(Path(os.path.realpath(place)).is_relative_to(folder) for place in places(Path(used.path)))
    return is_below or (used.name in ("cache_dir", "cache_to") and folder.is_relative_to(at))
