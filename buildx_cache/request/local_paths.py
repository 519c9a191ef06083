"""Find the local paths that a request names, each with its option."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from buildx_cache.caches.backend import from_csv
from buildx_cache.caches.entry import CacheEntry
from buildx_cache.caches.parsing import parse_export, parse_import
from buildx_cache.errors import UsageError
from buildx_cache.request.build_request import BuildRequest, option_key

REPORTS = ("report", "report_html", "report_junit", "report_md")
"""The options that write a report to a file, each in another format."""
RESULT_FILES = (*REPORTS, "dotenv", "metadata_file", "iidfile")
"""The options that write a file."""
LAYOUT_SCHEME = "oci-layout://"
SYNTAX = "BUILDKIT_SYNTAX"
"""The build argument that chooses BuildKit's frontend, overriding the Dockerfile."""
_SCHEME = "://"
_DOCKERFILE = "Dockerfile"
# Without a ``dest``, Buildx writes these to stdout (``controller/pb/export.go``).
_STREAMED = ("tar", "oci")


@dataclass(frozen=True, kw_only=True)
class LocalPath:
    """A path, with the option that names it and the option's value."""

    name: str
    text: str
    path: str


def read_paths(request: BuildRequest) -> Iterator[LocalPath]:
    """Yield the paths of the build context, the builder's configuration, secrets, and SSH keys and sockets."""
    yield LocalPath(name="context", text=request.context, path=request.context)
    yield LocalPath(name="buildkitd_config", text=request.buildkitd_config, path=request.buildkitd_config)
    for text in values_of(request, "secret"):
        yield LocalPath(name="secret", text=text, path=secret_sources(text)[1])
    for text in values_of(request, "ssh"):
        for path in text.partition("=")[2].split(","):
            yield LocalPath(name="ssh", text=text, path=path)


def used_paths(request: BuildRequest) -> Iterator[LocalPath]:
    """Yield the other paths that the call reads or writes; some are empty, or addresses."""
    for name in (*RESULT_FILES, "cache_dir", "file"):
        for text in values_of(request, name):
            yield LocalPath(name=name, text=text, path=text)
    for text in values_of(request, "build_context"):
        for folder in layout_folders(text) or (text.partition("=")[2],):
            yield LocalPath(name="build_context", text=text, path=folder)
    for text in values_of(request, "cache_from"):
        yield LocalPath(name="cache_from", text=text, path=_cache_folder(parse_import, text))
    for text in values_of(request, "cache_to"):
        yield LocalPath(name="cache_to", text=text, path=_cache_folder(parse_export, text))
    for text in outputs_of(request):
        yield LocalPath(name="output", text=text, path=dict(output_pairs(text)).get("dest", ""))


def _cache_folder(parse: Callable[[str], CacheEntry], text: str) -> str:
    """Return the folder of a cache entry; for an entry that only Buildx understands, the probable folder."""
    try:
        return parse(text).folder
    except UsageError:
        fields = dict(output_pairs(text))
        return fields.get("dest") or fields.get("src", "")


def layout_folders(build_context: str) -> tuple[str, ...]:
    """Return the folders that a ``NAME=oci-layout://PATH[:TAG][@DIGEST]`` can mean; none for other named contexts.

    Buildx before 0.32 splits at the first ``@`` and ``:``, later versions at the last (``util/ocilayout/parse.go``).
    """
    place = build_context.partition("=")[2]
    if not place.startswith(LAYOUT_SCHEME):
        return ()
    place = place.removeprefix(LAYOUT_SCHEME)
    return tuple(place[: cut.start()] for cut in re.finditer("[@:]|$", place))


def dockerfile_of(request: BuildRequest) -> str:
    """Return the Dockerfile's path: the given one, else the one in the context."""
    return _found(request.file or _default_dockerfile(request))


def dockerfiles_of(request: BuildRequest) -> tuple[str, ...]:
    """Return all given paths of a Dockerfile, with those among the flags for Buildx; else the one in the context."""
    given = tuple(filter(None, values_of(request, "file"))) or (_default_dockerfile(request),)
    return tuple(map(_found, given))


def _default_dockerfile(request: BuildRequest) -> str:
    return os.path.join(request.context, _DOCKERFILE)  # noqa: PTH118 -- keeps an address as it is


def _found(path: str) -> str:
    """Return the path; with ``dockerfile`` in place of ``Dockerfile`` if only the former exists.

    See ``handleLowercaseDockerfile`` in Buildx' ``build/opt.go``.
    """
    folder, name = os.path.split(path)
    if name != _DOCKERFILE:
        return path
    try:
        names = os.listdir(folder or ".")  # noqa: PTH208 -- names are asked for
    except (OSError, ValueError):
        return path
    return path if name in names or name.lower() not in names else os.path.join(folder, name.lower())  # noqa: PTH118


def is_path(text: str) -> bool:
    """Return False for an empty text, a stream (``-``) or an address."""
    return text not in ("", "-") and _SCHEME not in text


def outputs_of(request: BuildRequest) -> tuple[str, ...]:
    """Return each ``--output``, with those among the flags for Buildx."""
    return values_of(request, "output")


_SHORT = {"output": "o", "file": "f", "tag": "t"}


def values_of(request: BuildRequest, name: str) -> tuple[str, ...]:
    """Return each value of an option, with those among the flags for Buildx."""
    own: str | tuple[str, ...] = getattr(request, name)
    flags = flag_values(request.buildx_flags, f"--{option_key(name)}", _SHORT.get(name, ""))
    return (*((own,) if isinstance(own, str) else own), *flags)


def flag_values(flags: Sequence[str], name: str, short: str = "") -> Iterator[str]:
    """Yield the values of an option among the flags for Buildx.

    ``short`` is the option's letter: Buildx accepts ``-o x``, ``-ox`` and ``-o=x``, also after letters of switches
    (``-qo x``).
    """
    spelled = re.compile(rf"-[Dq]*{short}(?:=?(?P<value>.+))?", re.DOTALL) if short else None
    for flag, following in pairwise((*flags, "")):
        if flag == name:
            yield following
        elif flag.startswith(f"{name}="):
            yield flag.partition("=")[2]
        elif spelled and (match := spelled.fullmatch(flag)):
            yield match["value"] or following


def output_pairs(text: str) -> tuple[tuple[str, str], ...]:
    """Parse an output's attributes like Buildx (``util/buildflags/export.go``); a bare path is a local export."""
    try:
        pairs = from_csv(text, option="--output")
    except UsageError:
        return ()
    if len(pairs) == 1 and not text.startswith("type="):
        return (("type", "tar" if text == "-" else "local"), ("dest", text)) if "=" not in text else ()
    found = tuple((key.lower(), value) for key, value in pairs)
    fields = dict(found)
    is_streamed = fields.get("type") in _STREAMED and not fields.get("dest")
    return (*(pair for pair in found if pair != ("dest", "")), ("dest", "-")) if is_streamed else found


def written_layouts(request: BuildRequest) -> tuple[str, ...]:
    """Return the layout folders that Buildx writes and this program does not verify; some may be empty."""
    caches = (dict(output_pairs(text)) for text in flag_values(request.buildx_flags, "--cache-to"))
    outputs = (dict(output_pairs(text)) for text in outputs_of(request))
    images = (fields for fields in outputs if "tar" in fields)
    return tuple(fields.get("dest", "") for fields in (*images, *caches))


def secret_sources(entry: str) -> tuple[tuple[str, ...], str]:
    """Return the variables and the file that may hold a secret, by Buildx' rules (``util/buildflags/secrets.go``)."""
    try:
        fields = {name.lower(): value for name, value in from_csv(entry, option="--secret")}
    except UsageError:  # Buildx has the better message
        return (), ""
    source = fields.get("source", fields.get("src", ""))
    if name := fields.get("env", ""):
        return (name,), ""
    if fields.get("type") == "env":
        return (source,), ""
    identity = fields.get("id", "")
    return ((), source) if source or fields.get("type") == "file" else ((identity,), identity)
