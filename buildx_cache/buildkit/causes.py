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
_FOLDER_IN_USE = "another build may use the folder; `buildx-cache cache verify` tells what is wrong with it"

CAUSES: Mapping[Kind, Cause] = {
    Kind.WRONG_OPTION: Cause(error=UsageError),
    Kind.NO_SSH_AGENT: Cause(
        error=UsageError,
        advice="start an agent and add a key (`ssh-agent`, `ssh-add`), or name it: --ssh default=KEYFILE",
    ),
    Kind.NO_SSH_KEY: Cause(error=UsageError, advice="--ssh names a key file or an agent's socket that cannot be used"),
    Kind.NO_SSH_MOUNT: Cause(
        error=UsageError, advice="a step uses SSH, and the call gives it none: add --ssh default, or --ssh ID=KEYFILE"
    ),
    Kind.NO_INDEX: Cause(
        error=UsageError, advice="an image of one platform without attestations has no index: write manifest:KEY=VALUE"
    ),
    Kind.NO_SECRET_FILE: Cause(error=UsageError, advice="--secret names a file that is not there: correct its src="),
    Kind.NOT_ASCII: Cause(
        error=UsageError,
        advice="the name goes over in ASCII alone: rename the folder or file, or build by a link with such a name",
    ),
    Kind.ONE_PLATFORM: Cause(
        error=UsageError,
        advice="the classic image store takes one platform: give one --platform, or turn on the containerd image store",
    ),
    Kind.BAD_DOCKERFILE: Cause(error=BuildFailedError, advice="mend the Dockerfile"),
    Kind.NO_DOCKERFILE: Cause(
        error=BuildFailedError,
        advice=(
            "the context has no such Dockerfile, or a link out of its folder: name the one there is with -f/--file"
        ),
    ),
    Kind.NO_STAGE: Cause(
        error=UsageError,
        advice="--target names no stage of the Dockerfile: its stages are what stands after AS in FROM lines",
    ),
    Kind.UNKNOWN_INSTRUCTION: Cause(
        error=BuildFailedError,
        advice="no instruction begins like that line: correct it, or end the line before it with \\ if it goes on",
    ),
    Kind.UNKNOWN_FLAG: Cause(
        error=BuildFailedError,
        advice=(
            "the Dockerfile frontend does not know the flag: correct it, or begin with `# syntax=docker/dockerfile:1`"
        ),
    ),
    Kind.NO_SECRET: Cause(
        error=UsageError,
        advice=(
            "a step needs a secret that was not given: add --secret id=NAME,env=VARIABLE or --secret id=NAME,src=FILE"
        ),
    ),
    Kind.NO_FILE: Cause(
        error=BuildFailedError,
        advice=(
            "correct the path: it is not in the context (a line of .dockerignore may hide it), or not where --from is"
        ),
    ),
    Kind.CHECKSUM: Cause(
        error=BuildFailedError,
        advice=(
            "what was downloaded is not what --checksum of ADD says: if the file changed on purpose, change --checksum"
        ),
    ),
    Kind.NO_DOWNLOAD: Cause(error=BuildFailedError, advice="nothing is at the address of ADD: correct it"),
    Kind.DOWNLOAD_DENIED: Cause(
        error=DeniedError,
        advice="correct the address of ADD; with a login, download it in a RUN that mounts it: --mount=type=secret",
    ),
    Kind.NO_FRONTEND: Cause(
        error=BuildFailedError,
        advice="the frontend image of the Dockerfile's `# syntax` line does not exist: correct the line, or remove it",
    ),
    Kind.NO_PLATFORM: Cause(
        error=BuildFailedError,
        advice="the image exists, but not for this platform: change --platform, or take another image or tag in FROM",
    ),
    Kind.NO_IMAGE: Cause(
        error=BuildFailedError,
        advice=(
            "the registry has no such image or tag: correct the name in FROM or COPY --from, or the build argument "
            "in it"
        ),
    ),
    Kind.NOT_ALLOWED: Cause(
        error=BuildFailedError,
        advice=(
            "a step asks for a right that this call does not give: add --allow network.host or --allow "
            "security.insecure"
        ),
    ),
    Kind.NOT_UTF8: Cause(
        error=BuildFailedError,
        advice="a name or a value is no UTF-8, and BuildKit takes nothing else: rename the file, or encode the value",
    ),
    Kind.TOO_MANY_LAYERS: Cause(
        error=BuildFailedError,
        advice="the image has more layers than its store takes: join RUN lines, or COPY --from a stage what is wanted",
    ),
    Kind.GIT_DENIED: Cause(
        error=DeniedError,
        advice=(
            "the git server wants a login: --secret id=GIT_AUTH_TOKEN,env=NAME; or --ssh default, where the address "
            "is one of SSH"
        ),
    ),
    Kind.NO_GIT_REF: Cause(
        error=BuildFailedError,
        advice="the repository has no such branch, tag, commit or folder: correct what stands after #",
    ),
    Kind.DOCKER_DENIED: Cause(
        error=EngineError, advice="this user may not talk to Docker: add the user to the group docker, or use sudo"
    ),
    Kind.DOCKER_TLS: Cause(
        error=EngineError,
        advice="the engine and this host do not trust each other: check DOCKER_CERT_PATH and DOCKER_HOST",
    ),
    Kind.DOCKER_DOWN: Cause(
        error=EngineError, advice="start Docker; check DOCKER_HOST, and the context that `docker context ls` marks"
    ),
    Kind.NO_CONTEXT: Cause(error=EngineError, advice="`docker context ls` lists those there are"),
    Kind.API_VERSION: Cause(
        error=EngineError,
        advice="upgrade the older of the two, the docker command or the engine; unset DOCKER_API_VERSION if it is set",
    ),
    Kind.NOT_GRANTED: Cause(
        error=EngineError,
        advice="the builder does not grant it: make one with --buildkitd-flags '--allow-insecure-entitlement NAME'",
    ),
    Kind.UNSUPPORTED: Cause(
        error=EngineError,
        advice=(
            "this builder cannot do that: use --driver docker-container, or turn on the engine's containerd image store"
        ),
    ),
    Kind.BUILDER_GONE: Cause(
        error=EngineError,
        advice=(
            "the builder stopped during the build: out of memory, or removed by another job; its container's log tells"
        ),
    ),
    Kind.NO_BUILDER: Cause(error=EngineError, advice="`docker buildx ls` lists the builders there are"),
    Kind.BUILDER_REFUSED: Cause(error=EngineError),
    Kind.BUILDER_UNUSABLE: Cause(
        error=EngineError,
        advice="look at the builder with `docker buildx inspect`, or remove it with `docker buildx rm`",
    ),
    Kind.BUILDER_DAMAGED: Cause(
        error=EngineError,
        advice=(
            "the builder has lost what its own cache names: `docker buildx prune --all`, or `docker buildx rm` and a "
            "new one"
        ),
    ),
    Kind.BUILDER_UNPRIVILEGED: Cause(
        error=EngineError,
        advice="the builder lacks the rights to start a step: run it --privileged, or set up as rootless BuildKit asks",
        in_step=(
            "the builder lacks the rights to start a step: run it --privileged, or set up as rootless BuildKit asks"
        ),
    ),
    Kind.SESSION_LOST: Cause(
        error=EngineError,
        is_passing=True,
        advice="the builder lost the connection to this call: it may be overloaded, or a network between cut it",
    ),
    Kind.UNAUTHORIZED: Cause(
        error=DeniedError,
        advice="log in with --username and --password-env, or `docker login`; check that the account may do this",
        in_step="its log tells of a server that wants a login: give one with --secret and `RUN --mount=type=secret`",
    ),
    Kind.DENIED: Cause(
        error=DeniedError,
        advice="check the repository's name, and that the account may write (push) or read (FROM) it",
    ),
    Kind.LOGIN_EXPIRED: Cause(
        error=DeniedError,
        advice="log in right before the build; where that takes longer than the login lasts, use one that lasts longer",
    ),
    Kind.CREDENTIAL_HELPER: Cause(
        error=DeniedError,
        advice=(
            "install the program that credsStore or credHelpers of Docker's config.json names, or take it out of there"
        ),
    ),
    Kind.STORE_DENIED: Cause(
        error=DeniedError, advice="check the credentials that this step has for the cache's store, and what they allow"
    ),
    Kind.NO_REPOSITORY: Cause(
        error=DeniedError,
        advice="the registry has no such repository: create it there first, or correct the name and the address",
    ),
    Kind.TAG_IMMUTABLE: Cause(
        error=DeniedError,
        advice="the tag exists and may not change: push another tag; keep a cache in a mutable repository: --cache-ref",
    ),
    Kind.TOO_LARGE: Cause(
        error=DeniedError,
        advice="the registry, or the proxy before it, limits uploads (nginx: client_max_body_size): raise that limit",
    ),
    Kind.QUOTA: Cause(error=DeniedError, advice="the quota there is used up: delete what is not needed, or raise it"),
    Kind.REFUSED: Cause(error=DeniedError),
    Kind.ABSENT: _NO_CAUSE,
    Kind.THROTTLED: Cause(
        error=UnreachableError,
        is_passing=True,
        advice="the registry limits requests: log in to raise the limit, or try again later",
        in_step=(
            "its log tells of a server that limits requests: log in there with --secret, use a mirror, or try again "
            "later"
        ),
    ),
    Kind.SERVER_ERROR: Cause(
        error=UnreachableError,
        is_passing=True,
        advice="the server has a fault, or is too busy: try again later, or ask those who run it",
    ),
    Kind.REGISTRY_FULL: Cause(
        error=UnreachableError, is_passing=True, advice="the registry's own disk is full: ask those who run it"
    ),
    Kind.PLAIN_HTTP: Cause(
        error=UnreachableError,
        advice="the server speaks plain HTTP: `http = true` in --buildkitd-config, or Docker's insecure-registries",
    ),
    Kind.CERTIFICATE_EXPIRED: Cause(
        error=UnreachableError,
        advice="the server's certificate is not valid today: renew it, or set the clock of the builder's machine",
    ),
    Kind.CERTIFICATE: Cause(
        error=UnreachableError,
        advice=(
            "the builder does not trust the certificate: name its CA in --buildkitd-config, or in Docker's certs.d "
            "folder"
        ),
        in_step=(
            "its log tells of a certificate that is not trusted: install ca-certificates, or COPY your CA into the "
            "image"
        ),
    ),
    Kind.UNKNOWN_HOST: Cause(
        error=UnreachableError,
        advice=_DNS,
        in_step="its log tells of a host's name that was not found: correct it, or the step's DNS, with --network host",
    ),
    Kind.DNS_FAILED: Cause(error=UnreachableError, is_passing=True, advice=_DNS),
    Kind.LOOPBACK: Cause(
        error=UnreachableError,
        advice=(
            "nothing listens there; a builder in a container has its own loopback, but with --driver-opt network=host"
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
        advice="the proxy wants a login: give it in HTTPS_PROXY, or name the registry's host in NO_PROXY",
    ),
    Kind.PROXY_DOWN: Cause(
        error=UnreachableError,
        is_passing=True,
        advice=(
            "the builder's proxy fails: correct HTTPS_PROXY or NO_PROXY (a made builder's: "
            "--driver-opt env.https_proxy=URL)"
        ),
    ),
    Kind.CORRUPT: Cause(
        advice=(
            "a layer is lost or changed: `docker buildx prune --all` drops the builder's copy; if it stays so, the "
            "registry's is"
        ),
    ),
    Kind.INDEX_LOCKED: Cause(error=CacheError, advice=_FOLDER_IN_USE),
    Kind.INDEX_UNUSABLE: Cause(error=CacheError, advice=_FOLDER_IN_USE),
    Kind.NO_CACHE_TAG: _NO_CAUSE,
    Kind.NO_CACHE_KIND: Cause(
        error=CacheError, advice="this builder has no such cache: use --driver docker-container with a current BuildKit"
    ),
    Kind.CACHE_UNCONFIGURED: Cause(
        error=CacheError, advice="correct the entry, and what this step has for it: credentials, addresses"
    ),
    Kind.STATE_UNWRITABLE: Cause(
        error=ExhaustedError,
        advice="Buildx keeps its state there: set BUILDX_CONFIG to a folder that this user can write",
    ),
    Kind.CLIENT_DISK_FULL: Cause(
        error=ExhaustedError, advice="the disk of that file is full: free space there, or have it written elsewhere"
    ),
    Kind.OUTPUT_FAILED: Cause(
        error=ExhaustedError,
        advice="the output's folder could not be written: is its disk full, or may this user not write there?",
    ),
    Kind.DISK_FULL: Cause(
        error=ExhaustedError,
        advice="free disk space: `docker buildx prune`, `docker system prune`, or a larger machine",
        in_step="its log tells of a full disk: `docker buildx prune`, `docker system prune`, or a larger machine",
    ),
    Kind.BLOB_LOCKED: Cause(
        error=ExhaustedError,
        is_passing=True,
        advice="another build of this builder loads the same layer: try again, or give each job its own builder",
    ),
    Kind.OUT_OF_MEMORY: Cause(
        error=ExhaustedError,
        advice="the step ran out of memory: let it do less at once, such as `make -j2`, or take a larger machine",
        in_step=(
            "its log tells of too little memory: let it do less at once, such as `make -j2`, or take a larger machine"
        ),
    ),
    Kind.KILLED: Cause(
        in_step=(
            "it was killed, likely out of memory: let it do less at once, such as `make -j2`, or take a larger machine"
        ),
    ),
    Kind.FOREIGN_PROGRAM: Cause(
        in_step=(
            "its program is for another platform: change --platform, or install an emulator, such as tonistiigi/binfmt"
        ),
    ),
    Kind.NO_INTERPRETER: Cause(
        in_step=(
            "the file is not in the image, or its interpreter is not: a script must have LF, not CRLF, at the end of "
            "lines"
        )
    ),
    Kind.NO_COMMAND: Cause(
        in_step="the command is not in the image: install it in a RUN before, or take a base image that has it"
    ),
    Kind.CRLF: Cause(
        in_step=(
            "lines of it end with CRLF: save the Dockerfile and its scripts with LF (.gitattributes: * text eol=lf)"
        ),
    ),
    Kind.CLOCK: Cause(
        in_step="its log tells of a wrong clock: set that of the builder's machine, and build again",
    ),
    Kind.NOT_EXECUTABLE: Cause(
        in_step=(
            "the file is not executable: copy it with `COPY --chmod=755`, or name its interpreter, as in `RUN sh FILE`"
        ),
    ),
    Kind.BUILDER_EXISTS: _NO_CAUSE,
    Kind.UNKNOWN: _NO_CAUSE,
}
