"""Classify error texts of BuildKit, Buildx, the docker CLI and registries: a text → a ``Problem``.

Such texts quote references, addresses, paths, commands and lines of a Dockerfile, which can hold any word and number.
``without_names`` removes them, and a number counts as an HTTP status only in a known phrase (``unexpected status from
…: 503``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus

from buildx_cache.buildkit import error_texts as texts
from buildx_cache.buildkit.causes import CAUSES, Cause, Kind
from buildx_cache.buildkit.error_texts import Operation
from buildx_cache.errors import BuildFailedError, BuildxCacheError, DeniedError
from buildx_cache.formatting import bounded

_DENIED = frozenset({Kind.UNAUTHORIZED, Kind.DENIED, Kind.STORE_DENIED})


@dataclass(frozen=True, kw_only=True)
class Problem:
    """The cause that an error text states.

    ``words`` is the text, not redacted; a page of HTML in it is reduced to its title. ``subject`` is the repository
    whose address is in the text. ``status`` is the HTTP status in the text, None if there is none.
    """

    kind: Kind
    words: str = ""
    status: int | None = None
    operation: Operation | None = None
    subject: str = ""

    @property
    def cause(self) -> Cause:
        """Return the consequences of the kind."""
        return CAUSES[self.kind]

    @property
    def error(self) -> type[BuildxCacheError]:
        """Return the error class, and so the exit code, of a call that ends with the problem."""
        return self.cause.error or BuildFailedError

    @property
    def advice(self) -> str:
        """Return the advice for the user; empty if there is none."""
        return self.cause.advice

    @property
    def retryable(self) -> bool:
        """Return whether a retry may succeed."""
        return self.cause.is_passing

    @property
    def is_denied(self) -> bool:
        """Return whether a registry answered and refused for lack of a login or a permission."""
        return self.kind in _DENIED

    @property
    def is_refused(self) -> bool:
        """Return whether a registry answered and refused, for any reason."""
        return self.cause.error is DeniedError

    @property
    def digests(self) -> frozenset[str]:
        """Return the digests in the text."""
        return frozenset(_DIGEST.findall(self.words))


# --- HTTP statuses in a text --------------------------------------------------------------------------------

# Python's phrases change between versions; Go's and nginx' are added.
_SPOKEN = (
    *((each.value, each.phrase) for each in HTTPStatus if each >= HTTPStatus.BAD_REQUEST),
    (413, "Request Entity Too Large"),
    (422, "Unprocessable Entity"),
    (503, "Service Temporarily Unavailable"),
    (504, "Gateway Time-out"),
)
_PHRASES = "|".join(f"{status}:? {re.escape(phrase)}" for status, phrase in _SPOKEN)
_STATUS = re.compile(
    # containerd's remotes/errors and fetcher.go, Moby's registry, BuildKit's source/http, cloud SDKs
    r"\b(?:status ?(?:code)?|code)(?: was)?(?: from \w+ request)?(?: to)?(?: <>)?[:= ]{1,3}(?P<after>[45]\d\d)(?![\w.])"
    # curl, git, pip, Azure
    r"|\b(?:HTTP(?: error)?|returned error:|ERROR|RESPONSE) (?P<named>[45]\d\d)(?![\w.])"
    rf"|(?<!\w)(?<!<>)(?<!\bline )(?P<phrase>{_PHRASES})\b",
    re.IGNORECASE,
)


def _statuses(text: str) -> Iterator[int]:
    """Yield the HTTP error statuses in a text without names."""
    for match in _STATUS.finditer(text):
        yield int((match["after"] or match["named"] or match["phrase"])[:3])


# --- names -------------------------------------------------------------------------------------------------

_NAME = "<>"
_DIGEST = re.compile(texts.SHA256)
_ADDRESS = re.compile(r"https?://(?P<host>[^/\s\"]+)/v2/(?P<path>\S+?)/(?:blobs|manifests)/")
# solver/llbsolver/ops/exec.go
_COMMAND = re.compile(r"\bprocess .* did not complete successfully: (?P<ending>.*)", re.DOTALL)
# An HTML page, as a proxy sends it, and its title.
_PAGE = re.compile(r"<(?:!doctype )?html\b(?:.*?<title>(?P<title>[^<]*)</title>)?.*", re.DOTALL | re.IGNORECASE)
_DESCRIPTION = re.compile(r"\b(desc = )\"([^\"\n]*+)\"")  # gRPC's status: a quoted error, not a name
_URL = re.compile(r"\b[a-z][a-z0-9+.-]{0,31}://[^\s\"'<>]*[^\s\"'<>:.,;)\]]", re.IGNORECASE)
_QUOTED = re.compile(r"\"[^\"\\\n]*+(?:\\.[^\"\\\n]*+)*+\"|`[^`\n]*+`|(?<!\w)'[^'\n]*+'(?!\w)")
# Go's os.PathError: the path may hold spaces; the kernel's reason ends it.
_PATH_ERROR = re.compile(
    r"((?:^|: |= )(?:failed to stat|open|stat|lstat|mkdir|read|write"
    r"|readlink|remove|unlinkat|chmod|chown|copy|creat)) (?!<>).+?: "
    r"(?=(?:no such file or directory|permission denied|no space left on device|read-only file system|not a directory"
    r"|is a directory|file exists|operation not permitted|input/output error|disk quota exceeded)\b)",
    re.MULTILINE,
)
_WORD = re.compile(r"[^\s\"'`()\[\]{}<>,;|]+")
_INNER = re.compile(r"[./:@=+%~\\-]\w")
# Words that look like names but occur in patterns.
_KEPT = frozenset({"i/o", "client.timeout", "network.host", "security.insecure", "utf-8", "media-type", "self-signed"})


def without_names(text: str) -> str:
    """Replace the names in a text by ``<>``: quoted text, addresses, paths, and words with a separator inside.

    ``failed to push r.example/denied:403: denied`` becomes ``failed to push <>: denied``.
    """
    text = _COMMAND.sub(rf"process {_NAME} did not complete successfully: \g<ending>", text)
    text = _URL.sub(_NAME, _DESCRIPTION.sub(r"\1\2", text))
    text = _QUOTED.sub(lambda quoted: f"{quoted[0][0]}{_NAME}{quoted[0][0]}", text)
    return _WORD.sub(_shown, _PATH_ERROR.sub(rf"\1 {_NAME}: ", text))


def _shown(match: re.Match[str]) -> str:
    word = match[0].rstrip(":.!?")
    is_name = _INNER.search(word) and word.lower() not in _KEPT
    return f"{_NAME}{match[0][len(word) :]}" if is_name else match[0]


# --- classification ----------------------------------------------------------------------------------------

_EXIT_CODE = re.compile(r"exit code: \d+")
# Buildx continues without such an import (buildx' build/opt.go and BuildKit's client/solve.go).
_ABSENT_FOLDER = re.compile(r"(?:WARNING: )?local cache import at (?P<place>.+?) (?:not found due to err|skipped)\b")
_CANCELLED = ("context canceled", "code = Canceled")


def classify(text: str, *, doing: str = "", retried: str = "") -> Problem:
    """Classify an error text of BuildKit, Buildx, the docker CLI or a registry; ``Kind.UNKNOWN`` if no row matches.

    Args:
        text: the error.
        doing: the name of the failed vertex, if any, in case the text does not say what BuildKit did.
        retried: earlier errors after which BuildKit retried. The final error of a push has no status, and BuildKit
            retries only after a server's fault (``exporter/containerimage``, ``util/resolver/retryhandler``).
    """
    text = _PAGE.sub(r"\g<title>", bounded(text)).rstrip()
    bare = without_names(f"{doing}: {text}" if doing else text)
    status = next(_statuses(bare), None) or next(_statuses(without_names(bounded(retried))), None)
    kind = texts.first(texts.WITH_NAMES, text) or texts.first(texts.BEFORE_STATUS, bare) or _answered(bare, status)
    address = _ADDRESS.search(text)
    return Problem(
        kind=kind or _unanswered(bare),
        words=text,
        status=status,
        operation=_operation(text, bare),
        subject=f"{address['host']}/{address['path']}" if address else "",
    )


def _answered(bare: str, status: int | None) -> Kind | None:
    """Classify a server's answer by its status and the registry's text; None without either."""
    is_write = bool(texts.WRITING.search(bare))
    if texts.STORE.search(bare) and status in texts.REFUSALS and status != HTTPStatus.NOT_FOUND:
        return Kind.STORE_DENIED
    if fault := texts.FAULTS.get(status or 0):
        return fault
    if is_write and (status or texts.CODE.search(bare)) and (reason := texts.first(texts.REASONS, bare)):
        return reason
    if status:
        return (texts.WRITE_REFUSALS if is_write else texts.REFUSALS).get(status, Kind.REFUSED)
    return None


def _unanswered(bare: str) -> Kind:
    """Classify a text without a status."""
    is_write = bool(texts.WRITING.search(bare))
    kind = texts.first(texts.AFTER_STATUS, bare) or Kind.UNKNOWN
    if kind is Kind.DISCONNECTED and (is_write or texts.READING.search(bare)):
        return Kind.UNREACHABLE
    is_code = kind in (Kind.UNKNOWN, Kind.ABSENT) and is_write and texts.CODE.search(bare)
    return Kind.REFUSED if is_code else kind


def _operation(text: str, bare: str) -> Operation | None:
    pull = Operation.PULL_IMAGE if texts.PULL.search(bare) else None
    return next((operation for operation, pattern in texts.OPERATIONS if re.match(pattern, text)), pull)


def command_ending(text: str) -> str:
    """Return how the command of a step ended, from an error text; empty for any other error."""
    match = _COMMAND.search(text)
    return match["ending"] if match else ""


def classify_command(ending: str, log: tuple[str, ...]) -> Kind | None:
    """Classify the failure of a step's command by its exit code and the last lines of its log.

    Return None if BuildKit could not run the command to its end: ``classify`` finds the cause.
    """
    if not _EXIT_CODE.match(ending):
        return None
    text = "\n".join((ending, *map(bounded, log)))
    bare = without_names(text)
    by_status = (texts.COMMAND_STATUSES[status] for status in _statuses(bare) if status in texts.COMMAND_STATUSES)
    return texts.first(texts.COMMANDS, text) or texts.first(texts.COMMAND_WORDS, bare) or next(by_status, Kind.UNKNOWN)


def absent_folder(line: str) -> str:
    """Return the folder of a local import that Buildx skips, from a line of its output; empty for any other line."""
    match = _ABSENT_FOLDER.match(line)
    return match["place"] if match else ""


def is_cancelled(text: str) -> bool:
    """Return whether an error only follows from another error or an interrupt (Go's context.Canceled, gRPC)."""
    return any(words in text and words in without_names(bounded(text)) for words in _CANCELLED)
