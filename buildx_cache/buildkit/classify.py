"""Classify what BuildKit, Buildx, the docker CLI and registries say: a text → a ``Problem``.

Such texts quote references, addresses, paths, commands and lines of a Dockerfile, which hold any word and any number.
``without_names`` cuts those out, and an HTTP status counts only where one stands (``unexpected status from …: 503``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus

from buildx_cache.formatting import bounded


class Kind(StrEnum):
    """Name what is wrong. What follows from a kind is its caller's: an error and a hint, another try, a status."""

    UNKNOWN = "unknown"
    # The Dockerfile, its context and the call.
    NO_STAGE = "no-stage"
    UNKNOWN_INSTRUCTION = "unknown-instruction"
    UNKNOWN_FLAG = "unknown-flag"
    NO_SECRET = "no-secret"  # noqa: S105 -- a kind
    NO_FILE = "no-file"
    CHECKSUM = "checksum"
    NO_FRONTEND = "no-frontend"
    NO_PLATFORM = "no-platform"
    NO_IMAGE = "no-image"
    NOT_ALLOWED = "not-allowed"
    NOT_UTF8 = "not-utf8"
    # The engine and the builder.
    DOCKER_DENIED = "docker-denied"
    DOCKER_DOWN = "docker-down"
    NO_CONTEXT = "no-context"
    NOT_GRANTED = "not-granted"
    UNSUPPORTED = "unsupported"
    BUILDER_EXISTS = "builder-exists"
    BUILDER_GONE = "builder-gone"
    BUILDER_UNUSABLE = "builder-unusable"
    # A registry and the network.
    UNAUTHORIZED = "unauthorized"
    DENIED = "denied"
    ABSENT = "absent"
    PUSH_REFUSED = "push-refused"
    THROTTLED = "throttled"
    PLAIN_HTTP = "plain-http"
    CERTIFICATE_EXPIRED = "certificate-expired"
    CERTIFICATE = "certificate"
    UNKNOWN_HOST = "unknown-host"
    UNREACHABLE = "unreachable"
    DISCONNECTED = "disconnected"
    # A cache.
    CORRUPT = "corrupt"
    INDEX_LOCKED = "index-locked"
    INDEX_UNUSABLE = "index-unusable"
    NO_CACHE_TAG = "no-cache-tag"
    # A local resource.
    CLIENT_DISK_FULL = "client-disk-full"
    OUTPUT_FAILED = "output-failed"
    DISK_FULL = "disk-full"
    OUT_OF_MEMORY = "out-of-memory"
    # A command of a step.
    KILLED = "killed"
    FOREIGN_PROGRAM = "foreign-program"
    NO_INTERPRETER = "no-interpreter"
    NO_COMMAND = "no-command"
    NOT_EXECUTABLE = "not-executable"


class Operation(StrEnum):
    """Name what failed, where that matters beside the reason."""

    FETCH_LAYER = "fetch-layer"  # of a cache or a base image, from a registry
    COMMIT_LAYER = "commit-layer"  # to check one that was fetched
    READ_LAYER = "read-layer"  # no matter from where
    USE_FOLDER = "use-folder"  # Buildx' own use of a cache's folder, which ``ignore-error`` does not reach
    PULL_IMAGE = "pull-image"


_DENIED = frozenset({Kind.UNAUTHORIZED, Kind.DENIED})
_PASSING = frozenset({Kind.THROTTLED, Kind.UNKNOWN_HOST, Kind.UNREACHABLE})


@dataclass(frozen=True, kw_only=True)
class Problem:
    """The cause that an error text states.

    ``words`` is the text, not redacted. ``subject`` is the repository whose address is in the text.

    ``status`` is the HTTP status of the answer that the text is about, None without one.
    """

    kind: Kind
    words: str = ""
    status: int | None = None
    operation: Operation | None = None
    subject: str = ""

    @property
    def retryable(self) -> bool:
        """Tell whether the same may work in a moment."""
        return self.kind in _PASSING

    @property
    def is_denied(self) -> bool:
        """Tell whether a registry answered, and refused for want of a login or a right."""
        return self.kind in _DENIED

    @property
    def digests(self) -> frozenset[str]:
        """Return the digests that the text names."""
        return frozenset(_DIGEST.findall(self.words))


# Patterns are compiled when they are first used: most calls see no error, and all of them take 25 ms.
_Rows = tuple[tuple[Kind, str], ...]
_FLAGS = re.IGNORECASE | re.MULTILINE

# --- the tables: first match wins --------------------------------------------------------------------------

_SHA256 = r"sha256:[0-9a-f]{64}"
_CLIENT = r"\A(?:failed to build: )?"
_INDEX = r"could not (?:lock|unmarshal|read|write) .*index\.json"
# Buildx' own words of a cache folder, whole: what tells is the name of the file (BuildKit's client/ociindex).
_WITH_NAMES: _Rows = (
    (Kind.INDEX_LOCKED, rf"{_CLIENT}could not lock .*index\.json\.lock\Z"),
    (Kind.INDEX_UNUSABLE, rf"{_CLIENT}{_INDEX}"),
)
_LAYER = (
    r"(?:failed to (?:compute cache key|copy): |error writing layer blob: |NotFound: |rpc error: code = \w+ desc = )*"
)
# From the first word on: what a Dockerfile names (an address, a path, a command) stands further on, if at all.
_OPERATIONS: tuple[tuple[Operation, str], ...] = (
    # containerd's registry client (core/remotes/docker) and its store (core/content)
    (Operation.FETCH_LAYER, rf"{_LAYER}httpReadSeeker: failed"),
    (Operation.COMMIT_LAYER, rf'{_LAYER}failed commit on ref "layer-{_SHA256}": commit failed: '),
    # the same store; BuildKit's util/contentutil
    (Operation.READ_LAYER, rf"{_LAYER}content {_SHA256}: not found"),
    (
        Operation.READ_LAYER,
        rf"{_LAYER}(?:short read: expected \d+|failed to read expected number of) bytes",
    ),
    # a layer below could not be extracted; a manifest is changed
    (Operation.READ_LAYER, rf"{_LAYER}parent snapshot {_SHA256} does not exist"),
    (Operation.READ_LAYER, rf'{_LAYER}parsing time "'),
    (Operation.READ_LAYER, rf"{_LAYER}failed to get stream processor for \S+ no processor for media-type"),
    # client/ociindex and client/solve.go of BuildKit
    (Operation.USE_FOLDER, rf"{_CLIENT}(?:{_INDEX}|mkdir .+: )"),
)
# Docker's pull, as the builder's driver passes it on; in a text without names.
_PULL = re.compile(r"\bpull(?:ing)? (?:image|access)\b|failed to pull\b|manifest unknown|no such image", re.IGNORECASE)

# Texts without names (see below), each row with the upstream file that says them.
_BEFORE_STATUS: _Rows = (
    # frontend/dockerfile/dockerfile2llb/convert.go
    (Kind.NO_STAGE, r"target stage \"[^\"]*\" could not be found"),
    # frontend/dockerfile/instructions/parse.go, bflag.go
    (Kind.UNKNOWN_INSTRUCTION, r"parse error (?:on )?line \d+: unknown instruction:"),
    (Kind.UNKNOWN_FLAG, r"parse error (?:on )?line \d+: unknown flag:"),
    # session/secrets/secrets.go
    (Kind.NO_SECRET, r"secret \S+(?: not found)?: not found"),
    # solver/llbsolver/result.go and cache/contenthash/checksum.go
    (Kind.NO_FILE, r"failed to (?:calculate checksum of ref \S+|compute cache key): \"[^\"]*\": not found"),
    # source/http/source.go, of ADD --checksum
    (Kind.CHECKSUM, r"\bdigest mismatch (?:for \S+: )?<>"),
    # solver/llbsolver/bridge.go, asked by the gateway that runs the frontend
    (Kind.NO_FRONTEND, r"resolve image config for \S+: .*(?:not found|manifest unknown)"),
    # containerd's core/images/image.go
    (Kind.NO_PLATFORM, r"no match for platform in manifest"),
    # frontend/dockerfile/dockerfile2llb/convert.go; containerd's core/remotes/docker/resolver.go
    (Kind.NO_IMAGE, r"(?:load|failed to resolve source) metadata for \S+: .*(?:: not found|manifest unknown)"),
    # util/entitlements/entitlements.go: the builder's configuration, the call
    (Kind.NOT_GRANTED, r"granting entitlement \S+ is not allowed"),
    (Kind.NOT_ALLOWED, r"(?:network\.host|security\.insecure) is not allowed"),
    # build/utils.go of Buildx
    (Kind.UNSUPPORTED, r"is not supported for the \S+ driver"),
    # builder/builder.go of Buildx
    (Kind.BUILDER_EXISTS, r"existing instance for \"[^\"]*\""),
    # client/solve.go of BuildKit
    (Kind.NO_CACHE_TAG, r"local cache importer requires"),
    # client/request.go of Moby; its context store, by way of docker/cli
    (Kind.DOCKER_DENIED, r"permission denied while trying to connect to the docker"),
    (Kind.NO_CONTEXT, r"resolve(?: docker endpoint)?: context \"|context not found|^context \"<>\" does not exist"),
    (Kind.DOCKER_DOWN, r"cannot connect to the docker daemon|error during connect|failed to connect to the docker api"),
    # containerd's core/content and content/local, BuildKit's util/contentutil
    (Kind.CORRUPT, r"\bcontent (?:descriptor )?<>|parent snapshot <> does not exist"),
    (Kind.CORRUPT, r"unexpected commit (?:digest|size)|failed size validation"),
    (Kind.CORRUPT, r"short read: |failed to read expected number of bytes"),
    (Kind.CORRUPT, r"parsing time \"|no processor for media-type"),
)
# What a registry's answer means, whatever words go with it; of other statuses the words tell. 507 is distribution's.
_STATUSES: Mapping[int, Kind] = {
    **dict.fromkeys((408, *range(500, 600)), Kind.UNREACHABLE),
    401: Kind.UNAUTHORIZED,
    403: Kind.DENIED,
    404: Kind.ABSENT,
    429: Kind.THROTTLED,
    507: Kind.DISK_FULL,
}
_AFTER_STATUS: _Rows = (
    # client/errors.go and daemon/errors.go of Moby; gRPC's internal/transport/http2_client.go
    (Kind.BUILDER_GONE, r"error reading from server: |transport is closing|closing transport"),
    (Kind.BUILDER_GONE, r"code = Unavailable|no such container: "),
    # containerd's core/remotes/docker; docker login's of Docker Hub
    (Kind.UNAUTHORIZED, r"\bunauthorized\b|authentication required|no basic auth credentials"),
    (Kind.UNAUTHORIZED, r"incorrect username or password"),
    # the same; not the kernel's "permission denied"
    (Kind.DENIED, r"\baccess\b[^:\n]{0,24}\bdenied\b|(?<!permission )denied(?::|$)"),
    (Kind.DENIED, r"insufficient_scope|authorization failed"),
    # session/filesync: what BuildKit sends back is written by Buildx, on this machine
    (Kind.CLIENT_DISK_FULL, r"rpc error: code = \w+ desc = write \S+: no space left on device"),
    # the same of a folder's files (tonistiigi/fsutil), whose reason gets lost on the way
    (Kind.OUTPUT_FAILED, r"^exporting to client directory: EOF$|\berror from receiver: context canceled$"),
    # the kernel's ENOSPC in Go's syscall
    (Kind.DISK_FULL, r"no space left on device"),
    # google.golang.org/protobuf, of what Buildx asks of BuildKit
    (Kind.NOT_UTF8, r"string field contains invalid UTF-8"),
    # executor/runcexecutor: the kernel killed a process of the step for its memory (moby/buildkit#5260)
    (Kind.OUT_OF_MEMORY, r"cannot allocate memory"),
    # containerd's core/remotes/docker
    (Kind.THROTTLED, r"\btoomanyrequests\b|too many requests"),
    # Go's net/http/transport.go, crypto/x509/verify.go, net/dnsclient.go
    (Kind.PLAIN_HTTP, r"server gave http response to https client"),
    (Kind.CERTIFICATE_EXPIRED, r"x509: certificate has expired"),
    (Kind.CERTIFICATE, r"x509:"),
    (Kind.UNKNOWN_HOST, r"no such host|temporary failure in name resolution|could not resolve host"),
    (Kind.UNKNOWN_HOST, r"lookup \S+.*: server misbehaving"),
    # builder and driver of Buildx
    (Kind.BUILDER_UNUSABLE, r"failed to (?:list workers|boot builder)|no builder .* found|could not create a builder"),
    # distribution's errors, as Moby's push passes them on
    (Kind.PUSH_REFUSED, r"failed to push \S+: unknown\b.*(?:\bunknown\b|not found)"),
    # containerd's core/remotes/docker, the kernel's ENOENT
    (Kind.ABSENT, r"not found|no such file|(?:blob|name|manifest) unknown"),
    # Go's net and net/http; git's
    (Kind.UNREACHABLE, r"connection refused|connection reset|i/o timeout|client\.timeout|tls handshake"),
    (Kind.UNREACHABLE, r"failed to do request: |network is unreachable|use of closed network connection|broken pipe"),
    (Kind.UNREACHABLE, r"unable to access .*(?:failed to|couldn't) connect|failed to push \S+: unknown\b"),
    # the same, without a word on where that happened
    (Kind.DISCONNECTED, r"\btimeout\b|\bdeadline exceeded\b|\bEOF\b|\breset\b|\brefused\b"),
    # a cache importer that cannot be made (BuildKit's solver/llbsolver)
    (Kind.DISCONNECTED, r"failed to configure \S+ cache importer|unknown cache importer"),
)

_EXIT_CODE = re.compile(r"exit code: \d+")
# How the command of a step ended: its exit code on a line, and the last lines of its log below.
_COMMANDS: _Rows = (
    (Kind.KILLED, r"^exit code: 137$"),
    # the kernel's ENOEXEC in Go's syscall; BuildKit's own emulator says `Invalid ELF image`
    (Kind.FOREIGN_PROGRAM, r"exec format error|invalid ELF image"),
    # the shell's, the kernel's and runc's words for a script whose interpreter is not there
    (Kind.NO_INTERPRETER, r"bad interpreter|required file not found|\\r\W{0,3}: no such file"),
    (
        Kind.NO_INTERPRETER,
        r"^exec \S+: no such file or directory|exec: \"[^\"]+\": stat \S+: no such file or directory",
    ),
    (Kind.NO_INTERPRETER, r"\Aexit code: 127\n(?:.*\n)*?.*: \.{0,2}/\S+: not found$"),
    # POSIX' exit codes; runc's words where no shell is
    (Kind.NO_COMMAND, r"^exit code: 127$|executable file not found in \$PATH"),
    (Kind.NOT_EXECUTABLE, r"^exit code: 126$"),
)
_COMMAND_STATUSES: Mapping[int, Kind] = {401: Kind.UNAUTHORIZED, 429: Kind.THROTTLED}
# Searched in a log without names.
_COMMAND_WORDS: _Rows = (
    (Kind.DISK_FULL, r"no space left on device|\bENOSPC\b"),
    (Kind.OUT_OF_MEMORY, r"cannot allocate memory|\bout of memory\b"),
    (Kind.THROTTLED, r"\btoomanyrequests\b"),
    # glibc's, musl's, curl's, apt's, busybox' and Node's words
    (Kind.UNKNOWN_HOST, r"could not resolve host|temporary failure (?:in name resolution|resolving)|no such host\b"),
    (Kind.UNKNOWN_HOST, r"name or service not known|name does not resolve|\bbad address '|\bEAI_AGAIN\b"),
    # OpenSSL's, curl's and Go's words
    (Kind.CERTIFICATE, r"certificate verify failed|self.signed certificate|x509: certificate"),
    (Kind.CERTIFICATE, r"unable to get local issuer certificate"),
)

# Buildx goes on without such an import (buildx' build/opt.go and BuildKit's client/solve.go).
_ABSENT_FOLDER = re.compile(r"(?:WARNING: )?local cache import at (?P<place>.+?) (?:not found due to err|skipped)\b")

# --- where a status stands ---------------------------------------------------------------------------------

_PHRASES = "|".join(f"{each.value}:? {re.escape(each.phrase)}" for each in HTTPStatus if each >= HTTPStatus.BAD_REQUEST)
_STATUS = re.compile(
    # containerd's remotes/errors and fetcher.go, Moby's registry, BuildKit's source/http, cloud SDKs
    r"\b(?:status ?(?:code)?|code)(?: was)?(?: from \w+ request)?(?: to)?(?: <>)?[:= ]{1,3}(?P<after>[45]\d\d)(?![\w.])"
    # curl, git, pip, Azure
    r"|\b(?:HTTP(?: error)?|returned error:|ERROR|RESPONSE) (?P<named>[45]\d\d)(?![\w.])"
    rf"|(?<![\w<>])(?<!\bline )(?P<phrase>{_PHRASES})\b",
    re.IGNORECASE,
)


def _statuses(text: str) -> Iterator[int]:
    """Yield the HTTP statuses of errors that stand as such in a text without names."""
    for match in _STATUS.finditer(text):
        yield int((match["after"] or match["named"] or match["phrase"])[:3])


# --- names -------------------------------------------------------------------------------------------------

_NAME = "<>"
_DIGEST = re.compile(_SHA256)
_ADDRESS = re.compile(r"https?://(?P<host>[^/\s\"]+)/v2/(?P<path>\S+?)/(?:blobs|manifests)/")
# solver/llbsolver/ops/exec.go
_COMMAND = re.compile(r"\bprocess .* did not complete successfully: (?P<ending>.*)", re.DOTALL)
_DESCRIPTION = re.compile(r"\b(desc = )\"([^\"\n]*+)\"")  # gRPC's status, an error and no name
_URL = re.compile(r"\b[a-z][a-z0-9+.-]{0,31}://[^\s\"'<>]*[^\s\"'<>:.,;)\]]", re.IGNORECASE)
_QUOTED = re.compile(r"\"[^\"\\\n]*+(?:\\.[^\"\\\n]*+)*+\"|`[^`\n]*+`|(?<!\w)'[^'\n]*+'(?!\w)")
# Go's os.PathError, whose path may hold spaces; its end is the kernel's reason.
_PATH_ERROR = re.compile(
    r"((?:^|: |= )(?:open|stat|lstat|mkdir|read|write|readlink|remove|unlinkat|chmod|chown|copy|creat)) (?!<>).+?: "
    r"(?=(?:no such file or directory|permission denied|no space left on device|read-only file system|not a directory"
    r"|is a directory|file exists|operation not permitted|input/output error|disk quota exceeded)\b)",
    re.MULTILINE,
)
_WORD = re.compile(r"[^\s\"'`()\[\]{}<>,;|]+")
_INNER = re.compile(r"[./:@=+%~\\-]+\w")
# Words that patterns ask for, although they look like names.
_KEPT = frozenset({"i/o", "client.timeout", "network.host", "security.insecure", "utf-8", "media-type", "self-signed"})


def without_names(text: str) -> str:
    """Replace the names in a text by ``<>``: what is quoted, addresses, paths, and words with a separator inside.

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


def classify(text: str) -> Problem:
    """Classify the words of BuildKit, Buildx, the docker CLI or a registry; ``Kind.UNKNOWN`` where no row has them."""
    text = bounded(text)
    bare = without_names(text)
    status = next(_statuses(bare), None)
    by_status = _STATUSES.get(status or 0)
    kind = _first(_WITH_NAMES, text) or _first(_BEFORE_STATUS, bare) or by_status or _first(_AFTER_STATUS, bare)
    address = _ADDRESS.search(text)
    return Problem(
        kind=kind or Kind.UNKNOWN,
        words=text,
        status=status,
        operation=_operation(text, bare),
        subject=f"{address['host']}/{address['path']}" if address else "",
    )


def _operation(text: str, bare: str) -> Operation | None:
    pull = Operation.PULL_IMAGE if _PULL.search(bare) else None
    return next((operation for operation, pattern in _OPERATIONS if re.match(pattern, text)), pull)


def command_ending(text: str) -> str:
    """Return how the command of a step ended, as an error says; the empty string for any other error."""
    match = _COMMAND.search(text)
    return match["ending"] if match else ""


def classify_command(ending: str, log: tuple[str, ...]) -> Kind | None:
    """Classify how the command of a step failed, by its exit code and the last lines of its log.

    None for a command that BuildKit could not run to its end: ``classify`` reads the reason.
    """
    if not _EXIT_CODE.match(ending):
        return None
    text = "\n".join((ending, *map(bounded, log)))
    bare = without_names(text)
    by_status = (_COMMAND_STATUSES[status] for status in _statuses(bare) if status in _COMMAND_STATUSES)
    return _first(_COMMANDS, text) or _first(_COMMAND_WORDS, bare) or next(by_status, Kind.UNKNOWN)


_CANCELLED = ("context canceled", "code = Canceled")


def absent_folder(line: str) -> str:
    """Return the folder that Buildx does not import, as a line of its says; the empty string for any other line."""
    match = _ABSENT_FOLDER.match(line)
    return match["place"] if match else ""


def is_cancelled(text: str) -> bool:
    """Tell whether an error only follows from another one, or from an interrupt (Go's context.Canceled, gRPC)."""
    return any(words in text and words in without_names(bounded(text)) for words in _CANCELLED)


def _first(rows: _Rows, text: str) -> Kind | None:
    return next((kind for kind, words in rows if re.search(words, text, _FLAGS)), None)
