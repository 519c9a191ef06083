"""Why a build failed: from BuildKit's last words to the error with the right exit code."""

from __future__ import annotations

import re

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
)

# A pattern of the error, what it means, what to do. First match wins. Never asked about a step's own command.
_CAUSES: tuple[tuple[re.Pattern[str], type[BuildxCacheError], str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), kind, hint)
    for pattern, kind, hint in (
        (
            r"unauthorized|authentication required|no basic auth credentials|\b401\b",
            DeniedError,
            "log in with --username and --password-env, or `docker login`; check that the account may do this",
        ),
        (
            r"access.{0,12}denied|denied:|insufficient_scope|403 forbidden|\b403\b",
            DeniedError,
            "check the repository's name, and that the account may write (push) or read (FROM) it",
        ),
        (
            r"no space left on device",
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
            r"failed to (?:list workers|boot builder)|no builder .* found|could not create a builder",
            EngineError,
            "look at the builder with `docker buildx inspect`, or remove it with `docker buildx rm`",
        ),
    )
)
_RUN_HINT = "the end of its log is below; nothing was pushed"


def diagnose(trace: BuildTrace, code: int) -> BuildxCacheError:
    """The error for a build that ended with ``code``, not zero."""
    cause = redact(trace.error) or f"docker buildx build ended with code {code}"
    step = trace.failed
    if step and (match := _STEP_FAILED.search(cause)):
        return BuildFailedError(f"{_name(step.stage, step.name)}: {match['what']}", hint=_RUN_HINT)
    if any(transfer.kind == "cache-export" and transfer.error for transfer in trace.transfers) and not step:
        return CacheError(f"the cache could not be written: {_short(cause)}", hint=_cause_hint(cause))
    for pattern, kind, hint in _CAUSES:
        if pattern.search(cause):
            return kind(_short(cause), hint=hint)
    where = f"{_name(step.stage, step.name)}: " if step else ""
    return BuildFailedError(f"{where}{_short(cause)}", hint="mend the Dockerfile or the build context")


def _name(stage: str, name: str) -> str:
    line = " ".join(name.split())
    return f"[{stage}] {line}" if stage else line


def _short(cause: str) -> str:
    """BuildKit's chain of causes in one line, without the part that only says it was asked to build."""
    line = " ".join(cause.split())
    return re.sub(r"^(?:ERROR: )?(?:failed to build: )?(?:failed to solve: )?", "", line)


def _cause_hint(cause: str) -> str:
    return next((hint for pattern, _, hint in _CAUSES if pattern.search(cause)), "drop --strict-cache to go on without")
