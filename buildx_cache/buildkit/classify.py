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

from buildx_cache.buildkit.causes import CAUSES, Cause, Kind
from buildx_cache.errors import BuildFailedError, BuildxCacheError, DeniedError
from buildx_cache.formatting import bounded


class Operation(StrEnum):
    """Name what failed, where that matters beside the reason."""

    FETCH_LAYER = "fetch-layer"  # of a cache or a base image, from a registry
    COMMIT_LAYER = "commit-layer"  # to check one that was fetched
    READ_LAYER = "read-layer"  # no matter from where
    USE_FOLDER = "use-folder"  # Buildx' own use of a cache's folder, which ``ignore-error`` does not reach
    PULL_IMAGE = "pull-image"


_DENIED = frozenset({Kind.UNAUTHORIZED, Kind.DENIED, Kind.STORE_DENIED})


@dataclass(frozen=True, kw_only=True)
class Problem:
    """The cause that an error text states.

    ``words`` is the text, not redacted, a page of HTML in it cut down to its title. ``subject`` is the repository whose
    address is in the text.

    ``status`` is the HTTP status of the answer that the text is about, None without one.
    """

    kind: Kind
    words: str = ""
    status: int | None = None
    operation: Operation | None = None
    subject: str = ""

    @property
    def cause(self) -> Cause:
        """Return what follows from the kind."""
        return CAUSES[self.kind]

    @property
    def error(self) -> type[BuildxCacheError]:
        """Return the error, and with it the exit code, of a call that ends with the problem."""
        return self.cause.error or BuildFailedError

    @property
    def advice(self) -> str:
        """Return what to do about it; the empty string where nothing is known to help."""
        return self.cause.advice

    @property
    def retryable(self) -> bool:
        """Tell whether the same may work in a moment."""
        return self.cause.is_passing

    @property
    def is_denied(self) -> bool:
        """Tell whether a registry answered, and refused for want of a login or a right."""
        return self.kind in _DENIED

    @property
    def is_refused(self) -> bool:
        """Tell whether a registry answered, and refused for whatever reason."""
        return self.cause.error is DeniedError

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
_STATE = r"(?:/(?:activity|instances|refs|defaults|current|\.\w+)\b\S*)?: (?:permission denied|read-only file system)\Z"
# Of `localhost`, a container without IPv6 says that it has no such address.
_REFUSED = r"(?:connection refused|cannot assign requested address)"
# What runc says of a container that it may not set up.
_START = (
    r"(?:to rootfs at \"<>\"|apply cgroup configuration)[^\n]*"
    r"(?:operation not permitted|permission denied|<> file system)"
)
# What tells is a name: that of the file in Buildx' own words of a cache folder, whole (BuildKit's client/ociindex) and
# of its state (Buildx' store and localstate); the address that Go's net could not connect to.
_WITH_NAMES: _Rows = (
    (Kind.INDEX_LOCKED, rf"{_CLIENT}could not lock .*index\.json\.lock\Z"),
    (Kind.INDEX_UNUSABLE, rf"{_CLIENT}{_INDEX}"),
    # containerd's content/local: another build, or a clean-up, took the file away
    (Kind.INDEX_UNUSABLE, r"commit failed: rename \S+/ingest/\S+ \S+: no such file or directory"),
    (Kind.STATE_UNWRITABLE, rf"{_CLIENT}(?:failed to [\w ]+: )?(?:open|mkdir|write|rename|chmod) \S*/buildx{_STATE}"),
    (Kind.LOOPBACK, rf": dial tcp (?:127(?:\.\d+){{3}}|\[::1\]):\d+: connect: {_REFUSED}\Z"),
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
    (Operation.READ_LAYER, rf"{_LAYER}content (?:digest )?{_SHA256}: not found"),
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
    # docker/cli's flags (spf13/pflag, opts)
    (Kind.WRONG_OPTION, r"\A(?:unknown (?:shorthand )?flag: |invalid argument \"|flag needs an argument: )"),
    # frontend/gateway, exporter and client of BuildKit, of options that Buildx hands over
    (Kind.WRONG_OPTION, r"unknown attestation type \"|exporter \"[^\"]*\" could not be found|invalid mode \"[^\"]*\"$"),
    (Kind.WRONG_OPTION, r"unsupported request \S+: unsupported request|unknown cache exporter: "),
    (Kind.WRONG_OPTION, r"could not parse <> reference|invalid <>: <>: parsing \"<>\": invalid syntax"),
    (Kind.WRONG_OPTION, rf"{_CLIENT}network mode \"[^\"]*\" not supported by buildkit"),
    (Kind.NO_INDEX, r"index annotations not supported for single platform export"),
    (Kind.ONE_PLATFORM, r"docker exporter does not (?:currently )?support exporting manifest lists"),
    # grpc-go's internal/metadata, of a folder's name in a session's headers (session/grpc.go, session/filesync)
    (Kind.NOT_ASCII, r"header key \"<>\" contains value with <> ascii characters"),
    # session/secrets/secretsprovider, session/sshforward/sshprovider
    (Kind.NO_SECRET_FILE, rf"{_CLIENT}failed to stat \S+: (?:stat \S+: )?no such file or directory\Z"),
    (Kind.NO_SSH_AGENT, r"invalid empty ssh agent socket"),
    (Kind.NO_SSH_KEY, rf"{_CLIENT}failed to convert agent config "),
    (Kind.NO_SSH_MOUNT, r"unset ssh forward key "),
    # frontend/dockerfile/dockerfile2llb/convert.go
    (Kind.NO_STAGE, r"target stage \"[^\"]*\" could not be found"),
    # frontend/dockerfile/instructions/parse.go, bflag.go
    (Kind.UNKNOWN_INSTRUCTION, r"parse error (?:on )?line \d+: unknown instruction:"),
    (Kind.UNKNOWN_FLAG, r"parse error (?:on )?line \d+: unknown flag:"),
    # the same, parser and linter
    (Kind.BAD_DOCKERFILE, r"dockerfile parse error (?:on )?line \d+|unterminated heredoc|file with no instructions"),
    (
        Kind.BAD_DOCKERFILE,
        r"base name \(.*\) should not be blank|failed to parse (?:stage name|platform) ",
    ),
    (Kind.BAD_DOCKERFILE, r"unsupported mount type \"|circular dependency detected on stage"),
    # frontend/dockerui
    (Kind.BAD_DOCKERFILE, r"the dockerfile cannot be empty"),
    (Kind.NO_DOCKERFILE, r"failed to read dockerfile: (?:open|stat|lstat) .*: no such file or directory"),
    # session/secrets/secrets.go
    (Kind.NO_SECRET, r"secret \S+(?: not found)?: not found"),
    # the engine's classic store (layer/layer_store.go of Moby)
    (Kind.TOO_MANY_LAYERS, r": max depth exceeded$"),
    # source/git of BuildKit, with what git and ssh said
    (Kind.GIT_DENIED, r"git stderr:[\s\S]*(?:could not read (?:username|password)|authentication failed for)"),
    (Kind.GIT_DENIED, r"git stderr:[\s\S]*(?:permission denied \(publickey|host key verification failed)"),
    (Kind.NO_GIT_REF, r"repository does not contain ref |\binvalid subdir "),
    # solver/llbsolver/result.go and cache/contenthash/checksum.go
    (Kind.NO_FILE, r"failed to (?:calculate checksum of ref \S+|compute cache key): \"[^\"]*\": not found"),
    # source/http/source.go, of ADD --checksum
    (Kind.CHECKSUM, r"\bdigest mismatch (?:for \S+: )?<>"),
    # source/http/source.go, of what ADD downloads
    (Kind.NO_DOWNLOAD, r"invalid response status 4(?:04|10)\b"),
    (Kind.DOWNLOAD_DENIED, r"invalid response status 4(?!08|29)\d\d\b"),
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
    (Kind.UNSUPPORTED, r"is not supported for the \S+ driver|attestations are not supported by the current buildkitd"),
    # builder/builder.go of Buildx
    (Kind.BUILDER_EXISTS, r"existing instance for \"[^\"]*\""),
    # client/solve.go of BuildKit
    (Kind.NO_CACHE_TAG, r"local cache importer requires"),
    # client/request.go of Moby; its context store, by way of docker/cli
    (Kind.DOCKER_DENIED, r"permission denied while trying to connect to the docker"),
    (Kind.NO_CONTEXT, r"resolve(?: docker endpoint)?: context \"|context not found|^context \"<>\" does not exist"),
    # api/server/middleware/version.go of Moby
    (Kind.API_VERSION, r"client version \S+ is too (?:old|new)"),
    (Kind.DOCKER_TLS, r"error during connect.*(?:x509: |\btls: )"),
    (Kind.DOCKER_DOWN, r"cannot connect to the docker daemon|error during connect|failed to connect to the docker api"),
    # docker/cli's cli/config/credentials, by way of Buildx' session/auth; Amazon's and GitHub's registries
    (Kind.CREDENTIAL_HELPER, r"error getting credentials - err: "),
    (Kind.LOGIN_EXPIRED, r"\bauthorization token has expired\b|\btoken (?:has |is )?expired\b"),
    # Go's net/http/transport.go
    (Kind.PROXY_DENIED, r"proxy authentication required"),
    (Kind.PROXY_DOWN, r": proxyconnect tcp: "),
    # session/manager.go; containerd's content/local/locks.go
    (Kind.SESSION_LOST, r"\bno active session for "),
    (Kind.BLOB_LOCKED, r"\bref \S+ locked\b.*: unavailable"),
    # runc's libcontainer, containerd's core/mount and pkg/archive
    (Kind.BUILDER_UNPRIVILEGED, rf"{_START}|fstype: overlay, .*err: operation not permitted"),
    (Kind.BUILDER_UNPRIVILEGED, r"increasing the number of subordinate ids"),
    # cache and snapshot of BuildKit, of what it has itself; not an image's or a cache's
    (Kind.BUILDER_DAMAGED, r"failed to (?:prepare|mount) .*: parent snapshot <> does not exist"),
    (Kind.BUILDER_DAMAGED, r"failed to stat lower snapshot .*does not exist|lease \"<?[^\"]*\": not found"),
    (Kind.BUILDER_DAMAGED, r"\bblob <>: blob not found"),
    # containerd's core/content and content/local, BuildKit's util/contentutil
    (Kind.CORRUPT, r"\bcontent (?:descriptor |digest )?<>|parent snapshot <> does not exist"),
    (Kind.CORRUPT, r"unexpected commit (?:digest|size)|failed size validation"),
    (Kind.CORRUPT, r"short read: |failed to read expected number of bytes"),
    (Kind.CORRUPT, r"parsing time \"|no processor for media-type"),
)
# What an HTTP status means, whatever words go with it; any other 4xx is a refusal, whose words tell more.
_FAULTS: Mapping[int, Kind] = {
    **dict.fromkeys((408, *range(500, 600)), Kind.SERVER_ERROR),
    429: Kind.THROTTLED,
    507: Kind.REGISTRY_FULL,
}
_REFUSALS: Mapping[int, Kind] = {401: Kind.UNAUTHORIZED, 403: Kind.DENIED, 404: Kind.ABSENT}
_WRITE_REFUSALS: Mapping[int, Kind] = {**_REFUSALS, 404: Kind.REFUSED, 413: Kind.TOO_LARGE}
# What writes to a registry: BuildKit's pusher and cache exporter, Buildx' push by the engine; containerd's requests.
_WRITING = re.compile(
    r"failed to push |^pushing |^exporting to image: |^exporting cache |error writing (?:layer|manifest|config) blob"
    r"|from (?:POST|PUT|PATCH) request|failed commit on ref \S+: unexpected status",
)
_READING = re.compile(r"failed to do request: |httpReadSeeker|load metadata for |failed to fetch |failed to authorize")
# Registries' error codes, as containerd and Moby spell them, where an answer begins or the status is left out.
_CODE = re.compile(
    r"(?:^|: )(?:denied|unknown|unsupported|blob upload (?:unknown|invalid)"
    r"|(?:blob|manifest|manifest blob|name|tag|digest|size|range) (?:unknown|invalid|unverified))(?=: |$)",
    re.IGNORECASE | re.MULTILINE,
)
# Why a registry refuses to take something, in its own words: Amazon's, Google's, Docker Hub's and Harbor's of tags;
# Harbor's, GitLab's and DigitalOcean's of quotas; Amazon's, GitLab's and distribution's of repositories.
_REASONS: _Rows = (
    (Kind.REFUSED, r"\b(?:blob|manifest|blob upload) (?:unknown|invalid)\b"),
    (Kind.TAG_IMMUTABLE, r"\bimmutab(?:le|ility)\b|\bcannot be overwritten\b"),
    (
        Kind.QUOTA,
        r"exceed the configured upper limit|\bquota exceeded\b|registry contains \d+ repositories, limit is \d+",
    ),
    (Kind.QUOTA, r"\bstorage (?:limit|quota)\b"),
    (Kind.NO_REPOSITORY, r"\bname unknown\b|\brepository\b.{0,80}\b(?:does not exist|not found|not known)\b"),
    # the first request of an upload, which names nothing but the repository
    (Kind.NO_REPOSITORY, r"from POST request to <>: 404 Not Found"),
)
_AFTER_STATUS: _Rows = (
    # the SDKs of Amazon and Azure, which found no credentials
    (Kind.STORE_DENIED, r"no EC2 IMDS role found|failed to (?:refresh cached|retrieve) credentials"),
    (Kind.STORE_DENIED, r"DefaultAzureCredential: failed to acquire a token"),
    # client/errors.go and daemon/errors.go of Moby; gRPC's internal/transport/http2_client.go
    (Kind.BUILDER_UNUSABLE, r"connection error: .*\bwhile dialing\b"),
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
    # distribution's, of the registry's disk; the kernel's ENOSPC in Go's syscall
    (Kind.REGISTRY_FULL, r"(?:failed to push \S+|^pushing .*): \w+: .*no space left on device"),
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
    (Kind.UNKNOWN_HOST, r"no such host|could not resolve host"),
    (Kind.DNS_FAILED, r"temporary failure in name resolution|lookup \S.*(?:server misbehaving|i/o timeout)"),
    # builder and driver of Buildx
    (Kind.NO_BUILDER, r"no builder .* found"),
    (Kind.BUILDER_REFUSED, r"could not create a builder"),
    (Kind.BUILDER_UNUSABLE, r"failed to (?:list workers|boot builder)"),
    # distribution's code for a registry that has a fault
    (Kind.SERVER_ERROR, r"(?:^|: )unavailable: |: unknown: .*\b(?:timeout|timed out)\b"),
    # containerd's core/remotes/docker, the kernel's ENOENT
    (Kind.ABSENT, r"not found|no such file|(?:blob|name|manifest) unknown"),
    # Go's net and net/http; git's
    (Kind.UNREACHABLE, r"connection refused|connection reset|i/o timeout|client\.timeout|tls handshake"),
    (Kind.UNREACHABLE, r"failed to do request: |network is unreachable|use of closed network connection|broken pipe"),
    (Kind.UNREACHABLE, r"unable to access .*(?:failed to|couldn't) connect|no route to host"),
    # the same and Go's net/http/h2_bundle.go, without a word on where that happened
    (Kind.DISCONNECTED, r"\btimeout\b|\bdeadline exceeded\b|\bEOF\b|\breset\b|\brefused\b|\bhttp2: |\bstream error: "),
    (Kind.DISCONNECTED, r"\bGOAWAY\b|closed pipe|cannot reuse body|server closed idle connection|bad record MAC"),
    # a cache importer that cannot be made (BuildKit's solver/llbsolver)
    (Kind.CACHE_UNCONFIGURED, r"failed to configure (?:gha|s3|azblob) cache importer"),
    (Kind.DISCONNECTED, r"failed to configure \S+ cache importer"),
    (Kind.NO_CACHE_KIND, r"unknown cache importer"),
)

_EXIT_CODE = re.compile(r"exit code: \d+")
# How the command of a step ended: its exit code on a line, and the last lines of its log below.
_COMMANDS: _Rows = (
    (Kind.KILLED, r"^exit code: 137$"),
    # the kernel's ENOEXEC in Go's syscall; BuildKit's own emulator says `Invalid ELF image`
    (Kind.FOREIGN_PROGRAM, r"exec format error|invalid ELF image"),
    # bash' words of a carriage return; busybox' and dash's, without what stands before it in a terminal
    (Kind.CRLF, r"\$'\\r': command not found|^: (?:no such file or directory|not found)$"),
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
    (Kind.BUILDER_UNPRIVILEGED, rf"runc run failed: .*{_START}"),
    # apt's words
    (Kind.CLOCK, r"release file for \S+ is not valid yet"),
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

# The SDKs of Amazon and Azure, whose stores have no repositories and no docker login.
_STORE = re.compile(r"https response error StatusCode: |\bRESPONSE \d{3}: |reply status code was ")

# --- where a status stands ---------------------------------------------------------------------------------

# Python's change; Go's and nginx' are added.
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
    """Yield the HTTP statuses of errors that stand as such in a text without names."""
    for match in _STATUS.finditer(text):
        yield int((match["after"] or match["named"] or match["phrase"])[:3])


# --- names -------------------------------------------------------------------------------------------------

_NAME = "<>"
_DIGEST = re.compile(_SHA256)
_ADDRESS = re.compile(r"https?://(?P<host>[^/\s\"]+)/v2/(?P<path>\S+?)/(?:blobs|manifests)/")
# solver/llbsolver/ops/exec.go
_COMMAND = re.compile(r"\bprocess .* did not complete successfully: (?P<ending>.*)", re.DOTALL)
# A page that a proxy answers with, and its title.
_PAGE = re.compile(r"<(?:!doctype )?html\b(?:.*?<title>(?P<title>[^<]*)</title>)?.*", re.DOTALL | re.IGNORECASE)
_DESCRIPTION = re.compile(r"\b(desc = )\"([^\"\n]*+)\"")  # gRPC's status, an error and no name
_URL = re.compile(r"\b[a-z][a-z0-9+.-]{0,31}://[^\s\"'<>]*[^\s\"'<>:.,;)\]]", re.IGNORECASE)
_QUOTED = re.compile(r"\"[^\"\\\n]*+(?:\\.[^\"\\\n]*+)*+\"|`[^`\n]*+`|(?<!\w)'[^'\n]*+'(?!\w)")
# Go's os.PathError, whose path may hold spaces; its end is the kernel's reason.
_PATH_ERROR = re.compile(
    r"((?:^|: |= )(?:failed to stat|open|stat|lstat|mkdir|read|write"
    r"|readlink|remove|unlinkat|chmod|chown|copy|creat)) (?!<>).+?: "
    r"(?=(?:no such file or directory|permission denied|no space left on device|read-only file system|not a directory"
    r"|is a directory|file exists|operation not permitted|input/output error|disk quota exceeded)\b)",
    re.MULTILINE,
)
_WORD = re.compile(r"[^\s\"'`()\[\]{}<>,;|]+")
_INNER = re.compile(r"[./:@=+%~\\-]\w")
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


def classify(text: str, *, doing: str = "", retried: str = "") -> Problem:
    """Classify the words of BuildKit, Buildx, the docker CLI or a registry; ``Kind.UNKNOWN`` where no row has them.

    Args:
        text: the error.
        doing: the name of the vertex that failed, if any, where the text does not tell what BuildKit did.
        retried: what BuildKit tried again for before. It leaves the status out of a push's error, and tries again by
            itself only for a server's fault (``exporter/containerimage``, ``util/resolver/retryhandler``).
    """
    text = _PAGE.sub(r"\g<title>", bounded(text)).rstrip()
    bare = without_names(f"{doing}: {text}" if doing else text)
    status = next(_statuses(bare), None) or next(_statuses(without_names(bounded(retried))), None)
    kind = _first(_WITH_NAMES, text) or _first(_BEFORE_STATUS, bare) or _answered(bare, status)
    address = _ADDRESS.search(text)
    return Problem(
        kind=kind or _unanswered(bare),
        words=text,
        status=status,
        operation=_operation(text, bare),
        subject=f"{address['host']}/{address['path']}" if address else "",
    )


def _answered(bare: str, status: int | None) -> Kind | None:
    """Classify what a server answered, by its status and what a registry says of it."""
    is_write = bool(_WRITING.search(bare))
    if _STORE.search(bare) and status in _REFUSALS and status != HTTPStatus.NOT_FOUND:
        return Kind.STORE_DENIED
    if fault := _FAULTS.get(status or 0):
        return fault
    if is_write and (status or _CODE.search(bare)) and (reason := _first(_REASONS, bare)):
        return reason
    if status:
        return (_WRITE_REFUSALS if is_write else _REFUSALS).get(status, Kind.REFUSED)
    return None


def _unanswered(bare: str) -> Kind:
    """Classify a text without a status."""
    is_write = bool(_WRITING.search(bare))
    kind = _first(_AFTER_STATUS, bare) or Kind.UNKNOWN
    if kind is Kind.DISCONNECTED and (is_write or _READING.search(bare)):
        return Kind.UNREACHABLE
    is_code = kind in (Kind.UNKNOWN, Kind.ABSENT) and is_write and _CODE.search(bare)
    return Kind.REFUSED if is_code else kind


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
