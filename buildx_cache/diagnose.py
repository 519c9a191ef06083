"""Why a build failed: from BuildKit's last words to the error with the right exit code."""

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
from buildx_cache.progress import BuildTrace
from buildx_cache.redaction import redact

_STEP_FAILED = re.compile(r"process .* did not complete successfully: (?P<what>.*)", re.DOTALL)

_UNREACHABLE = (
    r"connection refused|connection reset|no such host|i/o timeout|tls handshake|network is unreachable"
    r"|server gave http response to https client|unexpected status.{0,60}\b5\d\d\b|\b50[0234]\b|x509:"
    r"|failed to do request: .*\bEOF|use of closed network connection|broken pipe|failed to push \S+: unknown\b"
)


@dataclass(frozen=True, kw_only=True)
class Cause:
    """What an error's words mean: the error of a build that ends with them, and what to do."""

    pattern: re.Pattern[str]
    error: type[BuildxCacheError]
    hint: str


# First match wins. Never asked about a step's own command.
_CAUSES: tuple[Cause, ...] = tuple(
    Cause(pattern=re.compile(pattern, re.IGNORECASE), error=kind, hint=hint)
    for pattern, kind, hint in (
        (
            r"unauthorized|authentication required|no basic auth credentials|\b401\b",
            DeniedError,
            "log in with --username and --password-env, or `docker login`; check that the account may do this",
        ),
        (
            r"access.{0,12}denied|denied:|: denied$|insufficient_scope|403 forbidden|\b403\b",
            DeniedError,
            "check the repository's name, and that the account may write (push) or read (FROM) it",
        ),
        (
            r"no space left on device|507 insufficient storage",
            ExhaustedError,
            "free disk space: `docker buildx prune`, `docker system prune`, or a larger machine",
        ),
        (
            r"toomanyrequests|too many requests|\b429\b",
            UnreachableError,
            "the registry limits requests: log in to raise the limit, or try again later",
        ),
        (
            _UNREACHABLE,
            UnreachableError,
            "check the registry's address and the network; a builder in a container has a network of its own",
        ),
        (
            r"error reading from server: EOF|transport is closing|code = Unavailable",
            EngineError,
            "the builder stopped during the build: out of memory, or removed by another job; its container's log tells",
        ),
        (
            r"could not (?:lock|unmarshal|read|write) .*index\.json",
            CacheError,
            "another build may use the folder; `buildx-cache cache verify` tells what is wrong with it",
        ),
        (
            r"failed to (?:list workers|boot builder)|no builder .* found|could not create a builder",
            EngineError,
            "look at the builder with `docker buildx inspect`, or remove it with `docker buildx rm`",
        ),
    )
)
_RUN_HINT = "the end of its log is below; nothing was pushed"


def find_cause(words: str) -> Cause | None:
    """What BuildKit's words mean, if they are known."""
    return next((cause for cause in _CAUSES if cause.pattern.search(words)), None)


def diagnose(trace: BuildTrace, code: int) -> BuildxCacheError:
    """The error for a build that ended with ``code``, not zero."""
    cause = redact(trace.error) or f"docker buildx build ended with code {code}"
    step = trace.failed
    if step and (match := _STEP_FAILED.search(cause)):
        return BuildFailedError(f"{_name(step.stage, step.name)}: {match['what']}", hint=_RUN_HINT)
    if any(transfer.kind == "cache-export" and transfer.error for transfer in trace.transfers) and not step:
        known = find_cause(cause)
        hint = known.hint if known else "drop --strict-cache to go on without"
        return CacheError(f"the cache could not be written: {_short(cause)}", hint=hint)
    if known := find_cause(cause):
        return known.error(_short(cause), hint=known.hint)
    where = f"{_name(step.stage, step.name)}: " if step else ""
    return BuildFailedError(f"{where}{_short(cause)}", hint="mend the Dockerfile or the build context")


def _name(stage: str, name: str) -> str:
    line = " ".join(name.split())
    return f"[{stage}] {line}" if stage else line


def _short(cause: str) -> str:
    """BuildKit's chain of causes in one line, without the part that only says it was asked to build."""
    line = " ".join(cause.split())
    return re.sub(r"^(?:ERROR: )?(?:failed to build: )?(?:failed to solve: )?", "", line)
