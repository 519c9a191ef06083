"""The errors that this program raises on purpose: each has a message, a hint and an exit code."""

from __future__ import annotations

import signal
from collections.abc import Callable
from enum import IntEnum

from buildx_cache.redaction import redact


class ExitCode(IntEnum):
    """The public exit codes; SIGHUP counts as SIGTERM."""

    OK = 0
    BUILD_FAILED = 1
    USAGE = 2
    NO_ENGINE = 3
    DENIED = 4
    UNREACHABLE = 5
    EXHAUSTED = 6
    CACHE_DAMAGED = 7
    BUG = 70
    SIGINT = 130
    SIGPIPE = 141
    SIGTERM = 143


class BuildxCacheError(Exception):
    """An expected failure: ``message`` says what failed, ``hint`` what the user should do, one line each.

    Credentials in URLs are redacted in both: a message often quotes the user's input.
    """

    exit_code: ExitCode = ExitCode.BUG
    code: str = "internal-error"
    """The stable name of the cause, such as ``cache-dir-not-writable``; by default that of the class."""

    def __init__(self, message: str, *, code: str = "", hint: str = "") -> None:
        self.code = code or type(self).code
        self.message = redact(message)
        self.hint = redact(hint)
        super().__init__(self.message)

    def rewrite(self, change: Callable[[str], str]) -> None:
        """Apply ``change`` to message and hint, to redact secrets that the raiser did not know."""
        self.message, self.hint = change(self.message), change(self.hint)
        self.args = (self.message,)


class UsageError(BuildxCacheError):
    """A wrong option, value, template, configuration key or path."""

    exit_code = ExitCode.USAGE
    code = "usage"


class BuildFailedError(BuildxCacheError):
    """The build itself failed: a Dockerfile step, a missing file, a bad Dockerfile."""

    exit_code = ExitCode.BUILD_FAILED
    code = "build-failed"


class EngineError(BuildxCacheError):
    """Docker or Buildx is unusable: absent, not running, too old, or the builder does not start."""

    exit_code = ExitCode.NO_ENGINE
    code = "docker-failed"


class DeniedError(BuildxCacheError):
    """A registry refused a login, a push or a pull."""

    exit_code = ExitCode.DENIED
    code = "registry-denied"


class UnreachableError(BuildxCacheError):
    """A registry or the network failed after retries."""

    exit_code = ExitCode.UNREACHABLE
    code = "registry-unreachable"


class ExhaustedError(BuildxCacheError):
    """A local resource is unavailable: disk full, folder not writable, lock timed out."""

    exit_code = ExitCode.EXHAUSTED
    code = "resource-exhausted"


class LockedError(ExhaustedError):
    """Another process holds a cache folder for too long."""


class ExposedError(ExhaustedError):
    """Another user may change a cache folder."""


class CacheError(BuildxCacheError):
    """The cache is corrupt, or failed under ``--strict-cache``."""

    exit_code = ExitCode.CACHE_DAMAGED
    code = "cache-damaged"


_STOPPED_BY = {signal.SIGALRM: "--timeout", signal.SIGPIPE: "a reader that is gone"}
_STOP_CODES = {signal.SIGALRM: "timed-out", signal.SIGPIPE: "reader-gone"}
_INTERRUPTED = {signal.SIGINT: ExitCode.SIGINT, signal.SIGPIPE: ExitCode.SIGPIPE}


class InterruptedBuildError(BuildxCacheError):
    """A signal stopped the call, which has cleaned up."""

    def __init__(self, signal_number: int) -> None:
        number = signal.Signals(signal_number)
        by = _STOPPED_BY.get(number, number.name)
        super().__init__(
            f"stopped by {by}",
            code=_STOP_CODES.get(number, "interrupted"),
            hint="run it again; a builder that is kept has the finished steps",
        )
        self.exit_code = _INTERRUPTED.get(number, ExitCode.SIGTERM)
        self._is_placed = False

    def place(self, what: str) -> None:
        """Add what was interrupted to the message. The first call wins: the innermost block knows best."""
        if what and not self._is_placed:
            self._is_placed = True
            self.message = f"{self.message}, during: {redact(what)}"
