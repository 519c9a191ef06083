"""The table of causes, by real texts: what each means, the exit code of the call, if it is tried again, what helps.

Texts are what the engines of the integration tests said (containerd's and the classic image store), or stand in the
named thread; names are ours. Each is given with the vertex that failed.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass

import pytest

from buildx_cache.buildkit.causes import CAUSES, Kind
from buildx_cache.buildkit.events import LogEvent, TextLine, VertexEvent
from buildx_cache.buildkit.failure import diagnose, failure
from buildx_cache.buildkit.trace import BuildTrace
from buildx_cache.buildkit.trace_builder import TraceBuilder

IMAGE = "exporting to image"
PUSH = "pushing r.example/team/app:1 with docker"
CACHE = "exporting cache to registry"
BASE = "[internal] load metadata for r.example/team/base:1"
FAILED = "failed to push r.example/team/app:1: "
PUT = "unexpected status from PUT request to https://r.example/v2/team/app/manifests/1: "
POST = "unexpected status from POST request to https://r.example/v2/team/app/blobs/uploads/: "
HEAD = "unexpected status from HEAD request to https://r.example/v2/team/base/manifests/1: "
SHA = f"sha256:{'a' * 64}"
COMMIT = 'failed commit on ref "index-sha256:00a4": '
NGINX = (
    "<html>\r\n<head><title>413 Request Entity Too "
    "Large</title></head>\r\n<body>\r\n<center><h1>413 Request Entity Too "
    "Large</h1></center>\r\n<hr><center>nginx/1.22.1</center>\r\n</body>\r\n</html>\r\n"
)
NO_REPOSITORY = "The repository with name 'team/app' does not exist in the registry with id '123456789012'"
IMMUTABLE = (
    "The image tag '1' already exists in the 'team/app' repository and cannot be overwritten because the tag is "
    "immutable."
)


@dataclass(frozen=True, kw_only=True)
class Row:
    """A text of a vertex (of Buildx itself without one), and what BuildKit tried again for by itself before."""

    vertex: str
    words: str
    kind: Kind
    code: int
    again: str = ""
    """What is done again: pull, push or export."""
    retried: str = ""
    says: str = ""
    """A part of the advice; none without it."""


ROWS = {
    # --- a registry refuses ---
    "404 NAME_UNKNOWN": Row(
        vertex=IMAGE,
        words=f"{FAILED}unknown: {NO_REPOSITORY}",
        kind=Kind.NO_REPOSITORY,
        code=4,
        says="create the repository",
    ),
    "404 NAME_UNKNOWN, classic store": Row(
        vertex=PUSH,
        words=f"name unknown: {NO_REPOSITORY}",
        kind=Kind.NO_REPOSITORY,
        code=4,
        says="create the repository",
    ),
    "404 NAME_UNKNOWN of a cache": Row(
        vertex=CACHE,
        words=f"error writing layer blob: {POST}404 Not Found\nunknown: {NO_REPOSITORY}",
        kind=Kind.NO_REPOSITORY,
        code=7,
        says="create the repository",
    ),
    "404 with a page": Row(
        vertex=IMAGE,
        words=f"{FAILED}{POST}404 Not Found: <html><head><title>404 Not Found</title></head></html>",
        kind=Kind.NO_REPOSITORY,
        code=4,
        says="correct its name",
    ),
    "404 BLOB_UNKNOWN": Row(
        vertex=IMAGE, words=f"{FAILED}unknown: blob unknown to registry", kind=Kind.REFUSED, code=4
    ),
    "404 of a blob, docker/buildx#196": Row(
        vertex=IMAGE,
        words='failed commit on ref "config-sha256:bed2": unexpected status: 404 Not Found',
        kind=Kind.REFUSED,
        code=4,
    ),
    "400 TAG_INVALID": Row(
        vertex=IMAGE, words=f"{FAILED}unknown: {IMMUTABLE}", kind=Kind.TAG_IMMUTABLE, code=4, says="another tag"
    ),
    "400 TAG_INVALID, classic store": Row(
        vertex=PUSH, words=f"tag invalid: {IMMUTABLE}", kind=Kind.TAG_IMMUTABLE, code=4, says="--cache-ref"
    ),
    "400 TAG_INVALID, moby/buildkit#3776": Row(
        vertex=IMAGE, words=f"tag invalid: {IMMUTABLE}", kind=Kind.TAG_IMMUTABLE, code=4, says="another tag"
    ),
    "400 TAG_INVALID of a cache": Row(
        vertex=CACHE,
        words=f"error writing manifest blob: {COMMIT}{PUT}400 Bad Request\nunknown: {IMMUTABLE}",
        kind=Kind.TAG_IMMUTABLE,
        code=7,
        says="--cache-ref",
    ),
    "412 of Harbor": Row(
        vertex=IMAGE,
        words=f"{FAILED}unknown: Failed to process request due to 'team/app:1' configured as immutable.",
        kind=Kind.TAG_IMMUTABLE,
        code=4,
        says="another tag",
    ),
    "400 MANIFEST_INVALID": Row(vertex=IMAGE, words=f"{FAILED}unknown: manifest invalid", kind=Kind.REFUSED, code=4),
    "400 MANIFEST_INVALID, classic store": Row(vertex=PUSH, words="manifest invalid", kind=Kind.REFUSED, code=4),
    "400 DIGEST_INVALID": Row(
        vertex=IMAGE,
        words=f"{FAILED}unknown: provided digest did not match uploaded content",
        kind=Kind.REFUSED,
        code=4,
    ),
    "400 of a base image": Row(vertex=BASE, words=f"{HEAD}400 Bad Request", kind=Kind.REFUSED, code=4),
    "405": Row(vertex=IMAGE, words=f"{FAILED}unsupported", kind=Kind.REFUSED, code=4),
    "405, classic store": Row(vertex=PUSH, words="unsupported", kind=Kind.REFUSED, code=4),
    "405 of a cache": Row(
        vertex=CACHE,
        words=f"error writing layer blob: {POST}405 Method Not Allowed\nunsupported",
        kind=Kind.REFUSED,
        code=7,
    ),
    "409": Row(vertex=IMAGE, words=f"{FAILED}unknown: conflict", kind=Kind.REFUSED, code=4),
    "413": Row(
        vertex=IMAGE,
        words=f"{FAILED}{POST}413 Request Entity Too Large: {NGINX}",
        kind=Kind.TOO_LARGE,
        code=4,
        says="client_max_body_size",
    ),
    "413, classic store": Row(
        vertex=PUSH, words=f"unknown: {NGINX}", kind=Kind.TOO_LARGE, code=4, says="client_max_body_size"
    ),
    "413, docker/buildx#1179": Row(
        vertex=IMAGE,
        words="failed to copy: unexpected status: 413 Request Entity Too Large",
        kind=Kind.TOO_LARGE,
        code=4,
        says="client_max_body_size",
    ),
    "413, goharbor/harbor#15823": Row(
        vertex=PUSH,
        words=(
            f"error parsing HTTP 413 response body: invalid character '<' looking for beginning of value: \"{NGINX}\""
        ),
        kind=Kind.TOO_LARGE,
        code=4,
        says="client_max_body_size",
    ),
    "415, classic store": Row(vertex=PUSH, words="manifest invalid: unsupported media type", kind=Kind.REFUSED, code=4),
    "422": Row(vertex=IMAGE, words=f"{FAILED}unknown: something is wrong with it", kind=Kind.REFUSED, code=4),
    "451 of a base image": Row(
        vertex=BASE, words=f"{HEAD}451 Unavailable For Legal Reasons", kind=Kind.REFUSED, code=4
    ),
    "quota, goharbor/harbor#17390": Row(
        vertex=IMAGE,
        words=(
            f"{FAILED}denied: adding 29.0 MiB of storage resource, which when updated to current usage of "
            "152.4 MiB will "
            "exceed the configured upper limit of 10.0 MiB."
        ),
        kind=Kind.QUOTA,
        code=4,
        says="quota",
    ),
    "quota, docker/build-push-action#586": Row(
        vertex=PUSH,
        words="denied: registry contains 1 repositories, limit is 1",
        kind=Kind.QUOTA,
        code=4,
        says="quota",
    ),
    "403": Row(
        vertex=IMAGE,
        words=f"{FAILED}denied: requested access to the resource is denied",
        kind=Kind.DENIED,
        code=4,
        says="the account may write",
    ),
    "403 of Amazon S3": Row(
        vertex="exporting cache to Amazon S3",
        words="operation error S3: PutObject, https response error StatusCode: 403, RequestID: 1, api error x",
        kind=Kind.STORE_DENIED,
        code=7,
        says="credentials",
    ),
    "no credentials for Amazon S3": Row(
        vertex="exporting cache to Amazon S3",
        words="operation error S3: HeadObject, failed to refresh cached credentials, no EC2 IMDS role found",
        kind=Kind.STORE_DENIED,
        code=7,
        says="credentials",
    ),
    "an importer that the builder does not have": Row(
        vertex="",
        words="ERROR: unknown cache importer: s3",
        kind=Kind.NO_CACHE_KIND,
        code=7,
        says="lacks that type of cache",
    ),
    "an importer that cannot be made": Row(
        vertex="",
        words="ERROR: failed to configure gha cache importer: token is malformed: too few segments",
        kind=Kind.CACHE_UNCONFIGURED,
        code=7,
        says="correct the cache entry",
    ),
    # --- a registry has a fault: BuildKit leaves the status out of a push's error ---
    **{
        f"{status} with a code": Row(
            vertex=IMAGE,
            words=f"{FAILED}{words}",
            retried=f"error: {COMMIT}{PUT}{status} x\n{words}\nretrying in 4s\n",
            kind=kind,
            code=5,
            again="push",
            says=says,
        )
        for status, words, kind, says in (
            (500, "unknown: repository does not exist", Kind.SERVER_ERROR, "the server's operators"),
            (501, "unsupported: not implemented", Kind.SERVER_ERROR, "the server's operators"),
            (503, "unavailable: service unavailable", Kind.SERVER_ERROR, "the server's operators"),
            (507, "unknown", Kind.REGISTRY_FULL, "its disk is full"),
            (508, "unknown: loop", Kind.SERVER_ERROR, "the server's operators"),
        )
    },
    **{
        f"{status} with a page": Row(
            vertex=IMAGE,
            words=f"{FAILED}{PUT}{status} : error code: {status}",
            kind=Kind.SERVER_ERROR,
            code=5,
            again="push",
            says="the server's operators",
        )
        for status in range(520, 531)
    },
    "501, classic store": Row(
        vertex=PUSH,
        words="received unexpected HTTP status: 501 Not Implemented",
        kind=Kind.SERVER_ERROR,
        code=5,
        again="push",
        says="the server's operators",
    ),
    "503 UNAVAILABLE": Row(
        vertex=IMAGE,
        words=f"{FAILED}unavailable: service unavailable",
        kind=Kind.SERVER_ERROR,
        code=5,
        again="push",
        says="the server's operators",
    ),
    "408": Row(
        vertex=IMAGE,
        words=f"{FAILED}unknown: request timeout",
        kind=Kind.SERVER_ERROR,
        code=5,
        again="push",
        says="the server's operators",
    ),
    "a registry's full disk": Row(
        vertex=IMAGE,
        words=f"{FAILED}unknown: filesystem: write /var/lib/registry/x: no space left on device",
        kind=Kind.REGISTRY_FULL,
        code=5,
        again="push",
        says="its disk is full",
    ),
    # --- the network ---
    **{
        f"{words} of a push": Row(
            vertex=IMAGE, words=f"{FAILED}{words}", kind=Kind.UNREACHABLE, code=5, again="push", says="the network"
        )
        for words in (
            'failed to do request: Put "https://r.example/v2/team/app/blobs/uploads/1": EOF',
            "failed to copy: unexpected EOF",
            'failed to copy: failed to do request: Put "https://r.example/v2/team/app": http2: client connection lost',
            "failed to copy: stream error: stream ID 5; INTERNAL_ERROR; received from peer",
            "failed to copy: http2: server sent GOAWAY and closed the connection; LastStreamID=9, ErrCode=NO_ERROR",
            "failed to copy: io: read/write on closed pipe",  # docker/build-push-action#761
            "failed to copy: cannot reuse body, request must be retried",  # docker/build-push-action#626
            (
                'failed to do request: Put "https://r.example/v2": write tcp 172.17.0.2:5->10.0.0.3:443: write: '
                "broken pipe"
            ),
            "failed to copy: context deadline exceeded",
        )
    },
    "unexpected EOF, classic store": Row(
        vertex=PUSH, words="unexpected EOF", kind=Kind.UNREACHABLE, code=5, again="push", says="the network"
    ),
    "no such host": Row(
        vertex=IMAGE,
        words=(
            f'{FAILED}failed to do request: Head "https://r.example/v2/x": dial tcp: lookup r.example on '
            "10.0.0.53:53: no "
            "such host"
        ),
        kind=Kind.UNKNOWN_HOST,
        code=5,
        says="the host's name",
    ),
    "a resolver without an answer": Row(
        vertex=IMAGE,
        words=(
            f'{FAILED}failed to do request: Head "https://r.example/v2/x": dial tcp: lookup r.example: '
            "server misbehaving"
        ),
        kind=Kind.DNS_FAILED,
        code=5,
        again="push",
        says="the host's name",
    ),
    "a loopback where nothing listens": Row(
        vertex=IMAGE,
        words=(
            f'{FAILED}failed to do request: Head "http://localhost:5/v2/": dial tcp 127.0.0.1:5: connect: '
            "connection refused"
        ),
        kind=Kind.LOOPBACK,
        code=5,
        says="--driver-opt network=host",
    ),
    # --- a base image ---
    **{
        f"{words} of a base image": Row(vertex=BASE, words=words, kind=kind, code=5, again="pull", says=says)
        for words, kind, says in (
            (f"{HEAD}502 Bad Gateway", Kind.SERVER_ERROR, "the server's operators"),
            (f"{HEAD}503 Service Unavailable", Kind.SERVER_ERROR, "the server's operators"),
            (f"{HEAD}429 Too Many Requests", Kind.THROTTLED, "limit of requests"),
            (
                (
                    "failed to authorize: failed to fetch oauth token: unexpected status from GET request to "
                    "https://r.example/token?scope=x: 504 Gateway Timeout"
                ),
                Kind.SERVER_ERROR,
                "the server's operators",
            ),
        )
    },
    "a frontend image": Row(
        vertex="resolve image config for docker-image://docker.io/docker/dockerfile:1",
        words="unexpected status from HEAD request to https://registry.example/v2/x: 503 Service Unavailable",
        kind=Kind.SERVER_ERROR,
        code=5,
        again="pull",
        says="the server's operators",
    ),
    # --- the call: what the docker CLI and Buildx say before BuildKit is asked, and what BuildKit says of options ---
    **{
        words: Row(vertex="", words=f"ERROR: {words}", kind=Kind.WRONG_OPTION, code=2)
        for words in (
            "unexpected key 'foo' in 'foo=bar'",
            'unsupported secret type "bogus"',
            "invalid value foo",
            "invalid context value: foo, expected key=value",
            'invalid key-value pair "=x": empty key',
            "docker: 'docker buildx build' requires 1 argument",
            "failed to build: secret missing ID",
            "failed to build: invalid host foo",
            "failed to build: unknown entitlement bogus",
            'failed to build: parse annotations: unknown annotation type "bogus"',
            "failed to build: failed to get build context foo: stat /nonexistent: no such file or directory",
            (
                'failed to build: network mode "bogus" not supported by buildkit - you can define a custom '
                "network for your "
                "builder using the network driver-opt in buildx create"
            ),
            'failed to build: failed to solve: unknown attestation type "bogus"',
            'failed to build: failed to solve: exporter "bogus" could not be found',
            'failed to build: failed to solve: invalid mode "bogus"',
            "failed to build: failed to solve: unsupported request frontend.bogus: unsupported request frontend.bogus",
        )
    },
    "secret file": Row(
        vertex="",
        words="ERROR: failed to build: failed to stat /nonexistent: stat /nonexistent: no such file or directory",
        kind=Kind.NO_SECRET_FILE,
        code=2,
        says="--secret",
    ),
    "ssh agent": Row(
        vertex="",
        words=(
            "ERROR: failed to build: failed to convert agent config {default [] false}: invalid empty ssh "
            "agent socket: "
            "make sure SSH_AUTH_SOCK is set"
        ),
        kind=Kind.NO_SSH_AGENT,
        code=2,
        says="ssh-agent",
    ),
    "ssh key": Row(
        vertex="",
        words=(
            "ERROR: failed to build: failed to convert agent config {default [/nonexistent] false}: failed "
            "to convert agent "
            'config for ID: "default": stat /nonexistent: no such file or directory'
        ),
        kind=Kind.NO_SSH_KEY,
        code=2,
        says="correct --ssh",
    ),
    "ssh mount": Row(
        vertex="[stage-0 2/2] RUN --mount=type=ssh,required=true true",
        words="unset ssh forward key default",
        kind=Kind.NO_SSH_MOUNT,
        code=2,
        says="--ssh default",
    ),
    "index annotation": Row(
        vertex=IMAGE,
        words="index annotations not supported for single platform export",
        kind=Kind.NO_INDEX,
        code=2,
        says="manifest:",
    ),
    # --- the Dockerfile ---
    **{
        words: Row(
            vertex="",
            words=f"ERROR: failed to build: failed to solve: {words}",
            kind=Kind.BAD_DOCKERFILE,
            code=1,
            says="correct the Dockerfile",
        )
        for words in (
            "dockerfile parse error on line 1: FROM requires either one or three arguments",
            "base name (${NOPE}) should not be blank",
            "unterminated heredoc",
            "file with no instructions",
            (
                'failed to parse stage name "foo/Bar:1": invalid reference format: repository name (foo/Bar) '
                "must be lowercase"
            ),
            'unsupported mount type "bogus"',
            "circular dependency detected on stage: stage-0",
            'failed to parse platform foo: "foo": unknown operating system or architecture: invalid argument',
        )
    },
    "no Dockerfile": Row(
        vertex="",
        words=(
            "ERROR: failed to build: failed to solve: failed to read dockerfile: open nowhere: no such file "
            "or directory"
        ),
        kind=Kind.NO_DOCKERFILE,
        code=1,
        says="-f/--file",
    ),
    "401 of ADD": Row(
        vertex="[stage-0 2/2] ADD http://r.example/v2/ /x",
        words="failed to load cache key: invalid response status 401",
        kind=Kind.DOWNLOAD_DENIED,
        code=4,
        says="the address of ADD",
    ),
    "404 of ADD": Row(
        vertex="[stage-0 2/2] ADD http://r.example/nope /x",
        words="failed to load cache key: invalid response status 404",
        kind=Kind.NO_DOWNLOAD,
        code=1,
        says="the address of ADD",
    ),
    # --- the builder ---
    "an engine with another CA": Row(
        vertex="",
        words=(
            'ERROR: error during connect: Get "https://docker:2376/v1.51/info": tls: failed to verify certificate: '
            "x509: certificate signed by unknown authority"
        ),
        kind=Kind.DOCKER_TLS,
        code=3,
        says="DOCKER_CERT_PATH",
    ),
    "a builder that does not answer": Row(
        vertex="",
        words="ERROR: failed to build: context deadline exceeded",
        kind=Kind.BUILDER_UNUSABLE,
        code=3,
        says="inspect",
    ),
    "a state folder that is read-only": Row(
        vertex="",
        words=(
            "ERROR: failed to update builder last activity time: open /h/.docker/buildx/activity/.tmp-a1: "
            "read-only file system"
        ),
        kind=Kind.STATE_UNWRITABLE,
        code=6,
        says="BUILDX_CONFIG",
    ),
    "a container that is paused": Row(
        vertex="",
        words="ERROR: Error response from daemon: Container x is paused, unpause the container before exec",
        kind=Kind.BUILDER_UNUSABLE,
        code=3,
        says="inspect",
    ),
    "docker/buildx#3555": Row(
        vertex="",
        words=(
            "ERROR: Error response from daemon: client version 1.41 is too old. Minimum supported API version is 1.44, "
            "please upgrade your client to a newer version"
        ),
        kind=Kind.API_VERSION,
        code=3,
        says="DOCKER_API_VERSION",
    ),
    "docker/build-push-action#1102": Row(
        vertex="",
        words="ERROR: attestations are not supported by the current buildkitd",
        kind=Kind.UNSUPPORTED,
        code=3,
        says="docker-container",
    ),
    "docker/build-push-action#1157": Row(
        vertex="",
        words="ERROR: docker exporter does not currently support exporting manifest lists",
        kind=Kind.ONE_PLATFORM,
        code=2,
        says="one --platform",
    ),
    "docker/buildx#3972": Row(
        vertex="",
        words=(
            "ERROR: failed to dial gRPC: rpc error: code = Internal desc = rpc error: code = Internal desc = header "
            'key "x-docker-expose-session-sharedkey" contains value with non-printable ASCII characters'
        ),
        kind=Kind.NOT_ASCII,
        code=2,
        says="rename",
    ),
    "docker/build-push-action#1058": Row(
        vertex="[internal] load build context",
        words=(
            "rpc error: code = Internal desc = rpc error: code = Internal desc = header key "
            '"followpaths" contains value with non-printable ASCII characters'
        ),
        kind=Kind.NOT_ASCII,
        code=2,
        says="rename",
    ),
    "docker/buildx#3793": Row(
        vertex="",
        words=(
            'ERROR: failed to build: failed to solve: could not parse oci-layout reference "x:@sha256:1": '
            "invalid reference format"
        ),
        kind=Kind.WRONG_OPTION,
        code=2,
    ),
    "SOURCE_DATE_EPOCH that is no number": Row(
        vertex="",
        words=(
            'ERROR: failed to build: failed to solve: invalid source-date-epoch: strconv.ParseInt: parsing "yesterday":'
            " invalid syntax"
        ),
        kind=Kind.WRONG_OPTION,
        code=2,
    ),
    "moby/buildkit#732": Row(
        vertex="",
        words="ERROR: failed to solve: failed to read dockerfile: open Dockerfile: no such file or directory",
        kind=Kind.NO_DOCKERFILE,
        code=1,
        says="symbolic link",
    ),
    "a Dockerfile without a line": Row(
        vertex="",
        words="ERROR: failed to solve: the Dockerfile cannot be empty",
        kind=Kind.BAD_DOCKERFILE,
        code=1,
        says="correct the Dockerfile",
    ),
    # --- logins, proxies and git ---
    "docker/buildx#2395": Row(
        vertex="resolve image config for docker-image://docker.io/docker/dockerfile:1",
        words="error getting credentials - err: exit status 1, out: ``",
        kind=Kind.CREDENTIAL_HELPER,
        code=4,
        says="credsStore",
    ),
    "a credential helper that is not installed": Row(
        vertex=IMAGE,
        words=(
            f'{FAILED}error getting credentials - err: exec: "docker-credential-desktop": executable file not found in '
            "$PATH, out: ``"
        ),
        kind=Kind.CREDENTIAL_HELPER,
        code=4,
        says="credsStore",
    ),
    "aws-samples/ecs-bg-external-controller#13": Row(
        vertex=IMAGE,
        words=f"{FAILED}denied: Your authorization token has expired. Reauthenticate and try again.",
        kind=Kind.LOGIN_EXPIRED,
        code=4,
        says="right before the build",
    ),
    "a proxy that is not there, docker/buildx#2667": Row(
        vertex=BASE,
        words=(
            'failed to do request: Head "https://r.example/v2/x": proxyconnect tcp: dial tcp 10.0.0.1:1080: connect: '
            "connection refused"
        ),
        kind=Kind.PROXY_DOWN,
        code=5,
        again="pull",
        says="NO_PROXY",
    ),
    "a proxy that wants a login": Row(
        vertex=BASE,
        words='failed to do request: Head "https://r.example/v2/x": Proxy Authentication Required',
        kind=Kind.PROXY_DENIED,
        code=4,
        says="HTTPS_PROXY",
    ),
    **{
        f"git, {thread}": Row(
            vertex="[internal] load git source https://git.example/o/r.git#main",
            words=f"{words}\n: exit status 128",
            kind=Kind.GIT_DENIED,
            code=4,
            says="GIT_AUTH_TOKEN",
        )
        for thread, words in (
            (
                "docker/build-push-action#1457",
                (
                    "failed to fetch remote https://git.example/o/r.git: git stderr:\nfatal: could not read Username "
                    "for 'https://git.example': terminal prompts disabled"
                ),
            ),
            (
                "docker/build-push-action#1450",
                (
                    "error fetching default branch for repository https://git.example/o/r.git: git stderr:\nfatal: "
                    "could not read Username for 'https://git.example/': terminal prompts disabled"
                ),
            ),
            (
                "a host key",
                (
                    "failed to fetch remote ssh://git@git.example/o/r.git: git stderr:\nHost key verification failed.\n"
                    "fatal: Could not read from remote repository."
                ),
            ),
        )
    },
    "a branch that git does not know": Row(
        vertex="[internal] load git source https://git.example/o/r.git#nope",
        words='repository does not contain ref nope, output: ""',
        kind=Kind.NO_GIT_REF,
        code=1,
        says="branch",
    ),
    "a folder that the commit does not have": Row(
        vertex="",
        words=(
            "ERROR: failed to build: failed to solve: invalid subdir /nosuch: failed to lstat "
            '"nosuch": statat nosuch: no such file or directory'
        ),
        kind=Kind.NO_GIT_REF,
        code=1,
        says="folder",
    ),
    "moby/buildkit#3067": Row(
        vertex="[131/131] RUN true",
        words="failed to prepare 07ym8x71tqpv65df4qoie4nxw as ay6ud5nlz9biaritc0kxk0e86: max depth exceeded",
        kind=Kind.TOO_MANY_LAYERS,
        code=1,
        says="join RUN lines",
    ),
    "several platforms in an archive": Row(
        vertex="",
        words="ERROR: docker exporter does not support exporting manifest lists, use the oci exporter instead",
        kind=Kind.ONE_PLATFORM,
        code=2,
        says="one --platform",
    ),
    # --- the builder's own store, and its rights ---
    **{
        thread: Row(vertex=vertex, words=words, kind=Kind.BUILDER_DAMAGED, code=3, says="prune")
        for thread, vertex, words in (
            (
                "moby/buildkit#6521",
                IMAGE,
                (
                    f'failed to prepare extraction snapshot "extract-8-eUiw {SHA}": parent snapshot {SHA} does not '
                    "exist: not found"
                ),
            ),
            (
                "moby/buildkit#4024",
                "[stage-0 2/2] COPY a /",
                f"failed to mount /path: parent snapshot {SHA} does not exist: not found",
            ),
            (
                "moby/buildkit#6977",
                "[stage-0 2/2] COPY a /",
                f"failed to apply diffs: failed to stat lower snapshot x: snapshot {SHA} does not exist: not found",
            ),
            (
                "moby/buildkit#1937",
                "[stage-0 2/2] COPY a /",
                'failed to get record sfx1 by blobchainid: failed to remove sfx1: lease "sfx1": not found',
            ),
            ("moby/buildkit#4449", "[stage-0 2/2] COPY a /", f"blob {SHA}: blob not found"),
        )
    },
    "moby/buildkit#2631": Row(
        vertex=IMAGE, words=f"content digest {SHA}: not found", kind=Kind.CORRUPT, code=1, says="prune"
    ),
    "moby/buildkit#1491": Row(
        vertex=BASE,
        words=f"ref layer-{SHA} locked: unavailable",
        kind=Kind.BLOB_LOCKED,
        code=6,
        again="pull",
        says="try again",
    ),
    "moby/buildkit#1491, a newer builder": Row(
        vertex=BASE,
        words=f"ref layer-{SHA} locked for 1.2s (since 2026-01-02 03:04:05 +0000 UTC): unavailable",
        kind=Kind.BLOB_LOCKED,
        code=6,
        again="pull",
        says="try again",
    ),
    "moby/buildkit#6422": Row(
        vertex=BASE,
        words="failed to authorize: no active session for 946l7u9cqtl3kkur5pifuipi4: context deadline exceeded",
        kind=Kind.SESSION_LOST,
        code=3,
        again="pull",
        says="the builder's load",
    ),
    "a layer that needs more subordinate IDs": Row(
        vertex="[stage-0 1/2] FROM r.example/a:1",
        words=(
            "failed to extract layer: lchown /etc/x: invalid argument (Hint: try increasing the number of subordinate "
            "IDs in /etc/subuid and /etc/subgid): unknown"
        ),
        kind=Kind.BUILDER_UNPRIVILEGED,
        code=3,
        says="rootless",
    ),
    "moby/buildkit#2408": Row(
        vertex="exporting cache to client directory",
        words=(
            f'error writing layer blob: failed commit on ref "layer-{SHA}": commit failed: rename /c/ingest/1/data '
            "/c/blobs/sha256/1: no such file or directory: unknown"
        ),
        kind=Kind.INDEX_UNUSABLE,
        code=7,
        says="another build",
    ),
    # --- unknown: no advice, of whatever it is ---
    "unknown of a push": Row(vertex=IMAGE, words=f"{FAILED}it broke", kind=Kind.UNKNOWN, code=1),
    "unknown of a solve": Row(
        vertex="", words="ERROR: failed to build: failed to solve: it broke", kind=Kind.UNKNOWN, code=1
    ),
    "unknown of a step": Row(vertex="[stage-0 2/2] COPY a /", words="it broke", kind=Kind.UNKNOWN, code=1),
}


def traced(*parts: tuple[str, str], text: str = "", log: str = "") -> BuildTrace:
    """A build whose vertices ended so one after another, each a name and its error."""
    builder = TraceBuilder()
    for number, (name, error) in enumerate(parts):
        digest = f"sha256:{number}"
        builder.add(
            VertexEvent(digest=digest, name=name, inputs=(), started=1.0, completed=None, cached=False, error="")
        )
        if log and error:
            builder.add(LogEvent(vertex=digest, stream=2, encoded=base64.b64encode(log.encode()).decode()))
        builder.add(
            VertexEvent(digest=digest, name=name, inputs=(), started=1.0, completed=2.0, cached=False, error=error)
        )
    last = parts[-1][1] if parts else ""
    for line in (text or f"ERROR: failed to build: failed to solve: {last}").split("\n"):
        builder.add(TextLine(text=line))
    return builder.trace()


def trace_of(row: Row) -> BuildTrace:
    if not row.vertex:
        return traced(text=row.words)
    return traced(("[internal] load build definition", ""), (row.vertex, row.words), log=row.retried)


@pytest.mark.parametrize("name", ROWS)
def test_a_real_text_has_its_cause(name: str) -> None:
    row = ROWS[name]
    failed, error = failure(trace_of(row)), diagnose(trace_of(row), 1)
    assert (failed.problem.kind, error.exit_code) == (row.kind, row.code), error.message
    assert (failed.work if failed.problem.retryable else None) == (row.again or None)
    assert row.says in error.hint
    assert bool(error.hint) is (bool(row.says) or row.code == 7)


def test_every_kind_has_a_row() -> None:
    assert set(CAUSES) == set(Kind)


def test_only_the_dockerfile_and_its_steps_are_mended() -> None:
    assert [kind for kind, cause in CAUSES.items() if "correct the Dockerfile" in cause.advice.split(";")] == [
        Kind.BAD_DOCKERFILE
    ]


@pytest.mark.parametrize("words", ["unknown flag: --bogus", 'invalid argument "nofile=bogus" for "--ulimit" flag: x'])
def test_what_the_docker_command_says_of_the_call(words: str) -> None:
    usage = "\n\nUsage:  docker buildx build [OPTIONS] PATH | URL | -\n\nRun 'docker buildx build --help'"
    error = diagnose(traced(text=f"WARNING: x\n{words}{usage}"), 125)
    assert (error.exit_code, error.message, error.hint) == (2, words, "")


def test_a_base_image_that_cannot_be_had_is_named() -> None:
    assert diagnose(traced((BASE, f"{HEAD}502 Bad Gateway")), 1).message.startswith("r.example/team/base:1: ")


def test_a_page_is_told_by_its_title() -> None:
    error = diagnose(traced((PUSH, f"unknown: {NGINX}")), 1)
    assert error.message == "unknown: 413 Request Entity Too Large"


LAYER = (
    "failed to copy: httpReadSeeker: failed open: unexpected status code https://r.example/v2/a/blobs/sha256:1: 503 x"
)


@pytest.mark.parametrize(
    ("vertex", "words", "work"),
    [
        ("[stage-0 1/2] FROM r.example/a:1", LAYER, "pull"),
        ("[stage-0 2/2] RUN make", LAYER, "pull"),
        ("[stage-0 2/2] RUN make", f'process "/bin/sh -c {LAYER}" did not complete successfully: exit code: 1', None),
        ("[stage-0 2/2] ADD http://a.example/x /", "failed to load cache key: invalid response status 503", None),
    ],
    ids=["base", "layer-that-a-step-needs", "step", "download"],
)
def test_a_pull_is_done_again_but_no_step(vertex: str, words: str, work: str | None) -> None:
    assert failure(traced((vertex, words))).work == work


def test_a_host_that_was_found_before_is_looked_up_again() -> None:
    lost = ROWS["no such host"].words
    found = failure(traced(("[internal] load metadata for r.example/team/base:1", ""), (IMAGE, lost)))
    assert (found.problem.kind, found.problem.retryable, found.work) == (Kind.DNS_FAILED, True, "push")
    other = failure(traced(("[internal] load metadata for other.example/team/base:1", ""), (IMAGE, lost)))
    assert other.problem.kind is Kind.UNKNOWN_HOST


@pytest.mark.parametrize(
    "words",
    [
        "Error response from daemon: get buildx_buildkit_builder0_state: no such volume",  # docker/buildx#2102
        "Error response from daemon: platform unknown not supported",  # docker/cli#3982
        "exec /usr/bin/buildctl: exec format error",  # docker/setup-buildx-action#313
    ],
)
def test_a_builder_that_does_not_boot_is_no_wrong_call(words: str) -> None:
    error = diagnose(traced(("[internal] booting buildkit", words), text=f"ERROR: {words}"), 1)
    assert (error.exit_code, error.code) == (3, "builder-unusable")


def test_a_boot_of_the_builder_is_no_question_to_buildkit() -> None:
    trace = traced(("[internal] booting buildkit", ""), text="ERROR: invalid value foo")
    assert diagnose(trace, 1).exit_code == 2
