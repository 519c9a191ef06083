"""Why a build or a login failed: from a ``Problem`` to the error with the right exit code, and what to do about it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from buildx_cache.buildkit import BuildTrace, Kind, Problem, Step, classify, classify_command, command_ending
from buildx_cache.errors import (
    BuildFailedError,
    BuildxCacheError,
    CacheError,
    DeniedError,
    EngineError,
    ExhaustedError,
    UnreachableError,
)
from buildx_cache.formatting import bounded
from buildx_cache.reference import HUB_KEY

# `Print` of BuildKit's solver/errdefs/source.go.
_EXCERPT = re.compile(r"^(?P<place>\S.*:\d+)\n-{20}(?P<lines>(?:\n *\d+ \|.*)+)", re.MULTILINE)

# The error of a build that ends with a problem of a kind, and what to do about it. Other kinds have no advice.
_ADVICE: Mapping[type[BuildxCacheError], Mapping[Kind, str]] = {
    BuildFailedError: {
        Kind.NO_STAGE: "--target names no stage of the Dockerfile: its stages are what stands after AS in FROM lines",
        Kind.UNKNOWN_INSTRUCTION: (
            "no instruction begins like that line: correct it, or end the line before it with \\ if it goes on"
        ),
        Kind.UNKNOWN_FLAG: (
            "the Dockerfile frontend does not know the flag: correct it, or begin with `# syntax=docker/dockerfile:1`"
        ),
        Kind.NO_SECRET: (
            "a step needs a secret that was not given: add --secret id=NAME,env=VARIABLE or --secret id=NAME,src=FILE"
        ),
        Kind.NO_FILE: "the path is not there: correct it; a line of .dockerignore may hide it, then add `!PATH` below",
        Kind.CHECKSUM: (
            "what was downloaded is not what --checksum of ADD says: if the file changed on purpose, change --checksum"
        ),
        Kind.NO_FRONTEND: (
            "the frontend image of the Dockerfile's `# syntax` line does not exist: correct the line, or remove it"
        ),
        Kind.NO_PLATFORM: (
            "the image exists, but not for this platform: change --platform, or take another image or tag in FROM"
        ),
        Kind.NO_IMAGE: (
            "the registry has no such image or tag: correct the name in FROM or COPY --from, or the build "
            "argument in it"
        ),
        Kind.NOT_ALLOWED: (
            "a step asks for a right that this call does not give: add --allow network.host or "
            "--allow security.insecure"
        ),
        Kind.NOT_UTF8: (
            "a name or a value is no UTF-8, and BuildKit takes nothing else: rename the file, or encode the value"
        ),
    },
    EngineError: {
        Kind.NOT_GRANTED: (
            "the builder does not grant it: make one with --buildkitd-flags '--allow-insecure-entitlement NAME'"
        ),
        Kind.UNSUPPORTED: (
            "this builder cannot do that: use --driver docker-container, or turn on the engine's containerd image store"
        ),
        Kind.DOCKER_DENIED: "this user may not talk to Docker: add the user to the group docker, or use sudo",
        Kind.BUILDER_GONE: (
            "the builder stopped during the build: out of memory, or removed by another job; its container's log tells"
        ),
        Kind.BUILDER_UNUSABLE: "look at the builder with `docker buildx inspect`, or remove it with `docker buildx rm`",
        Kind.DOCKER_DOWN: "start Docker; check DOCKER_HOST, and the context that `docker context ls` marks",
        Kind.NO_CONTEXT: "`docker context ls` lists those there are",
    },
    DeniedError: {
        Kind.UNAUTHORIZED: (
            "log in with --username and --password-env, or `docker login`; check that the account may do this"
        ),
        Kind.DENIED: "check the repository's name, and that the account may write (push) or read (FROM) it",
    },
    UnreachableError: {
        Kind.THROTTLED: "the registry limits requests: log in to raise the limit, or try again later",
        Kind.PLAIN_HTTP: (
            "the server speaks plain HTTP: `http = true` in --buildkitd-config, or Docker's insecure-registries"
        ),
        Kind.CERTIFICATE_EXPIRED: (
            "the server's certificate is not valid today: renew it, or set the clock of the builder's machine"
        ),
        Kind.CERTIFICATE: (
            "the builder does not trust the certificate: name its CA in --buildkitd-config, or in Docker's "
            "certs.d folder"
        ),
        Kind.UNKNOWN_HOST: (
            "the host's name was not found: correct it, or let the builder use this host's DNS: --driver-opt "
            "network=host"
        ),
        Kind.UNREACHABLE: (
            "check the registry's address and the network; a builder in a container has a network of its own"
        ),
        Kind.PUSH_REFUSED: (
            "check the registry's address and the network; a builder in a container has a network of its own"
        ),
    },
    ExhaustedError: {
        Kind.CLIENT_DISK_FULL: "the disk of that file is full: free space there, or have it written elsewhere",
        Kind.OUTPUT_FAILED: (
            "the output's folder could not be written: is its disk full, or may this user not write there?"
        ),
        Kind.DISK_FULL: "free disk space: `docker buildx prune`, `docker system prune`, or a larger machine",
        Kind.OUT_OF_MEMORY: (
            "the step ran out of memory: let it do less at once, such as `make -j2`, or take a larger machine"
        ),
    },
    CacheError: {
        Kind.INDEX_UNUSABLE: (
            "another build may use the folder; `buildx-cache cache verify` tells what is wrong with it"
        ),
        Kind.INDEX_LOCKED: "another build may use the folder; `buildx-cache cache verify` tells what is wrong with it",
    },
}
# The hint where the command of a step failed: the build has failed by that, whatever its log tells.
_COMMAND_HINTS: Mapping[Kind, str] = {
    Kind.KILLED: (
        "it was killed, likely out of memory: let it do less at once, such as `make -j2`, or take a larger machine"
    ),
    Kind.FOREIGN_PROGRAM: (
        "its program is for another platform: change --platform, or install an emulator, such as tonistiigi/binfmt"
    ),
    Kind.NO_INTERPRETER: (
        "the file is not in the image, or its interpreter is not: a script must have LF, not CRLF, at the end of lines"
    ),
    Kind.NO_COMMAND: "the command is not in the image: install it in a RUN before, or take a base image that has it",
    Kind.NOT_EXECUTABLE: (
        "the file is not executable: copy it with `COPY --chmod=755`, or name its interpreter, as in `RUN sh FILE`"
    ),
    Kind.DISK_FULL: "its log tells of a full disk: `docker buildx prune`, `docker system prune`, or a larger machine",
    Kind.OUT_OF_MEMORY: (
        "its log tells of too little memory: let it do less at once, such as `make -j2`, or take a larger machine"
    ),
    Kind.THROTTLED: (
        "its log tells of a server that limits requests: log in there with --secret, use a mirror, or try again later"
    ),
    Kind.UNAUTHORIZED: (
        "its log tells of a server that wants a login: give one with --secret and `RUN --mount=type=secret`"
    ),
    Kind.UNKNOWN_HOST: (
        "its log tells of a host's name that was not found: correct it, or the step's DNS, with --network host"
    ),
    Kind.CERTIFICATE: (
        "its log tells of a certificate that is not trusted: install ca-certificates, or COPY your CA into the image"
    ),
}
_ANYTHING_ELSE = "mend the Dockerfile or the build context"
_ANY_OTHER_COMMAND = "the end of its log is below; nothing was pushed"


@dataclass(frozen=True, kw_only=True)
class Advice:
    """The error of a build that ends with a problem, and what to do about it."""

    error: type[BuildxCacheError]
    hint: str


def advice(problem: Problem) -> Advice | None:
    """Return what a problem means to the caller; None where nothing is known to help."""
    found = (Advice(error=error, hint=hints[problem.kind]) for error, hints in _ADVICE.items() if problem.kind in hints)
    return next(found, None)


def login_error(registry: str, problem: Problem) -> BuildxCacheError:
    """Return the error of a login to the registry of this key that ended with a problem."""
    where = "the default registry" if registry == HUB_KEY else registry
    if problem.is_denied:
        return DeniedError(
            f"the login to {where} was refused: {problem.words}", hint="check --username and the password"
        )
    return UnreachableError(
        f"the login to {where} failed: {problem.words}", hint="check the registry's address and the network"
    )


def diagnose(trace: BuildTrace, code: int) -> BuildxCacheError:
    """The error for a build that ended with ``code``, not zero."""
    words = bounded(trace.error) or f"docker buildx build ended with code {code}"
    step = trace.failed
    if step and (ending := command_ending(words)):
        return _command_failed(step, ending, trace.log_tail)
    if any(transfer.kind == "cache-export" and transfer.error for transfer in trace.transfers) and not step:
        known = advice(classify(words))
        hint = known.hint if known else "drop --strict-cache to go on without"
        return CacheError(f"the cache could not be written: {_short(words)}", hint=hint)
    known = advice(classify(f"{_doing(trace)}{words}")) or Advice(error=BuildFailedError, hint=_ANYTHING_ELSE)
    where = f"{_name(step)}: " if step and known.error is BuildFailedError else ""
    return known.error(f"{where}{_short(words)}", hint=known.hint)


def source_excerpt(trace: BuildTrace) -> tuple[str, ...]:
    """Where in the Dockerfile a build failed, as Buildx prints it, without its rules; empty if it does not tell.

    ``Dockerfile:7``, then the lines around it, such as ``   7 | >>> RUN make``.
    """
    matches = _EXCERPT.finditer("\n".join(trace.text))
    return tuple(line for match in matches for line in (match["place"], *match["lines"].split("\n")[1:]))


def _command_failed(step: Step, ending: str, log: tuple[str, ...]) -> BuildxCacheError:
    """The error for a RUN: its own failure if it exited, whatever its log says; else what BuildKit says of it."""
    told = f"{_name(step)}: {ending}"
    if kind := classify_command(ending, log):
        return BuildFailedError(told, hint=_COMMAND_HINTS.get(kind, _ANY_OTHER_COMMAND))
    known = advice(classify(ending)) or Advice(error=BuildFailedError, hint=_ANY_OTHER_COMMAND)
    return known.error(told, hint=known.hint)


def _doing(trace: BuildTrace) -> str:
    """What BuildKit did when it failed, which its words leave out; a step's name is not BuildKit's own."""
    if trace.failed:
        return ""
    return next((f"{name}: " for name, error in trace.errors if error and error == trace.error), "")


def _name(step: Step) -> str:
    line = " ".join(step.name.split())
    return f"[{step.stage}] {line}" if step.stage else line


def _short(words: str) -> str:
    """BuildKit's chain of causes in one line, without the part that only says it was asked to build."""
    line = " ".join(words.split())
    return re.sub(r"^(?:ERROR: )?(?:failed to build: )?(?:failed to solve: )?", "", line)
