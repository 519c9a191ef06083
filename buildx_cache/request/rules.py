"""Define which options, with which values, a configuration file of the repository may set.

A file that is found in the build context or in the working directory belongs to the repository, and anybody can change
it in a pull request. The file may decide how the image is built and shown. It may not decide where credentials are
sent, which builder is used, which files of the host are read, or what is written outside of the working copy. In a
fork's pull request it may not decide about caches, pushes and exports. A file that the caller names or trusts may set
every option.
"""

from __future__ import annotations

import contextlib
import fnmatch
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from buildx_cache.caches.backend import CacheKind
from buildx_cache.caches.entry import CacheEntry
from buildx_cache.caches.parsing import parse_export, parse_import
from buildx_cache.errors import UsageError
from buildx_cache.redaction import is_secret_argument
from buildx_cache.reference import DOCKER_HUB, HUB_HOSTS, lowered, parse_reference
from buildx_cache.request.build_request import Progress
from buildx_cache.request.local_paths import LAYOUT_SCHEME, SYNTAX, output_pairs
from buildx_cache.request.outputs import is_on
from buildx_cache.working_copy import leaves, project_top

# The limit of files that are looked at in a folder: a hostile configuration may name a huge one.
_MOST_ENTRIES = 20_000


@dataclass(frozen=True, kw_only=True)
class Ground:
    """The place of a found file: the ``root`` of its working copy, and the build ``context`` if that is a folder.

    ``programs`` are the folders in which this call looks for programs, ``settings`` the user's settings, logins and
    keys that exist, ``homes`` the folders below the root where programs look for them; all without links.
    """

    root: Path
    context: Path | None = None
    programs: tuple[Path, ...] = ()
    settings: tuple[Path, ...] = ()
    homes: tuple[Path, ...] = ()


def ground_of(folder: Path, context: Path | None) -> Ground:
    """Return the ground of a file in ``folder``.

    The root is the top of the working copy around the folder, else the folder itself.
    """
    folder = Path(os.path.realpath(folder))
    return Ground(root=project_top(folder) or folder, context=Path(os.path.realpath(context)) if context else None)


# Returns the reason why an item of a value is refused; the empty string allows the item.
Check = Callable[[str, Ground], str]


def allow(_: str, __: Ground) -> str:
    """Allow every value."""
    return ""


def _as_elsewhere(_: object) -> bool:
    return True


@dataclass(frozen=True, kw_only=True)
class Permission:
    """The permission of a found file to set one option, and the reason.

    ``check`` is applied to each item of a value; None: only the caller may set the option. ``in_fork`` returns whether
    a fork's pull request may set the value, too.
    """

    why: str
    check: Check | None = allow
    in_fork: Callable[[object], bool] = _as_elsewhere


# --- paths -------------------------------------------------------------------------------------------------


def _path(text: str, ground: Ground) -> str:
    if text == "-":
        return "it is a stream of the call"
    if text.startswith("~"):
        return "the path is in a home folder"
    return leaves(Path(text), ground.root)


def _written(text: str, ground: Ground) -> str:
    """Check a file or folder that the call writes: any program may look for its settings in a home folder."""
    target = Path(os.path.realpath(text))
    return _home(target, ground) or _path(text, ground)


def _home(place: Path, ground: Ground) -> str:
    if any(place.is_relative_to(home) or home.is_relative_to(place) for home in ground.homes):
        return "it is in a home folder, where programs look for settings and logins, or holds one"
    return ""


def _layout(text: str, ground: Ground) -> str:
    """Check the folder of an OCI layout, in which Buildx follows links, and of the key file beside a cache's folder."""
    if found := _path(text, ground) or _path(f"{text.rstrip('/')}-key", ground):
        return found
    return _finding(text, os.DirEntry.is_symlink, "a symbolic link")


def _exported(text: str, ground: Ground) -> str:
    """Check a folder for an export of an image's files, which replace the files there, even ``.git``."""
    return _path(text, ground) or _finding(text, _is_git, ".git")


def _sent(text: str, ground: Ground) -> str:
    """Check a folder that the builder may read as a whole: ``.git/config`` often has the CI's token.

    A CI may keep the user's logins in the checkout, too.
    """
    if found := _path(text, ground):
        return found
    if ground.context is not None and Path(os.path.abspath(text)).is_relative_to(ground.context):  # noqa: PTH100 -- normalises `..`
        return ""  # it is sent already
    folder = Path(os.path.realpath(text))
    if any(place.is_relative_to(folder) or folder.is_relative_to(place) for place in ground.settings):
        return "the folder holds settings, logins or keys of the user"
    return _home(folder, ground) or _finding(text, _is_git, ".git")


def _is_git(entry: os.DirEntry[str]) -> bool:
    return entry.name.casefold() == ".git"


def _finding(folder: str, wanted: Callable[[os.DirEntry[str]], bool], what: str) -> str:
    """Return the reason if a folder has a ``wanted`` entry or too many entries, else ""; links are not followed."""
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
# Buildx before 0.32 splits at the first `@` and `:`, later versions at the last (``util/ocilayout/parse.go``).
_LAYOUT_PLACE = re.compile(r"(?P<folder>[^:@]+)(?::[\w.-]+)?(?:@[\w:]+)?", re.ASCII)


def _dockerfile(text: str, ground: Ground) -> str:
    if text.startswith(_FETCHED):
        return ""
    return _path(text, ground) or _sent(os.path.dirname(text) or ".", ground)  # noqa: PTH120 -- as Buildx splits it


_OWN_FRONTENDS = (f"{DOCKER_HUB}/docker/dockerfile", f"{DOCKER_HUB}/docker/dockerfile-upstream")


def frontend_name(image: str) -> str:
    """Return the canonical repository of an image; the empty string if the text is no image reference.

    BuildKit looks for a frontend among the named contexts first (``frontend/gateway/gateway.go``).
    """
    try:
        return parse_reference(image.partition("@")[0]).canonical.repository
    except UsageError:
        return ""


# Images that BuildKit and Buildx run themselves. The engine's own builder looks for a frontend in the engine's store
# before it asks a registry, and Buildx uses a builder's image from that store if the image cannot be pulled.
_TOOLS = (*_OWN_FRONTENDS, f"{DOCKER_HUB}/moby/buildkit", f"{DOCKER_HUB}/docker/buildkit-syft-scanner")
_FIELD = re.compile(r"\{[^{}]*\}")
# The optional first parts of a name on Docker Hub.
_BEFORE = tuple((*filter(None, (host,)), *library) for host in HUB_HOSTS for library in ((), ("library",)))
# An engine that loads an image reads its name from these annotations (containerd's ``images/annotations.go``, OCI's).
NAME_ANNOTATIONS = ("io.containerd.image.name", "org.opencontainers.image.ref.name")


def _name(text: str, _: Ground) -> str:
    return "it names the image of a program that builds are run with" if may_name(text, _TOOLS) else ""


def may_name(template: str, repositories: Iterable[str]) -> bool:
    """Return whether a tag's template may result in one of these repositories; a field is any text without a slash.

    The template is compared in lower case, in which tags are written.
    """
    head, slash, last = lowered(template).partition("@")[0].rpartition("/")
    parts = _FIELD.sub("*", f"{head}{slash}{last.partition(':')[0]}").split("/")
    names = (each.removeprefix(f"{DOCKER_HUB}/").removeprefix("library/").split("/") for each in repositories)
    spelled = ((*before, *name) for name in names for before in _BEFORE)
    return any(len(each) == len(parts) and all(map(fnmatch.fnmatchcase, each, parts)) for each in spelled)


def _annotation(text: str, ground: Ground) -> str:
    key, _, value = text.partition("=")
    return _name(value, ground) if key.endswith(NAME_ANNOTATIONS) else ""


def _build_context(text: str, ground: Ground) -> str:
    name, _, place = text.partition("=")
    if frontend_name(name) in _OWN_FRONTENDS:
        return "it replaces the program that reads the Dockerfile"
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
    # Such a value is passed in docker's own environment: DOCKER_HOST, LD_PRELOAD, SSH_AUTH_SOCK would control docker.
    return "it looks like a secret, and would be set in docker's environment" if is_secret_argument(name, value) else ""


def _progress(text: str, _: Ground) -> str:
    return "stdout would hold events, where the caller expects the image" if text == Progress.JSON else ""


def _network(text: str, _: Ground) -> str:
    """Check the network of steps: for ``host`` Buildx itself grants ``network.host`` (``build/opt.go``)."""
    return "" if text in ("", "default", "none") else "it gives steps the host's network"


def _output(text: str, ground: Ground) -> str:
    if not text.isprintable():  # around an attribute Python strips more control characters and spaces than Go
        return "it holds a control character or an unusual space"
    pairs = output_pairs(text)
    keys = [key for key, _ in pairs]
    fields = dict(pairs)
    kind, place = fields.get("type", ""), fields.get("dest", "")
    if len(set(keys)) != len(keys):
        return "it gives an attribute twice"
    if kind not in _OUTPUT_TYPES or not _OUTPUT_ATTRIBUTES.issuperset(keys):
        return "it has a type or an attribute that only the caller sets"
    if found := next(filter(None, (_name(name.strip(), ground) for name in fields.get("name", "").split(","))), ""):
        return found
    return _result(kind, place, ground, is_layout="tar" in fields) if place else ""


def _result(kind: str, place: str, ground: Ground, *, is_layout: bool) -> str:
    """Check the place of an output."""
    if _is_over_programs(place, ground, is_folder=kind == "local"):
        return "it is in a folder of PATH, whose programs run here"
    check = _exported if kind == "local" else _layout if is_layout else _path
    return _written(place, ground) or check(place, ground)


def _is_over_programs(place: str, ground: Ground, *, is_folder: bool) -> bool:
    """Return whether an export can write a program: to a folder of ``PATH``; an archive begins as the image says."""
    target = Path(os.path.realpath(place))
    return any(
        folder.is_relative_to(target) or (folder == target.parent and not is_folder) for folder in ground.programs
    )


_OUTPUT_TYPES = ("local", "tar", "oci", "docker", "image", "registry", "cacheonly")
# Without `context` (chooses the engine) and `registry.insecure` (logins in clear). See BuildKit's README, "Output".
_OUTPUT_ATTRIBUTES = frozenset((
    "type", "dest", "tar", "name", "push", "push-by-digest", "unpack", "store", "name-canonical", "oci-mediatypes",
    "oci-artifact", "dangling-name-prefix", "compression", "compression-level", "force-compression",
    "rewrite-timestamp", "source-date-epoch", "platform-split", "attestation-prefix",
))  # fmt: skip


def may_push(output: str) -> bool:
    """Return whether a ``--output`` of any type may push."""
    fields = dict(output_pairs(output))
    return fields.get("type") == "registry" or is_on(fields.get("push", "false"))


def _cache_entry(parse: Callable[[str], CacheEntry], text: str, ground: Ground) -> str:
    try:
        entry = parse(text)
    except UsageError:
        return ""  # the value's own parser refuses it later
    if entry.backend.borrows_login:
        return "for its type Buildx fills in the caller's credentials"
    if entry.unknown:
        return "it has an attribute that only the caller sets"
    if ("registry.insecure", "true") in entry.attributes:
        return "it would send logins in clear"
    return _layout(entry.folder, ground) if entry.folder else ""


# --- permissions of options ---------------------------------------------------------------------------------


def _cache(check: Check = allow, left: object = None) -> Permission:
    """Return a permission for an option of caches; a fork may set only ``left``, a value that turns something off."""
    why = "it says which caches are read, written and pruned, which a fork's pull request does not decide"
    return Permission(why=why, check=check, in_fork=lambda value: value == left)


def _stays_in_builder(outputs: object) -> bool:
    """Return whether outputs push nothing and write no files: a fork's image may bring a `.git` that runs commands."""
    return isinstance(outputs, tuple) and not any(
        may_push(each) or dict(output_pairs(each)).get("dest") for each in outputs
    )


_SHOWS = "it says how the build is shown"
_OUTSIDE = "a file outside of the working copy is the host's"
BUILT = Permission(why="it says how the image is built, as the repository's Dockerfile does")
NAMED = Permission(why="it names the image", check=_name)
LOADED = Permission(why="it keeps the image in the engine")
ANNOTATED = Permission(why="it describes the image", check=_annotation)
SHOWN = Permission(why=_SHOWS)
PROGRESS = Permission(why=_SHOWS, check=_progress)
PUSHED = Permission(
    why="the image goes to its own registry, with a login stored for that", in_fork=lambda value: value is False
)
PUSHED_AUTO = Permission(why="in a fork's pull request it pushes nothing")
OUTPUT = Permission(why="a result stays in the working copy, or is pushed", check=_output, in_fork=_stays_in_builder)
DOCKERFILE = Permission(why=_OUTSIDE, check=_dockerfile)
BUILD_CONTEXT = Permission(why=_OUTSIDE, check=_build_context)
BUILD_ARG = Permission(why="a build argument is a value, not a variable of the job's", check=_build_arg)
NETWORK = Permission(why="the host's network reaches what only the host may", check=_network)
WRITTEN = Permission(why="it is a file that the call writes", check=_written)
SECRET = Permission(why="it says which secrets of the host the build reads", check=None)
PRIVILEGE = Permission(why="it says which privileges the build has on the host", check=None)
BUILDER = Permission(
    why="it says which builder does the work, and so who gets the build's files and logins", check=None
)
LOGIN = Permission(why="it says which credentials are used, and where they go", check=None)
RESULTS = Permission(why="it says what later steps of the job read, and where", check=None)
BRANCH = Permission(why="it says whose cache every build reads, and which pull requests look like a fork's", check=None)
CACHE = _cache()
CACHE_KIND = _cache(left=CacheKind.NONE)
CACHE_DIR = _cache(_layout)
CACHE_FROM = _cache(partial(_cache_entry, parse_import))
CACHE_TO = _cache(partial(_cache_entry, parse_export))
CACHE_READ_ONLY = _cache(left=True)
PRUNE = _cache(left=False)
