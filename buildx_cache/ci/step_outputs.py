"""Pass values for later steps, a summary, annotations of the Dockerfile, and secrets to mask to a CI.

The CI's row in ``providers`` has the format: a CI reads values from a file that a variable names, or from its log. All
others, such as Buildkite, need a dotenv file: Buildkite's agent writes ``BUILDKITE_ENV_FILE`` for hooks, but never
reads it.

There are two defences against hostile values. The quoting of each format keeps a value inside of its variable. And
since people paste values into scripts (``${{ … }}``, ``$(…)`` in Azure), a value that is no plain word is left out;
digests, image references and figures are plain words. A variable without a value is set to nothing, so that no value of
an earlier build of the same job remains.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import BinaryIO, TextIO

from buildx_cache.atomic import open_regular
from buildx_cache.ci.capabilities import DOTENV, Annotation, OutputFormat, variable, without_commands
from buildx_cache.ci.providers import Provider, named
from buildx_cache.formatting import as_message, printable, size
from buildx_cache.redaction import redact, secret_parts
from buildx_cache.report import BuildReport
from buildx_cache.working_copy import prepared_root

Values = Mapping[str, tuple[str, ...]]
"""The words of each value, by the value's name, such as ``hit-ratio``."""

_WORD = re.compile(r"[A-Za-z0-9_\[][A-Za-z0-9_.:/@+\[\]-]*")
_SHOWN = 80
_MODE = 0o644


@dataclass(frozen=True, kw_only=True)
class Addition:
    """Text to append to the file at ``path``; ``name`` is the option or variable that names the file.

    ``limit`` is the largest size of the whole file in bytes: the CI ignores a larger file. None: no limit.
    """

    name: str
    path: str
    text: str
    limit: int | None = None


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """Values for later steps: texts to append to files, lines for the log, and warnings about values left out."""

    files: tuple[Addition, ...] = ()
    lines: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


NAMES = (
    "digest",
    "platform-digest",
    "platform-digests",
    "image-id",
    "tags",
    "hit-ratio",
    "steps-cached",
    "steps-total",
)
"""The names of all values for later steps."""


def handed_on(env: Mapping[str, str]) -> Iterator[str]:
    """Yield the variables of an earlier call's values, with or without a prefix."""
    known = tuple(variable(name) for name in NAMES)
    prefixed = tuple(f"_{variable(name).removeprefix(variable(''))}" for name in NAMES)
    yield from (name for name in env if name in known or name.endswith(prefixed))


def outputs(
    report: BuildReport,
    env: Mapping[str, str],
    *,
    image_id: str = "",
    dotenv: str = "",
    prefix: str = "",
    summary: Callable[[], str] = str,
) -> Outputs:
    """Return the texts to append to files and the lines to print, so that later steps get the report's values.

    Pure, except for the random ends of GitHub's values.

    Args:
        report: the report of the call.
        env: the environment.
        image_id: the ID of the loaded image; empty if none was loaded.
        dotenv: the path of ``--dotenv``; empty if it is not given.
        prefix: the first word of all names, so that several images of a job have separate values.
        summary: returns the report as Markdown; called only if the CI has a file for a summary.
    """
    ci = named(report.ci.provider)
    told = _values(report, image_id)
    values = {
        f"{prefix}-{name}" if prefix else name: tuple(word for word in words if _WORD.fullmatch(word))
        for name, words in told.items()
    }
    files = (
        *_variables(ci.outputs, values, env),
        *_summary(ci, env, summary),
        *_dotenv(dotenv, values, ci.dotenv_limit),
    )
    lines = tuple(_written(ci.outputs, values)) if ci.outputs and not ci.outputs.file else ()
    return Outputs(files=files, lines=lines, warnings=tuple(_left_out(told)) if files or lines else ())


def _values(report: BuildReport, image_id: str) -> Values:
    images, cache = tuple(report.images.values()), report.cache
    platforms = {platform: digest for image in images for platform, digest in image.platform_digests.items()}
    told = {
        "digest": tuple(image.digest for image in images),
        "platform-digest": tuple(platforms.values()) if len(platforms) == 1 else (),
        "platform-digests": tuple(f"{platform}@{digest}" for platform, digest in platforms.items()),
        "image-id": (image_id,),
        "tags": tuple(tag for image in images if image.pushed or image.loaded for tag in image.tags),
        "hit-ratio": () if cache.hit_ratio is None else (str(round(cache.hit_ratio, 3)),),
        "steps-cached": (str(cache.steps.cached),),
        "steps-total": (str(cache.steps.total),),
    }
    return {name: tuple(filter(None, told[name])) for name in NAMES}


def _left_out(told: Values) -> Iterator[str]:
    for name, words in told.items():
        for word in words:
            if not _WORD.fullmatch(word):
                yield f"{name}: {ascii(word)[:_SHOWN]} is not handed to later steps: it could be taken for a command"


def _written(form: OutputFormat, values: Values) -> Iterator[str]:
    return (form.write(form.spell(name), form.separator.join(words)) for name, words in values.items())


def _lines(form: OutputFormat, values: Values) -> str:
    return "".join(f"{each}\n" for each in _written(form, values))


def _variables(form: OutputFormat | None, values: Values, env: Mapping[str, str]) -> Iterator[Addition]:
    if form and (path := env.get(form.file)):
        yield Addition(name=form.file, path=path, text=_lines(form, values))


def _summary(ci: Provider, env: Mapping[str, str], summary: Callable[[], str]) -> Iterator[Addition]:
    name, limit = ci.summary or ("", None)
    if (path := env.get(name)) and (text := summary()):
        yield Addition(name=name, path=path, text=f"\n{text}", limit=limit)  # a blank line ends an earlier paragraph


def _dotenv(path: str, values: Values, limit: int | None) -> Iterator[Addition]:
    if path:
        yield Addition(name="--dotenv", path=path, text=_lines(DOTENV, values), limit=limit)


def write_outputs(given: Outputs, log: TextIO) -> tuple[str, ...]:
    """Append to the files and print the lines; return warnings about values that were left out or not written.

    A file that cannot be written never fails the call. An absent file is created, an absent folder is not. Symbolic
    links of the file are not followed, nor those of folders in a working copy: a pull request may have links to any
    place. Only regular files with one name are written: a pipe could block, and a hard link may lead to another place.
    """
    log.writelines(f"{line}\n" for line in given.lines)
    log.flush()
    failures = [(file, why) for file in given.files if (why := _append(file))]
    return (*given.warnings, *(f"{file.name}: nothing was written to {file.path}: {why}" for file, why in failures))


def _append(file: Addition) -> str:
    """Append the text on a new line; return the reason of a failure, else ""."""
    text = file.text.encode("utf-8", "backslashreplace")
    try:
        with open(file.path, "a+b", opener=_open) as stream:
            end = stream.seek(0, os.SEEK_END)
            stream.seek(max(end - 1, 0))
            text = (b"" if stream.read(1) in (b"", b"\n") else b"\n") + text
            if file.limit is not None and end + len(text) > file.limit:
                return f"the CI takes none of a file that is larger than {size(file.limit)}"
            _write_whole(stream, text, end)
    except OSError as error:
        return "it is a symbolic link" if error.errno == errno.ELOOP else str(error.strerror)
    except ValueError:
        return "that is no path"
    return ""


def _write_whole(stream: BinaryIO, text: bytes, end: int) -> None:
    """Append the whole text or nothing: after a partial value, the next line would become a part of it.

    Raises:
        OSError: the text cannot be written.
    """
    try:
        stream.write(text)
        stream.flush()
    except OSError:
        stream.truncate(end)
        raise


def _open(path: str, flags: int) -> int:
    """Open a regular file that has no other name (hard link), since that may be in another place.

    Raises:
        OSError: the file cannot be opened, is no regular file, or has another name.
    """
    file = Path(path)
    descriptor = open_regular(file, flags, _MODE, below=prepared_root(file))
    if os.fstat(descriptor).st_nlink == 1:
        return descriptor
    os.close(descriptor)
    raise OSError(errno.EMLINK, "it has another name (a hard link)")


# --- lines of the log ------------------------------------------------------------------------------------------

# A warning in the form of ``buildkit.trace``: the message, then ``(Dockerfile:2)`` if it has a place.
_PLACED = re.compile(r"(?P<message>.*) \((?P<file>[^()]+):(?P<line>[1-9][0-9]{0,6})\)")


def annotate(provider: str, warnings: Iterable[str], dockerfile: str) -> tuple[str, ...]:
    """Return the lines that show ``warnings`` in this CI; none if the CI has no annotations.

    ``dockerfile`` is the path from the repository's root; BuildKit's warnings have only the base name. Commands in the
    text of a warning are defused: a frontend may put any text into a warning.
    """
    write = named(provider).annotation
    texts = (without_commands(printable(as_message(redact(text)))) for text in warnings)
    return tuple(write(_find(text, dockerfile)) for text in texts) if write else ()


def _find(text: str, dockerfile: str) -> Annotation:
    match = _PLACED.fullmatch(text)
    if match is None:
        return Annotation(message=text)
    is_known = PurePath(dockerfile).name == match["file"]
    return Annotation(message=match["message"], file=dockerfile if is_known else match["file"], line=match["line"])


def mask(provider: str, values: Iterable[str]) -> tuple[str, ...]:
    """Return the lines that make this CI mask ``values``; none if the CI cannot mask.

    Only these lines have a secret's value. The CI removes such a command from the job's log, and masks the value in the
    output of later steps, also in JSON, in a URL and in base64. A value of several lines gets one command a line, since
    CIs search line by line.
    """
    masking = named(provider).masking
    if masking is None:
        return ()
    parts = (part for part in secret_parts(values) if len(part) >= masking.shortest and part.strip())
    return tuple(masking.write(part) for part in parts)
