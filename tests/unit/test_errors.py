from __future__ import annotations

import signal

import pytest

from buildx_cache import errors
from buildx_cache.errors import BuildxCacheError, ExitCode, InterruptedBuildError


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.BuildFailedError, 1),
        (errors.UsageError, 2),
        (errors.EngineError, 3),
        (errors.DeniedError, 4),
        (errors.UnreachableError, 5),
        (errors.ExhaustedError, 6),
        (errors.LockedError, 6),
        (errors.ExposedError, 6),
        (errors.CacheError, 7),
    ],
)
def test_each_error_has_its_exit_code(kind: type[BuildxCacheError], code: int) -> None:
    error = kind("it failed", hint="mend it")
    assert (error.exit_code, error.message, error.hint, str(error)) == (code, "it failed", "mend it", "it failed")


def test_no_error_tells_a_login() -> None:
    error = errors.UsageError("'https://me:abc@example.com' is wrong", hint="try type=s3,secret_access_key=def")
    told = (
        "'https://***@example.com' is wrong",
        "try type=s3,secret_access_key=***",
        "'https://***@example.com' is wrong",
    )
    assert (error.message, error.hint, str(error)) == told


@pytest.mark.parametrize(
    ("number", "code", "message"),
    [
        (signal.SIGINT, 130, "stopped by SIGINT"),
        (signal.SIGTERM, 143, "stopped by SIGTERM"),
        (signal.SIGHUP, 143, "stopped by SIGHUP"),
        (signal.SIGALRM, 143, "stopped by --timeout"),
        (signal.SIGPIPE, 141, "stopped by a reader that is gone"),
    ],
)
def test_a_signal_has_the_exit_code_of_a_shell(number: signal.Signals, code: int, message: str) -> None:
    error = InterruptedBuildError(number)
    assert (error.exit_code, error.message) == (code, message)
    assert error.hint == "run it again; a builder that is kept has the finished steps"


def test_the_exit_codes_are_those_of_the_contract() -> None:
    assert {code.name: code.value for code in ExitCode} == {
        "OK": 0,
        "BUILD_FAILED": 1,
        "USAGE": 2,
        "NO_ENGINE": 3,
        "DENIED": 4,
        "UNREACHABLE": 5,
        "EXHAUSTED": 6,
        "CACHE_DAMAGED": 7,
        "BUG": 70,
        "SIGINT": 130,
        "SIGPIPE": 141,
        "SIGTERM": 143,
    }


def test_every_error_is_covered_here() -> None:
    kinds = {kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, BuildxCacheError)}
    signals = {InterruptedBuildError}
    assert len(kinds - signals - {BuildxCacheError}) == 9


def test_what_was_interrupted_is_told_by_who_is_nearest() -> None:
    error = InterruptedBuildError(signal.SIGTERM)
    for what in ("", "pushing layers", "build"):
        error.place(what)
    assert error.message == "stopped by SIGTERM, during: pushing layers"
