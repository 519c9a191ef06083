"""The table of causes: kind of problem → the error class, whether a retry may help, and the advice.

``classify`` finds the kind of an error text. A kind without advice has no known remedy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from buildx_cache.errors import (
    BuildFailedError,
    BuildxCacheError,
    CacheError,
    DeniedError,
    EngineError,
    ExhaustedError,
    UnreachableError,
    UsageError,
)


class Kind(StrEnum):
    """The kind of a problem; ``CAUSES`` maps it to error, retry and advice."""

    UNKNOWN = "unknown"
    # The call.
    WRONG_OPTION = "wrong-option"
    NO_SSH_AGENT = "ssh-agent-absent"
    NO_SSH_KEY = "ssh-key-absent"
    NO_SSH_MOUNT = "ssh-missing"
    NO_INDEX = "index-absent"
    NO_SECRET_FILE = "secret-file-absent"  # noqa: S105 -- a kind
    NOT_ASCII = "name-not-ascii"
    ONE_PLATFORM = "manifest-list-unsupported"
    # The Dockerfile and its context.
    BAD_DOCKERFILE = "bad-dockerfile"
    NO_DOCKERFILE = "dockerfile-absent"
    NO_STAGE = "stage-absent"
    UNKNOWN_INSTRUCTION = "unknown-instruction"
    UNKNOWN_FLAG = "unknown-flag"
    NO_SECRET = "secret-missing"  # noqa: S105 -- a kind
    NO_FILE = "file-absent"
    CHECKSUM = "download-checksum"
    NO_DOWNLOAD = "download-absent"
    DOWNLOAD_DENIED = "download-denied"
    NO_FRONTEND = "frontend-absent"
    NO_PLATFORM = "platform-absent"
    NO_IMAGE = "image-absent"
    NOT_ALLOWED = "not-allowed"
    NOT_UTF8 = "not-utf8"
    TOO_MANY_LAYERS = "too-many-layers"
    GIT_DENIED = "git-denied"
    NO_GIT_REF = "git-ref-absent"
    # The engine and the builder.
    DOCKER_DENIED = "docker-denied"
    DOCKER_TLS = "docker-tls"
    DOCKER_DOWN = "docker-down"
    NO_CONTEXT = "docker-context-absent"
    API_VERSION = "docker-api-version"
    NOT_GRANTED = "not-granted"
    UNSUPPORTED = "builder-unsuitable"
    BUILDER_EXISTS = "builder-exists"
    BUILDER_GONE = "builder-gone"
    NO_BUILDER = "builder-absent"
    BUILDER_REFUSED = "builder-refused"
    BUILDER_UNUSABLE = "builder-unusable"
    BUILDER_DAMAGED = "builder-damaged"
    BUILDER_UNPRIVILEGED = "builder-unprivileged"
    SESSION_LOST = "session-lost"
    # A registry refuses.
    UNAUTHORIZED = "registry-unauthorized"
    DENIED = "registry-denied"
    LOGIN_EXPIRED = "login-expired"
    CREDENTIAL_HELPER = "credential-helper-failed"
    STORE_DENIED = "store-denied"
    NO_REPOSITORY = "repository-absent"
    TAG_IMMUTABLE = "tag-immutable"
    TOO_LARGE = "upload-too-large"
    QUOTA = "registry-quota"
    REFUSED = "registry-refused"
    ABSENT = "not-in-registry"
    # A registry or the network has a fault.
    THROTTLED = "registry-throttled"
    SERVER_ERROR = "registry-fault"
    REGISTRY_FULL = "registry-full"
    PLAIN_HTTP = "registry-plain-http"
    CERTIFICATE_EXPIRED = "registry-certificate-expired"
    CERTIFICATE = "registry-certificate"
    UNKNOWN_HOST = "host-unknown"
    DNS_FAILED = "dns-failed"
    LOOPBACK = "registry-on-loopback"
    UNREACHABLE = "registry-unreachable"
    DISCONNECTED = "disconnected"
    PROXY_DENIED = "proxy-denied"
    PROXY_DOWN = "proxy-down"
    # A cache.
    CORRUPT = "cache-damaged"
    INDEX_LOCKED = "index-locked"
    INDEX_UNUSABLE = "index-unusable"
    NO_CACHE_TAG = "no-cache-tag"
    NO_CACHE_KIND = "cache-kind-absent"
    CACHE_UNCONFIGURED = "cache-unconfigured"
    # A local resource.
    STATE_UNWRITABLE = "state-unwritable"
    CLIENT_DISK_FULL = "client-disk-full"
    OUTPUT_FAILED = "output-failed"
    DISK_FULL = "disk-full"
    BLOB_LOCKED = "blob-locked"
    OUT_OF_MEMORY = "out-of-memory"
    # A command of a step.
    KILLED = "killed"
    FOREIGN_PROGRAM = "foreign-program"
    NO_INTERPRETER = "no-interpreter"
    NO_COMMAND = "no-command"
    CRLF = "line-ends"
    CLOCK = "clock-wrong"
    NOT_EXECUTABLE = "not-executable"


@dataclass(frozen=True, kw_only=True)
class Cause:
    """The consequences of a kind of problem.

    ``error`` is the error class of the call, None if the kind alone does not decide it. ``is_passing``: a retry may
    succeed. ``in_step`` is the advice for a failed command of a step, where the cause is in the step's log.
    """

    error: type[BuildxCacheError] | None = None
    advice: str = ""
    is_passing: bool = False
    in_step: str = ""


_NO_CAUSE = Cause()
_DNS = "correct the host's name; a builder in a container uses this host's DNS only with --driver-opt network=host"
_FOLDER_IN_USE = "another build may use the folder; `buildx-cache cache verify` lists its faults"

CAUSES: Mapping[Kind, Cause] = {
    Kind.WRONG_OPTION: Cause(error=UsageError),
    Kind.NO_SSH_AGENT: Cause(
        error=UsageError,
        advice="start an agent and add a key (`ssh-agent`, `ssh-add`), or name it: --ssh default=KEYFILE",
    ),
    Kind.NO_SSH_KEY: Cause(error=UsageError, advice="correct --ssh: its key file or agent socket cannot be used"),
    Kind.NO_SSH_MOUNT: Cause(error=UsageError, advice="add --ssh default or --ssh ID=KEYFILE: a step needs SSH"),
    Kind.NO_INDEX: Cause(
        error=UsageError, advice="write manifest:KEY=VALUE: an image of one platform without attestations has no index"
    ),
    Kind.NO_SECRET_FILE: Cause(error=UsageError, advice="correct src= of --secret: the file does not exist"),
    Kind.NOT_ASCII: Cause(
        error=UsageError,
        advice="rename the folder or file, or build through a symbolic link: Buildx sends only ASCII names",
    ),
    Kind.ONE_PLATFORM: Cause(
        error=UsageError,
        advice="give one --platform, or turn on the containerd image store: the classic store takes only one",
    ),
    Kind.BAD_DOCKERFILE: Cause(error=BuildFailedError, advice="correct the Dockerfile"),
    Kind.NO_DOCKERFILE: Cause(
        error=BuildFailedError,
        advice=("name the Dockerfile with -f/--file; a symbolic link must not lead out of its folder"),
    ),
    Kind.NO_STAGE: Cause(
        error=UsageError,
        advice="correct --target: the Dockerfile's stages are the names after AS in FROM lines",
    ),
    Kind.UNKNOWN_INSTRUCTION: Cause(
        error=BuildFailedError,
        advice="correct the line; if it continues the line above, end that one with \\",
    ),
    Kind.UNKNOWN_FLAG: Cause(
        error=BuildFailedError,
        advice=("correct the flag; for a newer one, begin the Dockerfile with `# syntax=docker/dockerfile:1`"),
    ),
    Kind.NO_SECRET: Cause(
        error=UsageError,
        advice=("add --secret id=NAME,env=VARIABLE or --secret id=NAME,src=FILE: a step needs the secret"),
    ),
    Kind.NO_FILE: Cause(
        error=BuildFailedError,
        advice=("correct the path: the build context, or the stage of --from, lacks it; .dockerignore may exclude it"),
    ),
    Kind.CHECKSUM: Cause(
        error=BuildFailedError,
        advice=("change --checksum of ADD, if the file at the address changed on purpose"),
    ),
    Kind.NO_DOWNLOAD: Cause(error=BuildFailedError, advice="correct the address of ADD: the server has no such file"),
    Kind.DOWNLOAD_DENIED: Cause(
        error=DeniedError,
        advice="correct the address of ADD; if it needs a login, download in a RUN with --mount=type=secret",
    ),
    Kind.NO_FRONTEND: Cause(
        error=BuildFailedError,
        advice="correct or remove the Dockerfile's `# syntax` line: its image does not exist",
    ),
    Kind.NO_PLATFORM: Cause(
        error=BuildFailedError,
        advice="change --platform, or the image in FROM: it exists only for other platforms",
    ),
    Kind.NO_IMAGE: Cause(
        error=BuildFailedError,
        advice=("correct the image's name in FROM or COPY --from: the registry has no such image or tag"),
    ),
    Kind.NOT_ALLOWED: Cause(
        error=BuildFailedError,
        advice=("add --allow network.host or --allow security.insecure: a step needs that right"),
    ),
    Kind.NOT_UTF8: Cause(
        error=BuildFailedError,
        advice="rename the file, or encode the value in UTF-8: BuildKit takes nothing else",
    ),
    Kind.TOO_MANY_LAYERS: Cause(
        error=BuildFailedError,
        advice="join RUN lines, or COPY --from a stage: the image store limits the number of layers",
    ),
    Kind.GIT_DENIED: Cause(
        error=DeniedError,
        advice=(
            "log in to the git server: add --secret id=GIT_AUTH_TOKEN,env=NAME, or --ssh default for an SSH address"
        ),
    ),
    Kind.NO_GIT_REF: Cause(
        error=BuildFailedError,
        advice="correct the part after #: the repository has no such branch, tag, commit or folder",
    ),
    Kind.DOCKER_DENIED: Cause(
        error=EngineError, advice="add this user to the group docker, or use sudo: Docker denies it access"
    ),
    Kind.DOCKER_TLS: Cause(
        error=EngineError,
        advice="check DOCKER_CERT_PATH and DOCKER_HOST: engine and client do not trust each other's certificates",
    ),
    Kind.DOCKER_DOWN: Cause(
        error=EngineError, advice="start Docker; check DOCKER_HOST, and the context that `docker context ls` marks"
    ),
    Kind.NO_CONTEXT: Cause(error=EngineError, advice="`docker context ls` lists the Docker contexts"),
    Kind.API_VERSION: Cause(
        error=EngineError,
        advice="upgrade the docker command or the engine, whichever is older; unset DOCKER_API_VERSION",
    ),
    Kind.NOT_GRANTED: Cause(
        error=EngineError,
        advice="make a builder that grants the right: --buildkitd-flags '--allow-insecure-entitlement NAME'",
    ),
    Kind.UNSUPPORTED: Cause(
        error=EngineError,
        advice=("use --driver docker-container, or turn on the engine's containerd image store"),
    ),
    Kind.BUILDER_GONE: Cause(
        error=EngineError,
        advice=("read the log of the builder's container: it may have run out of memory, or another job removed it"),
    ),
    Kind.NO_BUILDER: Cause(error=EngineError, advice="`docker buildx ls` lists the builders"),
    Kind.BUILDER_REFUSED: Cause(error=EngineError),
    Kind.BUILDER_UNUSABLE: Cause(
        error=EngineError,
        advice="look at the builder with `docker buildx inspect`, or remove it with `docker buildx rm`",
    ),
    Kind.BUILDER_DAMAGED: Cause(
        error=EngineError,
        advice=(
            "empty the builder's damaged cache: `docker buildx prune --all`; or remove the builder: `docker buildx rm`"
        ),
    ),
    Kind.BUILDER_UNPRIVILEGED: Cause(
        error=EngineError,
        advice="run the builder with --privileged, or set up rootless BuildKit: it lacks the rights to start a step",
        in_step=("run the builder with --privileged, or set up rootless BuildKit: it lacks the rights to start a step"),
    ),
    Kind.SESSION_LOST: Cause(
        error=EngineError,
        is_passing=True,
        advice="run it again; if it stays, check the builder's load and the network between",
    ),
    Kind.UNAUTHORIZED: Cause(
        error=DeniedError,
        advice="log in with --username and --password-env, or `docker login`; check that the account may do this",
        in_step="a server asks for a login (see the log): pass it with --secret and `RUN --mount=type=secret`",
    ),
    Kind.DENIED: Cause(
        error=DeniedError,
        advice="check the repository's name, and that the account may write (push) or read (FROM) it",
    ),
    Kind.LOGIN_EXPIRED: Cause(
        error=DeniedError,
        advice="log in right before the build; for a long build, use a login that lasts longer",
    ),
    Kind.CREDENTIAL_HELPER: Cause(
        error=DeniedError,
        advice=("install the helper that Docker's config.json names in credsStore or credHelpers, or remove the entry"),
    ),
    Kind.STORE_DENIED: Cause(
        error=DeniedError, advice="check this step's credentials for the cache's store, and their permissions"
    ),
    Kind.NO_REPOSITORY: Cause(
        error=DeniedError,
        advice="create the repository in the registry, or correct its name",
    ),
    Kind.TAG_IMMUTABLE: Cause(
        error=DeniedError,
        advice="push another tag: this one is immutable; for a cache, name a mutable repository with --cache-ref",
    ),
    Kind.TOO_LARGE: Cause(
        error=DeniedError,
        advice="raise the upload limit of the registry, or of the proxy before it (nginx: client_max_body_size)",
    ),
    Kind.QUOTA: Cause(error=DeniedError, advice="raise the registry's quota, or delete images there"),
    Kind.REFUSED: Cause(error=DeniedError),
    Kind.ABSENT: _NO_CAUSE,
    Kind.THROTTLED: Cause(
        error=UnreachableError,
        is_passing=True,
        advice="log in to raise the registry's limit of requests, or try again later",
        in_step=(
            "a server limits requests (see the log): log in there with --secret, use a mirror, or try again later"
        ),
    ),
    Kind.SERVER_ERROR: Cause(
        error=UnreachableError,
        is_passing=True,
        advice="try again later, or ask the server's operators: it has a fault or is overloaded",
    ),
    Kind.REGISTRY_FULL: Cause(
        error=UnreachableError, is_passing=True, advice="ask the registry's operators: its disk is full"
    ),
    Kind.PLAIN_HTTP: Cause(
        error=UnreachableError,
        advice="set `http = true` in --buildkitd-config, or Docker's insecure-registries: the server speaks plain HTTP",
    ),
    Kind.CERTIFICATE_EXPIRED: Cause(
        error=UnreachableError,
        advice="renew the server's certificate, or correct the clock of the builder's machine",
    ),
    Kind.CERTIFICATE: Cause(
        error=UnreachableError,
        advice=(
            "add the certificate's CA to --buildkitd-config or Docker's certs.d folder: the builder does not trust it"
        ),
        in_step=("a certificate is not trusted (see the log): install ca-certificates, or COPY your CA into the image"),
    ),
    Kind.UNKNOWN_HOST: Cause(
        error=UnreachableError,
        advice=_DNS,
        in_step="a host's name was not found (see the log): correct it, or use this host's DNS with --network host",
    ),
    Kind.DNS_FAILED: Cause(error=UnreachableError, is_passing=True, advice=_DNS),
    Kind.LOOPBACK: Cause(
        error=UnreachableError,
        advice=(
            "check that a server listens there; a builder in a container reaches it only with --driver-opt network=host"
        ),
    ),
    Kind.UNREACHABLE: Cause(
        error=UnreachableError,
        is_passing=True,
        advice="check the address and the network; a builder in a container has its own network",
    ),
    Kind.DISCONNECTED: _NO_CAUSE,
    Kind.PROXY_DENIED: Cause(
        error=DeniedError,
        advice="give the proxy's login in HTTPS_PROXY, or name the registry's host in NO_PROXY",
    ),
    Kind.PROXY_DOWN: Cause(
        error=UnreachableError,
        is_passing=True,
        advice=("correct the proxy in HTTPS_PROXY or NO_PROXY; for a made builder: --driver-opt env.https_proxy=URL"),
    ),
    Kind.CORRUPT: Cause(
        advice=(
            "drop the builder's damaged copy with `docker buildx prune --all`; if that does not "
            "help, the registry's is damaged"
        ),
    ),
    Kind.INDEX_LOCKED: Cause(error=CacheError, advice=_FOLDER_IN_USE),
    Kind.INDEX_UNUSABLE: Cause(error=CacheError, advice=_FOLDER_IN_USE),
    Kind.NO_CACHE_TAG: _NO_CAUSE,
    Kind.NO_CACHE_KIND: Cause(
        error=CacheError,
        advice="use --driver docker-container with a current BuildKit: this builder lacks that type of cache",
    ),
    Kind.CACHE_UNCONFIGURED: Cause(
        error=CacheError, advice="correct the cache entry, or this step's credentials and addresses for it"
    ),
    Kind.STATE_UNWRITABLE: Cause(
        error=ExhaustedError,
        advice="set BUILDX_CONFIG to a folder that this user can write: Buildx keeps its state there",
    ),
    Kind.CLIENT_DISK_FULL: Cause(
        error=ExhaustedError, advice="free space on the disk of that file, or write it elsewhere"
    ),
    Kind.OUTPUT_FAILED: Cause(
        error=ExhaustedError,
        advice="check the output folder's free space and permissions",
    ),
    Kind.DISK_FULL: Cause(
        error=ExhaustedError,
        advice="free disk space: `docker buildx prune`, `docker system prune`, or a larger machine",
        in_step="a disk is full (see the log): `docker buildx prune`, `docker system prune`, or a larger machine",
    ),
    Kind.BLOB_LOCKED: Cause(
        error=ExhaustedError,
        is_passing=True,
        advice="try again, or give each job its own builder: another build loads the same layer",
    ),
    Kind.OUT_OF_MEMORY: Cause(
        error=ExhaustedError,
        advice="let the step do less at once, such as `make -j2`, or use a machine with more memory",
        in_step=(
            "too little memory (see the log): let the step do less at once, such as `make -j2`, or use a larger machine"
        ),
    ),
    Kind.KILLED: Cause(
        in_step=(
            "killed, likely out of memory: let the step do less at once, such as `make -j2`, or use a larger machine"
        ),
    ),
    Kind.FOREIGN_PROGRAM: Cause(
        in_step=(
            "the program is for another platform: change --platform, or install an emulator, such as tonistiigi/binfmt"
        ),
    ),
    Kind.NO_INTERPRETER: Cause(
        in_step=("the image lacks the file or its interpreter; a script's lines must end with LF, not CRLF")
    ),
    Kind.NO_COMMAND: Cause(
        in_step="the command is not in the image: install it in an earlier RUN, or use a base image that has it"
    ),
    Kind.CRLF: Cause(
        in_step=("save the Dockerfile and its scripts with LF, not CRLF, line ends (.gitattributes: * text eol=lf)"),
    ),
    Kind.CLOCK: Cause(
        in_step="the clock is wrong (see the log): correct the clock of the builder's machine, and build again",
    ),
    Kind.NOT_EXECUTABLE: Cause(
        in_step=(
            "the file is not executable: copy it with `COPY --chmod=755`, or name its interpreter, as in `RUN sh FILE`"
        ),
    ),
    Kind.BUILDER_EXISTS: _NO_CAUSE,
    Kind.UNKNOWN: _NO_CAUSE,
}
