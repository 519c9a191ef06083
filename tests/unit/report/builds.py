"""Builds to report on: recorded ones, and generated ones of any size."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from buildx_cache.buildkit.stream import StreamParser
from buildx_cache.buildkit.trace import BuildTrace, Step, Transfer
from buildx_cache.buildkit.trace_builder import TraceBuilder
from buildx_cache.buildkit.vertex_names import TransferKind
from buildx_cache.report import (
    BuilderReport,
    BuildReport,
    CacheReport,
    CIReport,
    ContextReport,
    ExportReport,
    HeavyReport,
    ImageReport,
    ImportReport,
    LocalReport,
    StepCounts,
)
from buildx_cache.run.results import step_reports

RECORDINGS = Path(__file__).parents[1] / "recordings" / "buildx-0.29.1"


@dataclass(frozen=True, kw_only=True)
class Build:
    """What the forms of a report are made of."""

    report: BuildReport
    trace: BuildTrace
    logs: Mapping[str, tuple[str, ...]]


def step(digest: str, span: tuple[float | None, float | None] = (None, None), **other: Any) -> Step:  # noqa: ANN401 -- any field
    """A step that ran for its span, unless ``other`` says differently."""
    started, completed = span
    seconds = completed - started if started is not None and completed is not None else 0.0
    fields: dict[str, Any] = {
        "name": f"RUN {digest}", "stage": "build", "platform": "", "number": 1, "total": 9, "digest": digest,
        "inputs": (), "cached": False, "seconds": seconds, "error": "", "started": started, "completed": completed,
    }  # fmt: skip
    return Step(**{**fields, **other})


def transfer(kind: TransferKind, digest: str, span: tuple[float, float], error: str = "") -> Transfer:
    return Transfer(
        kind=kind,
        name=f"{kind} {digest}",
        error=error,
        seconds=span[1] - span[0],
        bytes=0,
        digest=digest,
        started=span[0],
        completed=span[1],
    )


def trace_of(*steps: Step, transfers: tuple[Transfer, ...] = (), failed: Step | None = None) -> BuildTrace:
    return BuildTrace(
        steps=steps,
        transfers=transfers,
        warnings=(),
        text=(),
        failed=failed,
        error=failed.error if failed else "",
        log_tail=(),
    )


def report_of(trace: BuildTrace) -> BuildReport:
    """A report with everything in it that a report can have."""
    is_failed = trace.failed is not None or bool(trace.error)
    spent = sum(each.seconds for each in trace.steps)
    return BuildReport(
        status="failed" if is_failed else "success",
        exit_code=1 if is_failed else 0,
        started="2025-11-24T04:30:00.123Z",
        seconds=spent + 2.4,
        images={
            "default": ImageReport(
                digest="" if is_failed else "sha256:" + "ab" * 32,
                platform_digests={} if is_failed else {"linux/amd64": "sha256:" + "cd" * 32},
                tags=("registry.example.com/team/app:83a20ec", "registry.example.com/team/app:main"),
                pushed=not is_failed,
                platforms=("linux/amd64",),
            )
        },
        builder=BuilderReport(
            name="buildx-cache-2f9b1c", driver="docker-container", buildkit="v0.25.0", created=True
        ),
        ci=CIReport(
            provider="circleci",
            branch="feature/faster-builds",
            sha="83a20ec0bb8f1a94c3b1e1c35c3a3b6c4a1b0c11",
            pull_request="12",
            is_fork=False,
        ),
        cache=CacheReport(
            mode="registry",
            scope="feature-faster-builds",
            read_only=False,
            imports=(
                ImportReport(
                    type="registry",
                    source="registry.example.com/team/app:buildcache-feature-faster-builds",
                    status="absent",
                    detail="registry.example.com/team/app:buildcache-feature-faster-builds: not found",
                ),
                ImportReport(type="registry", source="registry.example.com/team/app:buildcache-main", status="hit"),
            ),
            exports=(
                ExportReport(
                    type="registry",
                    target="registry.example.com/team/app:buildcache-feature-faster-builds",
                    status="skipped" if is_failed else "written",
                    detail="nothing is exported from a failed build" if is_failed else "",
                    bytes=0 if is_failed else 12_582_912,
                ),
            ),
            local=LocalReport(dir="/tmp/buildx-cache", live_bytes=48_234_496, swept_bytes=1_234_567, sound=True),
            steps=StepCounts(total=trace.total, cached=trace.cached, executed=trace.executed),
            hit_ratio=trace.hit_ratio,
            saved_seconds=130.0 if trace.cached else None,
        ),
        build_context=ContextReport(bytes=68_000_000, largest=(HeavyReport(line="node_modules", bytes=60_000_000),)),
        steps=step_reports(trace),
        phases={"builder": 1.2, "login": 0.3, "build": spent, "export": 0.6, "push": 0.2, "prune": 0.4},
        warnings=(
            "the cache of this branch is new: it begins with that of main",
            "FromAsCasing: 'as' and 'FROM' keywords' casing do not match (Dockerfile:1)",
        ),
        commands=(
            ("docker", "buildx", "create", "--name", "buildx-cache-2f9b1c", "--driver", "docker-container"),
            ("docker", "buildx", "build", "--builder", "buildx-cache-2f9b1c", "--progress", "rawjson",
             "--cache-from", "type=registry,ref=registry.example.com/team/app:buildcache-main",
             "--cache-to", "type=registry,ref=registry.example.com/team/app:buildcache-feature-faster-builds,mode=max",
             "--build-arg", "NPM_TOKEN", "--tag", "registry.example.com/team/app:83a20ec", "--push", "."),
        ),
        docker_calls=9,
    )  # fmt: skip


def recorded(name: str) -> Build:
    """A build that an engine really did."""
    parser, builder = StreamParser(), TraceBuilder()
    for event in [*parser.feed((RECORDINGS / f"{name}.rawjson").read_bytes()), *parser.close()]:
        builder.add(event)
    trace = builder.trace()
    digests = [*(each.digest for each in trace.steps), *(each.digest for each in trace.transfers)]
    return Build(report=report_of(trace), trace=trace, logs={digest: builder.log(digest) for digest in digests})


_COMMANDS = (
    "RUN apt-get update && apt-get install -y --no-install-recommends build-essential libpq-dev && rm -rf /var/lib/apt",
    "COPY package.json package-lock.json ./",
    "RUN --mount=type=cache,target=/root/.npm npm ci --prefer-offline --no-audit",
    "RUN make -j2 all",
    "WORKDIR /srv/app",
)


def generated(count: int, *, text: str = "") -> Build:
    """A build of ``count`` steps in stages of 25, half of them on arm64, with full logs; ``text`` ends names and lines.

    The first step of every stage is a base image, a third of the steps is cached. A stage begins while the one before
    it runs, and its last step copies from that one.
    """
    chance = random.Random(count)  # noqa: S311 -- a fixed seed
    steps: list[Step] = []
    clock = 1_700_000_002.0
    for index in range(count):
        number = index % 25 + 1
        copied = index - 25 if number == 25 and index > 25 else None
        if number == 1 and index:
            clock = steps[-chance.randint(8, 25)].started or clock
        before = ([index - 1] if number > 1 else []) + ([] if copied is None else [copied])
        if copied is not None:
            clock = max(clock, steps[copied].completed or clock)
        cached = chance.random() < 1 / 3
        seconds = 0.0 if cached else chance.expovariate(0.4)
        steps.append(
            step(
                f"sha256:{index:064x}",
                (clock, clock + seconds),
                name=f"{'FROM docker.io/library/debian:13' if number == 1 else chance.choice(_COMMANDS)}{text}",
                stage=f"stage-{index // 25}{text}",
                platform="linux/arm64" if index // 25 % 2 else "linux/amd64",
                number=number,
                total=25,
                inputs=tuple(f"sha256:{each:064x}" for each in before),
                cached=cached,
                bytes_total=31_457_280 if number == 1 and not cached else 0,
            )
        )
        clock += seconds + chance.uniform(0, 0.2)
    end = max(each.completed or 0.0 for each in steps)
    transfers = (
        transfer("other", "load metadata", (1_700_000_000.0, 1_700_000_000.4)),
        transfer("cache-import", "registry.example.com/app:buildcache-main", (1_700_000_000.0, 1_700_000_001.0)),
        transfer("context", "load build context", (1_700_000_000.5, 1_700_000_001.5)),
        transfer("image-export", "exporting to image", (end, end + 4)),
        transfer("push", "pushing registry.example.com/app:1 with docker", (end + 4, end + 9)),
    )
    trace = trace_of(*steps, transfers=transfers)
    line = "#12 4.031 Get:17 http://deb.example.org/debian trixie/main amd64 libpq5 amd64 17.2-1 [228 kB] <&>" + text
    return Build(report=report_of(trace), trace=trace, logs={each.digest: (line,) * 100 for each in steps})
