"""The tables of :mod:`classify`: which words in an error text state which kind of problem. First match wins."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum

from buildx_cache.buildkit.causes import Kind


class Operation(StrEnum):
    """The failed operation, if it matters in addition to the cause."""

    FETCH_LAYER = "fetch-layer"  # fetch a layer of a cache or a base image from a registry
    COMMIT_LAYER = "commit-layer"  # verify a fetched layer
    READ_LAYER = "read-layer"  # read a layer from a folder or a registry
    USE_FOLDER = "use-folder"  # Buildx itself opens a cache folder: ``ignore-error`` does not apply
    PULL_IMAGE = "pull-image"


# Patterns are compiled on first use: compiling all takes 25 ms, and most calls see no error.
Rows = tuple[tuple[Kind, str], ...]
_FLAGS = re.IGNORECASE | re.MULTILINE

SHA256 = r"sha256:[0-9a-f]{64}"
_CLIENT = r"\A(?:failed to build: )?"
_INDEX = r"could not (?:lock|unmarshal|read|write) .*index\.json"
_STATE = r"(?:/(?:activity|instances|refs|defaults|current|\.\w+)\b\S*)?: (?:permission denied|read-only file system)\Z"
# In a container without IPv6, connecting to `localhost` fails with the second text.
_REFUSED = r"(?:connection refused|cannot assign requested address)"
# runc's errors if it lacks the permission to set up a container.
_START = (
    r"(?:to rootfs at \"<>\"|apply cgroup configuration)[^\n]*"
    r"(?:operation not permitted|permission denied|<> file system)"
)
# Texts recognized by a name: the file of a cache folder (BuildKit's client/ociindex) or of Buildx' state (Buildx' store
# and localstate); the address to which Go's net could not connect.
WITH_NAMES: Rows = (
    (Kind.INDEX_LOCKED, rf"{_CLIENT}could not lock .*index\.json\.lock\Z"),
    (Kind.INDEX_UNUSABLE, rf"{_CLIENT}{_INDEX}"),
    # containerd's content/local: another build or a clean-up deleted the file
    (Kind.INDEX_UNUSABLE, r"commit failed: rename \S+/ingest/\S+ \S+: no such file or directory"),
    (Kind.STATE_UNWRITABLE, rf"{_CLIENT}(?:failed to [\w ]+: )?(?:open|mkdir|write|rename|chmod) \S*/buildx{_STATE}"),
    (Kind.LOOPBACK, rf": dial tcp (?:127(?:\.\d+){{3}}|\[::1\]):\d+: connect: {_REFUSED}\Z"),
)
_LAYER = (
    r"(?:failed to (?:compute cache key|copy): |error writing layer blob: |NotFound: |rpc error: code = \w+ desc = )*"
)
# Matched at the start of the text: names from a Dockerfile (an address, a path, a command) come later in the text.
OPERATIONS: tuple[tuple[Operation, str], ...] = (
    # containerd's registry client (core/remotes/docker) and its store (core/content)
    (Operation.FETCH_LAYER, rf"{_LAYER}httpReadSeeker: failed"),
    (Operation.COMMIT_LAYER, rf'{_LAYER}failed commit on ref "layer-{SHA256}": commit failed: '),
    # the same store; BuildKit's util/contentutil
    (Operation.READ_LAYER, rf"{_LAYER}content (?:digest )?{SHA256}: not found"),
    (
        Operation.READ_LAYER,
        rf"{_LAYER}(?:short read: expected \d+|failed to read expected number of) bytes",
    ),
    # a parent layer could not be extracted; a manifest is corrupt
    (Operation.READ_LAYER, rf"{_LAYER}parent snapshot {SHA256} does not exist"),
    (Operation.READ_LAYER, rf'{_LAYER}parsing time "'),
    (Operation.READ_LAYER, rf"{_LAYER}failed to get stream processor for \S+ no processor for media-type"),
    # client/ociindex and client/solve.go of BuildKit
    (Operation.USE_FOLDER, rf"{_CLIENT}(?:{_INDEX}|mkdir .+: )"),
)
# Docker's errors of a pull, as the builder's driver passes them on; matched in a text without names.
PULL = re.compile(r"\bpull(?:ing)? (?:image|access)\b|failed to pull\b|manifest unknown|no such image", re.IGNORECASE)

# Matched in texts without names (``classify.without_names``); each comment names the upstream file of the text.
BEFORE_STATUS: Rows = (
    # docker/cli's flags (spf13/pflag, opts)
    (Kind.WRONG_OPTION, r"\A(?:unknown (?:shorthand )?flag: |invalid argument \"|flag needs an argument: )"),
    # frontend/gateway, exporter and client of BuildKit, about options that Buildx passes on
    (Kind.WRONG_OPTION, r"unknown attestation type \"|exporter \"[^\"]*\" could not be found|invalid mode \"[^\"]*\"$"),
    (Kind.WRONG_OPTION, r"unsupported request \S+: unsupported request|unknown cache exporter: "),
    (Kind.WRONG_OPTION, r"could not parse <> reference|invalid <>: <>: parsing \"<>\": invalid syntax"),
    (Kind.WRONG_OPTION, rf"{_CLIENT}network mode \"[^\"]*\" not supported by buildkit"),
    (Kind.NO_INDEX, r"index annotations not supported for single platform export"),
    (Kind.ONE_PLATFORM, r"docker exporter does not (?:currently )?support exporting manifest lists"),
    # grpc-go's internal/metadata, about a folder's name in a session's headers (session/grpc.go, session/filesync)
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
    # the parser and linter there
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
    # source/git of BuildKit, with the output of git and ssh
    (Kind.GIT_DENIED, r"git stderr:[\s\S]*(?:could not read (?:username|password)|authentication failed for)"),
    (Kind.GIT_DENIED, r"git stderr:[\s\S]*(?:permission denied \(publickey|host key verification failed)"),
    (Kind.NO_GIT_REF, r"repository does not contain ref |\binvalid subdir "),
    # solver/llbsolver/result.go and cache/contenthash/checksum.go
    (Kind.NO_FILE, r"failed to (?:calculate checksum of ref \S+|compute cache key): \"[^\"]*\": not found"),
    # source/http/source.go, for ADD --checksum
    (Kind.CHECKSUM, r"\bdigest mismatch (?:for \S+: )?<>"),
    # source/http/source.go, for a download of ADD
    (Kind.NO_DOWNLOAD, r"invalid response status 4(?:04|10)\b"),
    (Kind.DOWNLOAD_DENIED, r"invalid response status 4(?!08|29)\d\d\b"),
    # solver/llbsolver/bridge.go, called by the gateway that runs the frontend
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
    # client/request.go of Moby; its context store, through docker/cli
    (Kind.DOCKER_DENIED, r"permission denied while trying to connect to the docker"),
    (Kind.NO_CONTEXT, r"resolve(?: docker endpoint)?: context \"|context not found|^context \"<>\" does not exist"),
    # api/server/middleware/version.go of Moby
    (Kind.API_VERSION, r"client version \S+ is too (?:old|new)"),
    (Kind.DOCKER_TLS, r"error during connect.*(?:x509: |\btls: )"),
    (Kind.DOCKER_DOWN, r"cannot connect to the docker daemon|error during connect|failed to connect to the docker api"),
    # docker/cli's cli/config/credentials, through Buildx' session/auth; Amazon's and GitHub's registries
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
    # cache and snapshot of BuildKit, about BuildKit's own storage, not an image or an imported cache
    (Kind.BUILDER_DAMAGED, r"failed to (?:prepare|mount) .*: parent snapshot <> does not exist"),
    (Kind.BUILDER_DAMAGED, r"failed to stat lower snapshot .*does not exist|lease \"<?[^\"]*\": not found"),
    (Kind.BUILDER_DAMAGED, r"\bblob <>: blob not found"),
    # containerd's core/content and content/local, BuildKit's util/contentutil
    (Kind.CORRUPT, r"\bcontent (?:descriptor |digest )?<>|parent snapshot <> does not exist"),
    (Kind.CORRUPT, r"unexpected commit (?:digest|size)|failed size validation"),
    (Kind.CORRUPT, r"short read: |failed to read expected number of bytes"),
    (Kind.CORRUPT, r"parsing time \"|no processor for media-type"),
)
# The kind of an HTTP status, whatever the text; any other 4xx is a refusal, for a reason in the text.
FAULTS: Mapping[int, Kind] = {
    **dict.fromkeys((408, *range(500, 600)), Kind.SERVER_ERROR),
    429: Kind.THROTTLED,
    507: Kind.REGISTRY_FULL,
}
REFUSALS: Mapping[int, Kind] = {401: Kind.UNAUTHORIZED, 403: Kind.DENIED, 404: Kind.ABSENT}
WRITE_REFUSALS: Mapping[int, Kind] = {**REFUSALS, 404: Kind.REFUSED, 413: Kind.TOO_LARGE}
# Writes to a registry: BuildKit's pusher and cache exporter, Buildx' push through the engine; containerd's requests.
WRITING = re.compile(
    r"failed to push |^pushing |^exporting to image: |^exporting cache |error writing (?:layer|manifest|config) blob"
    r"|from (?:POST|PUT|PATCH) request|failed commit on ref \S+: unexpected status",
)
READING = re.compile(r"failed to do request: |httpReadSeeker|load metadata for |failed to fetch |failed to authorize")
# Error codes of registries, as containerd and Moby spell them, at the start of an answer or without a status.
CODE = re.compile(
    r"(?:^|: )(?:denied|unknown|unsupported|blob upload (?:unknown|invalid)"
    r"|(?:blob|manifest|manifest blob|name|tag|digest|size|range) (?:unknown|invalid|unverified))(?=: |$)",
    re.IGNORECASE | re.MULTILINE,
)
# The texts of registries that refuse a push: Amazon, Google, Docker Hub and Harbor for tags; Harbor, GitLab and
# DigitalOcean for quotas; Amazon, GitLab and distribution for repositories.
REASONS: Rows = (
    (Kind.REFUSED, r"\b(?:blob|manifest|blob upload) (?:unknown|invalid)\b"),
    (Kind.TAG_IMMUTABLE, r"\bimmutab(?:le|ility)\b|\bcannot be overwritten\b"),
    (
        Kind.QUOTA,
        r"exceed the configured upper limit|\bquota exceeded\b|registry contains \d+ repositories, limit is \d+",
    ),
    (Kind.QUOTA, r"\bstorage (?:limit|quota)\b"),
    (Kind.NO_REPOSITORY, r"\bname unknown\b|\brepository\b.{0,80}\b(?:does not exist|not found|not known)\b"),
    # the first request of an upload, whose address holds only the repository
    (Kind.NO_REPOSITORY, r"from POST request to <>: 404 Not Found"),
)
AFTER_STATUS: Rows = (
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
    # also core/remotes/docker; not the kernel's "permission denied"
    (Kind.DENIED, r"\baccess\b[^:\n]{0,24}\bdenied\b|(?<!permission )denied(?::|$)"),
    (Kind.DENIED, r"insufficient_scope|authorization failed"),
    # session/filesync: Buildx writes the files that BuildKit sends back, on this machine
    (Kind.CLIENT_DISK_FULL, r"rpc error: code = \w+ desc = write \S+: no space left on device"),
    # the same for the files of a folder (tonistiigi/fsutil), which loses the reason
    (Kind.OUTPUT_FAILED, r"^exporting to client directory: EOF$|\berror from receiver: context canceled$"),
    # distribution, about the registry's disk; the kernel's ENOSPC in Go's syscall
    (Kind.REGISTRY_FULL, r"(?:failed to push \S+|^pushing .*): \w+: .*no space left on device"),
    (Kind.DISK_FULL, r"no space left on device"),
    # google.golang.org/protobuf, in a request of Buildx to BuildKit
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
    # distribution's code for a fault of the registry
    (Kind.SERVER_ERROR, r"(?:^|: )unavailable: |: unknown: .*\b(?:timeout|timed out)\b"),
    # containerd's core/remotes/docker, the kernel's ENOENT
    (Kind.ABSENT, r"not found|no such file|(?:blob|name|manifest) unknown"),
    # Go's net and net/http; git's
    (Kind.UNREACHABLE, r"connection refused|connection reset|i/o timeout|client\.timeout|tls handshake"),
    (Kind.UNREACHABLE, r"failed to do request: |network is unreachable|use of closed network connection|broken pipe"),
    (Kind.UNREACHABLE, r"unable to access .*(?:failed to|couldn't) connect|no route to host"),
    # the same and Go's net/http/h2_bundle.go, without the place of the error
    (Kind.DISCONNECTED, r"\btimeout\b|\bdeadline exceeded\b|\bEOF\b|\breset\b|\brefused\b|\bhttp2: |\bstream error: "),
    (Kind.DISCONNECTED, r"\bGOAWAY\b|closed pipe|cannot reuse body|server closed idle connection|bad record MAC"),
    # a cache importer that BuildKit cannot create (solver/llbsolver)
    (Kind.CACHE_UNCONFIGURED, r"failed to configure (?:gha|s3|azblob) cache importer"),
    (Kind.DISCONNECTED, r"failed to configure \S+ cache importer"),
    (Kind.NO_CACHE_KIND, r"unknown cache importer"),
)

# Matched in the end of a step's command: its exit code on the first line, the last lines of its log below.
COMMANDS: Rows = (
    (Kind.KILLED, r"^exit code: 137$"),
    # the kernel's ENOEXEC in Go's syscall; BuildKit's own emulator says `Invalid ELF image`
    (Kind.FOREIGN_PROGRAM, r"exec format error|invalid ELF image"),
    # bash' error about a carriage return; busybox' and dash's, without the text before the carriage return
    (Kind.CRLF, r"\$'\\r': command not found|^: (?:no such file or directory|not found)$"),
    # the errors of shell, kernel and runc for a script whose interpreter is absent
    (Kind.NO_INTERPRETER, r"bad interpreter|required file not found|\\r\W{0,3}: no such file"),
    (
        Kind.NO_INTERPRETER,
        r"^exec \S+: no such file or directory|exec: \"[^\"]+\": stat \S+: no such file or directory",
    ),
    (Kind.NO_INTERPRETER, r"\Aexit code: 127\n(?:.*\n)*?.*: \.{0,2}/\S+: not found$"),
    # POSIX' exit codes; runc's error without a shell
    (Kind.NO_COMMAND, r"^exit code: 127$|executable file not found in \$PATH"),
    (Kind.NOT_EXECUTABLE, r"^exit code: 126$"),
)
COMMAND_STATUSES: Mapping[int, Kind] = {401: Kind.UNAUTHORIZED, 429: Kind.THROTTLED}
# Matched in a log without names.
COMMAND_WORDS: Rows = (
    (Kind.DISK_FULL, r"no space left on device|\bENOSPC\b"),
    (Kind.BUILDER_UNPRIVILEGED, rf"runc run failed: .*{_START}"),
    # apt's error
    (Kind.CLOCK, r"release file for \S+ is not valid yet"),
    (Kind.OUT_OF_MEMORY, r"cannot allocate memory|\bout of memory\b"),
    (Kind.THROTTLED, r"\btoomanyrequests\b"),
    # errors of glibc, musl, curl, apt, busybox and Node
    (Kind.UNKNOWN_HOST, r"could not resolve host|temporary failure (?:in name resolution|resolving)|no such host\b"),
    (Kind.UNKNOWN_HOST, r"name or service not known|name does not resolve|\bbad address '|\bEAI_AGAIN\b"),
    # errors of OpenSSL, curl and Go
    (Kind.CERTIFICATE, r"certificate verify failed|self.signed certificate|x509: certificate"),
    (Kind.CERTIFICATE, r"unable to get local issuer certificate"),
)

# Errors of the SDKs of Amazon and Azure, whose stores have no repositories and no docker login.
STORE = re.compile(r"https response error StatusCode: |\bRESPONSE \d{3}: |reply status code was ")


def first(rows: Rows, text: str) -> Kind | None:
    """Return the kind of the first row whose words are in the text; None if no row's are."""
    return next((kind for kind, words in rows if re.search(words, text, _FLAGS)), None)
