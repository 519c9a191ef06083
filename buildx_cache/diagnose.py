"""Why a build failed: from BuildKit's last words to the error with the right exit code, and what to do about it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from buildx_cache.errors import (
    BuildFailedError,
    BuildxCacheError,
    CacheError,
    DeniedError,
    EngineError,
    ExhaustedError,
    UnreachableError,
)
from buildx_cache.progress import BuildTrace, Step
from buildx_cache.redaction import redact
from buildx_cache.wording import bounded

_STEP_FAILED = re.compile(r"process .* did not complete successfully: (?P<ending>.*)", re.DOTALL)
_EXIT_CODE = re.compile(r"exit code: \d+")

# `Print` of BuildKit's solver/errdefs/source.go.
_EXCERPT = re.compile(r"^(?P<place>\S.*:\d+)\n-{20}(?P<lines>(?:\n *\d+ \|.*)+)", re.MULTILINE)

_UNREACHABLE = (
    r"connection refused|connection reset|i/o timeout|client\.timeout|tls handshake|network is unreachable"
    r"|unexpected status.{0,60}\b5\d\d\b|\b50[0234]\b"
    r"|failed to do request: |unable to access .*(?:failed to|couldn't) connect"
    r"|use of closed network connection|broken pipe|failed to push \S+: unknown\b"
)


@dataclass(frozen=True, kw_only=True)
class Cause:
    """What words mean: the error of a build that ends with them; what is wrong in plain English, and what to do."""

    pattern: re.Pattern[str]
    error: type[BuildxCacheError]
    hint: str


def _causes(*rows: tuple[str, type[BuildxCacheError], str]) -> tuple[Cause, ...]:
    flags = re.IGNORECASE | re.MULTILINE
    return tuple(Cause(pattern=re.compile(words, flags), error=error, hint=hint) for words, error, hint in rows)


# BuildKit's and Buildx' own words, each with the upstream file that says them. First match wins: those that quote a
# name or a path stand first, so that what these contain is not taken for a cause. Never asked about a step's command.
_CAUSES = _causes(
    (  # frontend/dockerfile/dockerfile2llb/convert.go
        r"target stage \"[^\"]*\" could not be found",
        BuildFailedError,
        "--target names no stage of the Dockerfile: its stages are what stands after AS in FROM lines",
    ),
    (  # frontend/dockerfile/instructions/parse.go
        r"parse error (?:on )?line \d+: unknown instruction:",
        BuildFailedError,
        "no instruction begins like that line: correct it, or end the line before it with \\ if it goes on",
    ),
    (  # frontend/dockerfile/instructions/bflag.go
        r"parse error (?:on )?line \d+: unknown flag:",
        BuildFailedError,
        "the Dockerfile frontend does not know the flag: correct it, or begin with `# syntax=docker/dockerfile:1`",
    ),
    (  # session/secrets/secrets.go
        r"secret \S+(?: not found)?: not found",
        BuildFailedError,
        "a step needs a secret that was not given: add --secret id=NAME,env=VARIABLE or --secret id=NAME,src=FILE",
    ),
    (  # solver/llbsolver/result.go and cache/contenthash/checksum.go
        r"failed to (?:calculate checksum of ref \S+|compute cache key): \"[^\"]*\": not found",
        BuildFailedError,
        "the path is not there: correct it; a line of .dockerignore may hide it, then add `!PATH` below",
    ),
    (  # source/http/source.go, of ADD --checksum
        r"\bdigest mismatch (?:for \S+: )?sha\d+:",
        BuildFailedError,
        "what was downloaded is not what --checksum of ADD says: if the file changed on purpose, change --checksum",
    ),
    (  # solver/llbsolver/bridge.go, asked by the gateway that runs the frontend
        r"resolve image config for \S+: .*(?:not found|manifest unknown)",
        BuildFailedError,
        "the frontend image of the Dockerfile's `# syntax` line does not exist: correct the line, or remove it",
    ),
    (  # containerd's core/images/image.go
        r"no match for platform in manifest",
        BuildFailedError,
        "the image exists, but not for this platform: change --platform, or take another image or tag in FROM",
    ),
    (  # frontend/dockerfile/dockerfile2llb/convert.go; containerd's core/remotes/docker/resolver.go
        r"(?:load metadata for|failed to resolve source metadata for) \S+: .*(?:: not found|manifest unknown)",
        BuildFailedError,
        "the registry has no such image or tag: correct the name in FROM or COPY --from, or the build argument in it",
    ),
    (  # util/entitlements/entitlements.go: the builder's configuration
        r"granting entitlement \S+ is not allowed",
        EngineError,
        "the builder does not grant it: make one with --buildkitd-flags '--allow-insecure-entitlement NAME'",
    ),
    (  # util/entitlements/entitlements.go: the call
        r"(?:network\.host|security\.insecure) is not allowed",
        BuildFailedError,
        "a step asks for a right that this call does not give: add --allow network.host or --allow security.insecure",
    ),
    (  # build/utils.go of Buildx
        r"is not supported for the \S+ driver",
        EngineError,
        "this builder cannot do that: use --driver docker-container, or turn on the engine's containerd image store",
    ),
    (  # client/request.go of Moby
        r"permission denied while trying to connect to the docker",
        EngineError,
        "this user may not talk to Docker: add the user to the group docker, or use sudo",
    ),
    (  # client/errors.go and daemon/errors.go of Moby; gRPC's internal/transport/http2_client.go
        r"error reading from server: |transport is closing|closing transport|code = Unavailable|no such container: ",
        EngineError,
        "the builder stopped during the build: out of memory, or removed by another job; its container's log tells",
    ),
    (  # containerd's core/remotes/docker
        r"unauthorized|authentication required|no basic auth credentials|\b401\b",
        DeniedError,
        "log in with --username and --password-env, or `docker login`; check that the account may do this",
    ),
    (  # containerd's core/remotes/docker
        r"access.{0,12}denied|denied:|: denied$|insufficient_scope|403 forbidden|\b403\b",
        DeniedError,
        "check the repository's name, and that the account may write (push) or read (FROM) it",
    ),
    (  # session/filesync: what BuildKit sends back is written by Buildx, on this machine
        r"rpc error: code = \w+ desc = write \S+: no space left on device",
        ExhaustedError,
        "the disk of that file is full: free space there, or have it written elsewhere",
    ),
    (  # the same of a folder's files (tonistiigi/fsutil), whose reason gets lost on the way
        r"^exporting to client directory: EOF$|\berror from receiver: context canceled$",
        ExhaustedError,
        "the output's folder could not be written: is its disk full, or may this user not write there?",
    ),
    (  # the kernel's ENOSPC in Go's syscall; a registry's 507
        r"no space left on device|507 insufficient storage",
        ExhaustedError,
        "free disk space: `docker buildx prune`, `docker system prune`, or a larger machine",
    ),
    (  # google.golang.org/protobuf, of what Buildx asks of BuildKit
        r"string field contains invalid UTF-8",
        BuildFailedError,
        "a name or a value is no UTF-8, and BuildKit takes nothing else: rename the file, or encode the value",
    ),
    (  # executor/runcexecutor: the kernel killed a process of the step for its memory (moby/buildkit#5260)
        r"cannot allocate memory",
        ExhaustedError,
        "the step ran out of memory: let it do less at once, such as `make -j2`, or take a larger machine",
    ),
    (  # containerd's core/remotes/docker
        r"toomanyrequests|too many requests|\b429\b",
        UnreachableError,
        "the registry limits requests: log in to raise the limit, or try again later",
    ),
    (  # Go's net/http/transport.go
        r"server gave http response to https client",
        UnreachableError,
        "the server speaks plain HTTP: `http = true` in --buildkitd-config, or Docker's insecure-registries",
    ),
    (  # Go's crypto/x509/verify.go
        r"x509: certificate has expired",
        UnreachableError,
        "the server's certificate is not valid today: renew it, or set the clock of the builder's machine",
    ),
    (  # Go's crypto/x509/verify.go
        r"x509:",
        UnreachableError,
        "the builder does not trust the certificate: name its CA in --buildkitd-config, or in Docker's certs.d folder",
    ),
    (  # Go's net/dnsclient.go
        r"no such host|temporary failure in name resolution|could not resolve host|lookup \S+.*: server misbehaving",
        UnreachableError,
        "the host's name was not found: correct it, or let the builder use this host's DNS: --driver-opt network=host",
    ),
    (  # Go's net and net/http
        _UNREACHABLE,
        UnreachableError,
        "check the registry's address and the network; a builder in a container has a network of its own",
    ),
    (  # client/ociindex/ociindex.go
        r"could not (?:lock|unmarshal|read|write) .*index\.json",
        CacheError,
        "another build may use the folder; `buildx-cache cache verify` tells what is wrong with it",
    ),
    (  # builder and driver of Buildx
        r"failed to (?:list workers|boot builder)|no builder .* found|could not create a builder",
        EngineError,
        "look at the builder with `docker buildx inspect`, or remove it with `docker buildx rm`",
    ),
)
_ANYTHING_ELSE = Cause(pattern=re.compile(""), error=BuildFailedError, hint="mend the Dockerfile or the build context")

# The exit code of a RUN on a line, and the last lines of its log below. The build has failed by its own command.
_COMMAND_CAUSES = _causes(
    (
        r"^exit code: 137$",
        BuildFailedError,
        "it was killed, likely out of memory: let it do less at once, such as `make -j2`, or take a larger machine",
    ),
    (  # the kernel's ENOEXEC in Go's syscall; BuildKit's own emulator says `Invalid ELF image`
        r"exec format error|invalid ELF image",
        BuildFailedError,
        "its program is for another platform: change --platform, or install an emulator, such as tonistiigi/binfmt",
    ),
    (  # the shell's, the kernel's and runc's words for a script whose interpreter is not there
        (
            r"bad interpreter|required file not found|\\r\W{0,3}: no such file|^exec \S+: no such file or directory"
            r"|exec: \"[^\"]+\": stat \S+: no such file or directory"
            r"|\Aexit code: 127\n(?:.*\n)*?.*: \.{0,2}/\S+: not found$"
        ),
        BuildFailedError,
        "the file is not in the image, or its interpreter is not: a script must have LF, not CRLF, at the end of lines",
    ),
    (  # POSIX' exit code; runc's words where no shell is
        r"^exit code: 127$|executable file not found in \$PATH",
        BuildFailedError,
        "the command is not in the image: install it in a RUN before, or take a base image that has it",
    ),
    (  # POSIX' exit code
        r"^exit code: 126$",
        BuildFailedError,
        "the file is not executable: copy it with `COPY --chmod=755`, or name its interpreter, as in `RUN sh FILE`",
    ),
    (
        r"no space left on device|\bENOSPC\b",
        BuildFailedError,
        "its log tells of a full disk: `docker buildx prune`, `docker system prune`, or a larger machine",
    ),
    (
        r"cannot allocate memory|\bout of memory\b",
        BuildFailedError,
        "its log tells of too little memory: let it do less at once, such as `make -j2`, or take a larger machine",
    ),
    (
        r"429:? too many requests|toomanyrequests|\b(?:error|status|code|http)\W{1,3}429\b",
        BuildFailedError,
        "its log tells of a server that limits requests: log in there with --secret, use a mirror, or try again later",
    ),
    (
        r"\b401:? unauthorized",
        BuildFailedError,
        "its log tells of a server that wants a login: give one with --secret and `RUN --mount=type=secret`",
    ),
    (  # glibc's, musl's, curl's, apt's, busybox' and Node's words
        (
            r"could not resolve host|temporary failure (?:in name resolution|resolving)|name or service not known"
            r"|name does not resolve|\bbad address '|no such host\b|\bEAI_AGAIN\b"
        ),
        BuildFailedError,
        "its log tells of a host's name that was not found: correct it, or the step's DNS, with --network host",
    ),
    (  # OpenSSL's, curl's and Go's words
        r"certificate verify failed|self.signed certificate|unable to get local issuer certificate|x509: certificate",
        BuildFailedError,
        "its log tells of a certificate that is not trusted: install ca-certificates, or COPY your CA into the image",
    ),
)
_ANY_OTHER_COMMAND = Cause(
    pattern=re.compile(""), error=BuildFailedError, hint="the end of its log is below; nothing was pushed"
)


def find_cause(words: str) -> Cause | None:
    """What the words of BuildKit or Docker mean, if they are known."""
    return _first(_CAUSES, bounded(words))


def diagnose(trace: BuildTrace, code: int) -> BuildxCacheError:
    """The error for a build that ended with ``code``, not zero."""
    words = bounded(redact(trace.error)) or f"docker buildx build ended with code {code}"
    step = trace.failed
    if step and (match := _STEP_FAILED.search(words)):
        return _command_failed(step, match["ending"], trace.log_tail)
    if any(transfer.kind == "cache-export" and transfer.error for transfer in trace.transfers) and not step:
        known = find_cause(words)
        hint = known.hint if known else "drop --strict-cache to go on without"
        return CacheError(f"the cache could not be written: {_short(words)}", hint=hint)
    cause = find_cause(f"{_doing(trace)}{words}") or _ANYTHING_ELSE
    where = f"{_name(step)}: " if step and cause.error is BuildFailedError else ""
    return cause.error(f"{where}{_short(words)}", hint=cause.hint)


def source_excerpt(trace: BuildTrace) -> tuple[str, ...]:
    """Where in the Dockerfile a build failed, as Buildx prints it, without its rules; empty if it does not tell.

    ``Dockerfile:7``, then the lines around it, such as ``   7 | >>> RUN make``.
    """
    matches = _EXCERPT.finditer("\n".join(trace.text))
    return tuple(line for match in matches for line in (match["place"], *match["lines"].split("\n")[1:]))


def _command_failed(step: Step, ending: str, log: tuple[str, ...]) -> BuildxCacheError:
    """The error for a RUN: its own failure if it exited, whatever its log says; else what BuildKit says of it."""
    exited = _EXIT_CODE.match(ending)
    cause = _first(_COMMAND_CAUSES, "\n".join((ending, *log))) if exited else find_cause(ending)
    known = cause or _ANY_OTHER_COMMAND
    return known.error(f"{_name(step)}: {ending}", hint=known.hint)


def _first(causes: tuple[Cause, ...], words: str) -> Cause | None:
    return next((cause for cause in causes if cause.pattern.search(words)), None)


def _doing(trace: BuildTrace) -> str:
    """What BuildKit did when it failed, which its words leave out; a step's name is not BuildKit's own."""
    if trace.failed:
        return ""
    return next((f"{name}: " for name, error in trace.errors if error and error == trace.error), "")


def _name(step: Step) -> str:
    line = redact(" ".join(step.name.split()))
    return f"[{step.stage}] {line}" if step.stage else line


def _short(words: str) -> str:
    """BuildKit's chain of causes in one line, without the part that only says it was asked to build."""
    line = " ".join(words.split())
    return re.sub(r"^(?:ERROR: )?(?:failed to build: )?(?:failed to solve: )?", "", line)
