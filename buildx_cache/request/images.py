"""Find images and stages in the Dockerfile, without running it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from buildx_cache.request.build_request import BuildRequest
from buildx_cache.request.local_paths import dockerfiles_of, is_path, values_of
from buildx_cache.request.probe import read_inside
from buildx_cache.request.remote_context import is_remote_context

IMAGE_SCHEME = "docker-image://"
_LIMIT = 1 << 20
_LONGEST = 1000  # characters of an image's name, before and after expanding variables
_SYNTAX = re.compile(r"#\s*syntax\s*=\s*(?P<image>\S+)", re.IGNORECASE)
_INSTRUCTION = re.compile(r"\s*(?P<word>FROM|ARG|COPY|ADD|RUN)\s+(?P<rest>.*)", re.IGNORECASE)
_CONTINUED = re.compile(r"\\[ \t]*\r?\n")
_OPTION = re.compile(r"--(?:(?P<key>from)|mount)=(?P<value>\S+)")
_CACHE_MOUNT = re.compile(r"(?:--\S+\s+)*--mount=(?:\S*,)?type=cache(?:[,\s]|$)", re.IGNORECASE)
_LIST = str.maketrans('[],"', "    ")
_NARROWED = ("--from", "--exclude=.git", "--exclude=**/.git")
_STAGE = re.compile(r"[a-z][a-z0-9._-]*")
_NAMED = re.compile(r"\s*FROM\s.*\sAS\s+(?P<stage>[a-z][a-z0-9._-]*)\s*", re.IGNORECASE)
_COMMENTS = re.compile(r"^\s*(?:#.*)?\n", re.MULTILINE)
_JOINED = re.compile(r"[\\`][ \t]*\r?\n[ \t]*")
_VARIABLE = re.compile(r"\$(?:(?P<plain>\w+)|\{(?P<name>\w+)(?::?-(?P<default>[^{}]*))?\})")


def named_images(request: BuildRequest) -> tuple[str, ...]:
    """Return the images that the Dockerfile and the named contexts name; names of stages may be among them.

    A Dockerfile that is not a regular file on this host adds nothing.
    """
    contexts = (text.partition("=")[2] for text in values_of(request, "build_context"))
    named = (text.removeprefix(IMAGE_SCHEME) for text in contexts if text.startswith(IMAGE_SCHEME))
    pairs = (text.partition("=") for text in values_of(request, "build_arg"))
    given = {name: value for name, equals, value in pairs if equals}
    return tuple(dict.fromkeys((*named, *_images(_text(request), given))))


def copies_context(request: BuildRequest) -> bool:
    """Return whether the Dockerfile copies the whole build context in one step, such as ``COPY . .``."""
    return any(
        match["word"].upper() in ("COPY", "ADD") and _is_whole(match["rest"]) for match in _instructions(_text(request))
    )


def has_cache_mounts(request: BuildRequest) -> bool:
    """Return whether a step of the Dockerfile has a cache mount: ``RUN --mount=type=cache``."""
    runs = (match["rest"] for match in _instructions(_text(request)) if match["word"].upper() == "RUN")
    return any(_CACHE_MOUNT.match(rest) for rest in runs)


def _instructions(text: str) -> Iterator[re.Match[str]]:
    lines = _CONTINUED.sub(" ", _COMMENTS.sub("", text)).splitlines()
    return filter(None, map(_INSTRUCTION.match, lines))


def _is_whole(rest: str) -> bool:
    """Return whether one source of a COPY is the build context itself."""
    words = rest.translate(_LIST).split()
    options = [word for word in words if word.startswith("--")]
    sources = words[len(options) : -1]
    return bool({".", "./", "/"} & {*sources}) and not any(each.startswith(_NARROWED) for each in options)


def stages_but(request: BuildRequest, target: str) -> tuple[str, ...] | None:
    """Return the names of the Dockerfile's stages if none can be ``target``; None if one may be.

    A stage's name is a word of the Dockerfile, in any case (``frontend/dockerfile/instructions/parse.go``). A word may
    also be in a heredoc or a comment; but if ``target`` is no word of the file, it is no stage.
    """
    text = _text(request)
    whole = _JOINED.sub("", _COMMENTS.sub("", text))
    words = {*_STAGE.findall(text.lower()), *_STAGE.findall(whole.lower())}
    if not text or not _STAGE.fullmatch(target.lower()) or target.lower() in words:
        return None
    return tuple(dict.fromkeys(name.lower() for name in _stages(text)))


def stage_names(request: BuildRequest) -> tuple[str, ...]:
    """Return the names of the Dockerfile's stages as they are written; () if the file cannot be read here."""
    return tuple(dict.fromkeys(_stages(_text(request))))


def _stages(text: str) -> Iterator[str]:
    found = map(_NAMED.fullmatch, _CONTINUED.sub(" ", _COMMENTS.sub("", text)).splitlines())
    return (match["stage"] for match in found if match)


def _text(request: BuildRequest) -> str:
    """Read the last given Dockerfile, which is the one that Buildx uses; "" if it cannot be read here."""
    path = dockerfiles_of(request)[-1]
    if is_remote_context(request.context) or not is_path(path):
        return ""
    try:
        return read_inside(Path(path).parent, Path(path), _LIMIT).decode("utf-8", "replace")
    except (OSError, ValueError):
        return ""


def _images(text: str, given: Mapping[str, str]) -> Iterator[str]:
    if syntax := _SYNTAX.match(text):
        yield syntax["image"]
    values, is_global = dict(given), True
    for line in _CONTINUED.sub(" ", text).splitlines():
        match = _INSTRUCTION.match(line)
        word, rest = (match["word"].upper(), match["rest"]) if match else ("", "")
        if word == "FROM":
            is_global = False
            yield next((_expanded(each, values) for each in rest.split() if not each.startswith("--")), "")
        elif word != "ARG":
            yield from _copied(rest)
        elif is_global:
            for name, equals, value in (each.partition("=") for each in rest.split()):
                if equals and name not in given:
                    values[name] = _expanded(value, values)


def _copied(rest: str) -> Iterator[str]:
    """Yield the images in ``--from`` and ``--mount``."""
    for option in _OPTION.finditer(rest):
        fields = dict(each.partition("=")[::2] for each in option["value"].split(","))
        yield option["value"] if option["key"] else fields.get("from", "")


def _expanded(text: str, values: Mapping[str, str]) -> str:
    """Expand variables like a shell, without its rare forms; return "" if the text or the result is too long."""
    text = text.strip("\"'")
    found = _VARIABLE.sub(lambda match: _value(match, values), text) if len(text) <= _LONGEST else ""
    return found if len(found) <= _LONGEST else ""


def _value(match: re.Match[str], values: Mapping[str, str]) -> str:
    return values.get(match["plain"] or match["name"]) or match["default"] or ""
