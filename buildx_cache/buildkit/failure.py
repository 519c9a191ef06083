"""Find out why a build or a login failed, and in which operation; return it as an error with exit code and hint."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from buildx_cache.buildkit.causes import CAUSES, Kind
from buildx_cache.buildkit.classify import Problem, classify, classify_command, command_ending
from buildx_cache.buildkit.error_texts import Operation
from buildx_cache.buildkit.trace import BuildTrace, Step, Transfer
from buildx_cache.buildkit.vertex_names import TransferKind, image_name, transfer_kind
from buildx_cache.errors import (
    BuildFailedError,
    BuildxCacheError,
    CacheError,
    DeniedError,
    UnreachableError,
    UsageError,
)
from buildx_cache.reference import HUB_KEY

Work = Literal["pull", "push", "export"]
"""An operation that can be retried: no step of the build has failed."""

_WRITES: Mapping[TransferKind, Work] = {"image-export": "push", "push": "push", "cache-export": "export"}
# Buildx creates and boots a builder before it sends a request to BuildKit.
_BOOTING = "booting buildkit"
# The engine's error about the builder's container (client/request.go of Moby), its only use before that request.
_OF_ENGINE = re.compile(r"(?:ERROR: )?(?:failed to build: )?Error response from daemon: ")
_SOLVING = re.compile(r"\bfailed to solve: ")
_HOST = re.compile(r"\blookup (?P<host>[^\s:]+)(?: on \S+)?: ")
# `Print` of BuildKit's solver/errdefs/source.go.
_EXCERPT = re.compile(r"^(?P<place>\S.*:\d+)\n-{20}(?P<lines>(?:\n *\d+ \|.*)+)", re.MULTILINE)

_CLI_USAGE = 125  # docker/cli's exit code
_ANY_OTHER_COMMAND = "the end of its log is below; nothing was pushed"


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a build failed.

    ``work`` is the failed operation, None if it cannot be retried. ``image`` is the image that could not be pulled.
    """

    problem: Problem
    work: Work | None = None
    image: str = ""


def failure(trace: BuildTrace) -> Failure:
    """Return the failure of a build that ended with an error."""
    step = trace.failed
    name, kind, text = ("", None, trace.error) if step else _failing(trace)
    work = _WRITES.get(kind) if kind else None
    problem = classify(text, doing=name, retried="\n".join(trace.log_tail) if work == "push" else "")
    if not _has_reached_buildkit(trace):
        return Failure(problem=_refused_by_buildx(problem, name))
    if problem.kind is Kind.UNKNOWN_HOST and _was_reached(trace, text):
        problem = replace(problem, kind=Kind.DNS_FAILED)
    if image := _pulled(step, problem) if step else image_name(name):
        named = problem.words if image in problem.words else f"{image}: {problem.words}"
        return Failure(problem=replace(problem, words=named), work="pull", image=image)
    return Failure(problem=problem, work=work)


def _failing(trace: BuildTrace) -> tuple[str, TransferKind | None, str]:
    """Return the name, the kind and the full error of the failed vertex: Buildx prints only the error's first line."""
    errors = (
        *((each.name, each.kind, each.error) for each in trace.transfers),
        *((name, transfer_kind(name), error) for name, error in trace.errors),
    )
    found = (each for each in errors if each[2] and each[2].partition("\n")[0] in trace.error)
    return next(found, ("", None, trace.error))


def _has_reached_buildkit(trace: BuildTrace) -> bool:
    """Return whether Buildx had sent the build to BuildKit before the build failed."""
    begun = (*trace.steps, *(each for each in trace.transfers if _BOOTING not in each.name))
    return bool(begun) or bool(_SOLVING.search("\n".join(trace.text)))


def _refused_by_buildx(problem: Problem, name: str) -> Problem:
    """Return the problem of an error before BuildKit: an unusable builder, or else a wrong option."""
    if problem.cause.error:
        return problem
    is_of_builder = _BOOTING in name or bool(_OF_ENGINE.match(problem.words)) or problem.kind is Kind.DISCONNECTED
    return replace(problem, kind=Kind.BUILDER_UNUSABLE if is_of_builder else Kind.WRONG_OPTION)


def _was_reached(trace: BuildTrace, text: str) -> bool:
    """Return whether the host that could not be resolved was reached earlier in the same build."""
    match = _HOST.search(text)
    all_of_it: tuple[Step | Transfer, ...] = (*trace.transfers, *trace.steps)
    done = (each.name for each in all_of_it if each.completed and not each.error)
    return match is not None and any(match["host"] in re.split(r"[\s/:]", name) for name in done)


def _pulled(step: Step, problem: Problem) -> str:
    """Return the image that a step could not pull; empty if the step itself failed."""
    if step.name.startswith("FROM "):
        return step.name.removeprefix("FROM ")
    is_fetch = problem.operation is Operation.FETCH_LAYER and not command_ending(step.error)
    return (problem.subject or step.name) if is_fetch else ""


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
