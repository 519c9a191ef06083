"""Report the size of the build context that was sent, and name the large files in it."""

from __future__ import annotations

from dataclasses import replace

from buildx_cache.buildkit.trace import BuildTrace
from buildx_cache.display import Display
from buildx_cache.formatting import size
from buildx_cache.report import ContextReport, HeavyReport
from buildx_cache.request.build_request import BuildRequest
from buildx_cache.run.call import Outcome

_MAIN = "load build context"


def with_context(outcome: Outcome, request: BuildRequest, display: Display) -> Outcome:
    """Add the size of the sent build context to the report; warn of the large files in a large context."""
    trace = outcome.trace
    sent = {each.digest: each.bytes for each in trace.transfers if each.kind == "context"} if trace else {}
    if trace is None or not sent:
        return outcome
    largest = _largest(trace, request)
    weighed = ContextReport(bytes=sum(sent.values()), largest=largest)
    hints = (context_hint(weighed),) if largest else ()
    for hint in hints:
        display.warn(hint)
    warnings = (*outcome.report.warnings, *hints)
    return replace(outcome, report=replace(outcome.report, build_context=weighed, warnings=warnings))


def _largest(trace: BuildTrace, request: BuildRequest) -> tuple[HeavyReport, ...]:
    from buildx_cache.request.large_files import LARGE, heavy_entries

    main = sum(each.bytes for each in trace.transfers if each.kind == "context" and each.name.endswith(_MAIN))
    if main <= LARGE:
        return ()
    return tuple(HeavyReport(line=each.line, bytes=each.bytes) for each in heavy_entries(request))


def context_hint(context: ContextReport) -> str:
    """Return the warning with the lines to add to ``.dockerignore``."""
    lines = ", ".join(f"`{each.line}` ({size(each.bytes)})" for each in context.largest)
    return (
        f"{size(context.bytes)} of build context were sent, and are sent in full to every new builder, however warm "
        f"the cache is; if the build does not need them, add to .dockerignore, one a line: {lines}"
    )
