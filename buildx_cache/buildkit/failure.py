"""Find out why a build failed, and in which operation: ``BuildTrace`` → ``Failure``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from buildx_cache.buildkit.causes import Kind
from buildx_cache.buildkit.classify import Operation, Problem, classify, command_ending
from buildx_cache.buildkit.trace import BuildTrace, Step, Transfer
from buildx_cache.buildkit.vertex_names import TransferKind, image_name, transfer_kind

Work = Literal["pull", "push", "export"]
"""An operation that can be retried: no step of the build has failed."""

_WRITES: Mapping[TransferKind, Work] = {"image-export": "push", "push": "push", "cache-export": "export"}
# Buildx creates and boots a builder before it sends a request to BuildKit.
_BOOTING = "booting buildkit"
# The engine's error about the builder's container (client/request.go of Moby), its only use before that request.
_OF_ENGINE = re.compile(r"(?:ERROR: )?(?:failed to build: )?Error response from daemon: ")
_SOLVING = re.compile(r"\bfailed to solve: ")
_HOST = re.compile(r"\blookup (?P<host>[^\s:]+)(?: on \S+)?: ")


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
