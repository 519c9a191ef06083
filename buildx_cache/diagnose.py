"""Turn the failure of a build or a login into an error with an exit code and a hint."""

from __future__ import annotations

import re

from buildx_cache.buildkit.causes import CAUSES, Kind
from buildx_cache.buildkit.classify import Problem, classify, classify_command, command_ending
from buildx_cache.buildkit.failure import failure
from buildx_cache.buildkit.trace import BuildTrace, Step
from buildx_cache.errors import (
    BuildFailedError,
    BuildxCacheError,
    CacheError,
    DeniedError,
    UnreachableError,
    UsageError,
)
from buildx_cache.reference import HUB_KEY

# `Print` of BuildKit's solver/errdefs/source.go.
_EXCERPT = re.compile(r"^(?P<place>\S.*:\d+)\n-{20}(?P<lines>(?:\n *\d+ \|.*)+)", re.MULTILINE)

_CLI_USAGE = 125  # docker/cli's exit code
_ANY_OTHER_COMMAND = "the end of its log is below; nothing was pushed"


def login_error(registry: str, problem: Problem) -> BuildxCacheError:
    """Return the error of a failed login; ``registry`` is the registry's key."""
    where = "the default registry" if registry == HUB_KEY else registry
    if problem.is_denied:
        return DeniedError(
            f"the login to {where} was refused: {problem.words}",
            code="login-denied",
            hint="check --username and the password",
        )
    return UnreachableError(
        f"the login to {where} failed: {problem.words}",
        code="login-failed",
        hint="check the registry's address and the network",
    )


def diagnose(trace: BuildTrace, code: int) -> BuildxCacheError:
    """Return the error for a build that ended with the exit code ``code``, not zero."""
    step = trace.failed
    if step and (ending := command_ending(trace.error)):
        return _command_failed(step, ending, trace.log_tail)
    if code == _CLI_USAGE:
        return UsageError(_first_words(trace) or f"docker buildx build ended with code {code}", code="wrong-option")
    problem = failure(trace).problem
    words = _short(problem.words) or f"docker buildx build ended with code {code}"
    if any(transfer.kind == "cache-export" and transfer.error for transfer in trace.transfers) and not step:
        return CacheError(
            f"the cache could not be written: {words}",
            code="cache-export-failed",
            hint=problem.advice or "drop --strict-cache to go on without",
        )
    where = f"{_name(step)}: " if step and problem.error in (BuildFailedError, UsageError) else ""
    return problem.error(f"{where}{words}", code=_code(problem), hint=problem.advice)


def _first_words(trace: BuildTrace) -> str:
    """Return the first line of the docker command, which comes before its usage text."""
    return next((line for line in trace.text if line.strip() and not line.startswith("WARNING:")), "")


def source_excerpt(trace: BuildTrace) -> tuple[str, ...]:
    """Return where in the Dockerfile a build failed, as Buildx prints it without separators; empty if it does not say.

    ``Dockerfile:7``, then the lines around it, such as ``   7 | >>> RUN make``.
    """
    matches = _EXCERPT.finditer("\n".join(trace.text))
    return tuple(line for match in matches for line in (match["place"], *match["lines"].split("\n")[1:]))


def _command_failed(step: Step, ending: str, log: tuple[str, ...]) -> BuildxCacheError:
    """Return the error for a RUN: the step's failure if its command exited, whatever the log says; else BuildKit's."""
    told = f"{_name(step)}: {ending}"
    if kind := classify_command(ending, log):
        return BuildFailedError(told, code="step-failed", hint=CAUSES[kind].in_step or _ANY_OTHER_COMMAND)
    problem = classify(ending)
    return problem.error(told, code=_code(problem), hint=problem.advice or _ANY_OTHER_COMMAND)


def _code(problem: Problem) -> str:
    """Return the error code of a problem; empty where its cause is unknown."""
    return "" if problem.kind is Kind.UNKNOWN else problem.kind.value


def _name(step: Step) -> str:
    line = " ".join(step.name.split())
    return f"[{step.stage}] {line}" if step.stage else line


def _short(words: str) -> str:
    """Return BuildKit's chain of causes on one line, without its general prefixes."""
    line = " ".join(words.split())
    return re.sub(r"^(?:ERROR: )?(?:failed to build: )?(?:failed to solve: )?", "", line)
