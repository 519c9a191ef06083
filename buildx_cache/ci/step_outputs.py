"""What a CI is handed: values for later steps, a summary, annotations of the Dockerfile, and secrets to mask.

How it takes them is in its row of ``providers``: values from a file that a variable names, or from its log. A dotenv
file serves the others, Buildkite among them: its agent writes ``BUILDKITE_ENV_FILE`` for hooks and never reads it back.

Values count as untrusted twice. Each way's own quoting keeps a value inside its variable. And as people paste values
into scripts (``${{ … }}``, ``$(…)`` in Azure), one that is not a plain word is not handed on at all; a digest, an image
reference and a figure always are. Where there is no value the variable is set to nothing, so that none is left over
from an earlier build of the same job.
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
from buildx_cache.ci.capabilities import DOTENV, Finding, OutputFormat, variable, without_commands
from buildx_cache.ci.providers import Provider, named
from buildx_cache.formatting import as_message, printable, size
from buildx_cache.redaction import redact, secret_parts
from buildx_cache.report import BuildReport
from buildx_cache.working_copy import prepared_root

Values = Mapping[str, tuple[str, ...]]
"""Words by the name of the value, such as ``hit-ratio``."""

_WORD = re.compile(r"[A-Za-z0-9_\[][A-Za-z0-9_.:/@+\[\]-]*")
_SHOWN = 80
_MODE = 0o644


@dataclass(frozen=True, kw_only=True)
class Addition:
    """Text to append to the file at ``path``; ``name`` is what asked for it, for messages.

    ``limit`` is the size in bytes up to which the CI takes anything of the whole file; None if it has none.
    """

    name: str
    path: str
    text: str
    limit: int | None = None


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """What hands the values on: files, lines for the log, and warnings of what is not handed on."""

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
"""Every value that is handed on."""


def handed_on(env: Mapping[str, str]) -> Iterator[str]:
    """Yield the variables that an earlier call has handed on, with or without a prefix."""
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
    """Say what to append where, and what to print, so that later steps get the values of ``report``.

    ``image_id`` is that of a loaded image, ``dotenv`` the path of ``--dotenv``, ``prefix`` the first word of all names,
    so that several images of a job have values of their own; ``summary`` makes the Markdown of the
    report and is called only where the CI has a file for it. Pure, but for the random ends of GitHub's values.
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
        yield Addition(name=name, path=path, text=f"\n{text}", limit=limit)  # a blank line ends what stands there


def _dotenv(path: str, values: Values, limit: int | None) -> Iterator[Addition]:
    if path:
        yield Addition(name="--dotenv", path=path, text=_lines(DOTENV, values), limit=limit)


def write_outputs(given: Outputs, log: TextIO) -> tuple[str, ...]:
    """Append to the files and print the lines; return warnings of what was not handed on. Files never fail the call.

    A file that is absent is made, its folder is not. A symbolic link is not followed, nor is one on the way in a
    working copy: a pull request may hold some that point anywhere. Nor is anything but a regular file of one name
    written to: a pipe could block, and another name may be one elsewhere.
    """
    log.writelines(f"{line}\n" for line in given.lines)
    log.flush()
    failures = [(file, why) for file in given.files if (why := _append(file))]
    return (*given.warnings, *(f"{file.name}: nothing was written to {file.path}: {why}" for file, why in failures))


def _append(file: Addition) -> str:
    """Append at the start of a line; why that did not work, if so."""
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
    """Append the text, or leave the file as it was: half of a value would swallow what others append.

    Raises:
        OSError: it cannot be written.
    """
    try:
        stream.write(text)
        stream.flush()
    except OSError:
        stream.truncate(end)
        raise


def _open(path: str, flags: int) -> int:
    """Open an ordinary file that has this name alone: a second one could be that of a file elsewhere.

    Raises:
        OSError: it cannot be opened, or is something else.
    """
    file = Path(path)
    descriptor = open_regular(file, flags, _MODE, below=prepared_root(file))
    if os.fstat(descriptor).st_nlink == 1:
        return descriptor
    os.close(descriptor)
    raise OSError(errno.EMLINK, "it has another name (a hard link)")


# --- lines of the log ------------------------------------------------------------------------------------------

# What ``buildkit.trace`` makes of a warning: the finding, and at its end ``(Dockerfile:2)`` if it has a place.
_PLACED = re.compile(r"(?P<message>.*) \((?P<file>[^()]+):(?P<line>[1-9][0-9]{0,6})\)")


def annotate(provider: str, warnings: Iterable[str], dockerfile: str) -> tuple[str, ...]:
    """Give the lines that show ``warnings`` in the CI of that name; nothing for one that has no annotations.

    ``dockerfile`` is the path from the repository's root, which BuildKit does not know: it names the base name only.
    A frontend's warnings hold any text: no other command stands in a line, whichever of them a CI takes.
    """
    write = named(provider).annotation
    texts = (without_commands(printable(as_message(redact(text)))) for text in warnings)
    return tuple(write(_find(text, dockerfile)) for text in texts) if write else ()


def _find(text: str, dockerfile: str) -> Finding:
    match = _PLACED.fullmatch(text)
    if match is None:
        return Finding(message=text)
    is_known = PurePath(dockerfile).name == match["file"]
    return Finding(message=match["message"], file=dockerfile if is_known else match["file"], line=match["line"])


def mask(provider: str, values: Iterable[str]) -> tuple[str, ...]:
    """Give the lines that have the CI of that name mask ``values``; none for one that cannot.

    A secret's value is written here and nowhere else, as a command that the CI takes out of the job's log, and masks in
    what later steps print. CIs find a value also where it stands in JSON, in a URL or in base64. Of a value of several
    lines each has its own, as they look for values line by line.
    """
    masking = named(provider).masking
    if masking is None:
        return ()
    parts = (part for part in secret_parts(values) if len(part) >= masking.shortest and part.strip())
    return tuple(masking.write(part) for part in parts)
