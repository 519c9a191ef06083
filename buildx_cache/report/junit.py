"""The report as JUnit XML: one test case a step, so that a CI's list of tests shows slow and failed steps.

The XML follows the schema of Jenkins' xUnit plugin (``junit-10.xsd``), as does pytest's ``xunit2``. CircleCI reads
``name``, ``classname``, ``time``, ``failure`` and ``skipped``.
"""

from __future__ import annotations

from collections.abc import Mapping
from xml.etree.ElementTree import Element, tostring

from buildx_cache.buildkit.trace import BuildTrace
from buildx_cache.errors import BuildxCacheError
from buildx_cache.report import BuildReport, StepReport
from buildx_cache.report.html_elements import clipped, element, one_line, plain, step_title, tail

_NAME = 500
_MESSAGE = 1000
_LOG = 64 * 1024
_LINES = 100


def junit_xml(
    report: BuildReport,
    trace: BuildTrace | None,
    logs: Mapping[str, tuple[str, ...]],
    error: BuildxCacheError | None = None,
) -> str:
    """Return the report as one test suite.

    ``logs`` maps the digest of each step to its last lines, which are shown for the failed step. ``error`` is that of
    a failed call. If no step failed, an additional case ``build`` holds the error.
    """
    failed = trace.failed.digest if trace and trace.failed and report.status != "success" else ""
    started = {step.digest for step in trace.steps if step.started is not None} if trace else set()
    cases = [_case(step, failed, started, logs.get(step.digest, ())) for step in report.steps]
    if report.status != "success" and not failed:
        cases.append(_call_case(report, trace, error))
    numbers = {
        "tests": str(len(cases)),
        "failures": str(sum(case.find("failure") is not None for case in cases)),
        "errors": "0",
        "time": f"{report.seconds:.3f}",
    }
    suite = element(
        "testsuite",
        *cases,
        name=report.tool.name,
        skipped=str(sum(case.find("skipped") is not None for case in cases)),
        timestamp=report.started,
        **numbers,
    )
    root = element("testsuites", suite, name=report.tool.name, **numbers)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + tostring(root, encoding="unicode") + "\n"


def _case(step: StepReport, failed: str, started: set[str], log: tuple[str, ...]) -> Element:
    results: list[Element] = []
    if step.digest == failed:
        results.append(_failure(step.error, tail(log, _LOG, _LINES)))
    elif step.error:
        results.append(element("skipped", message=clipped(f"stopped: {one_line(step.error)}", _MESSAGE)))
    elif step.digest not in started:
        results.append(element("skipped", message="not reached"))
    if step.cached:
        results.append(element("system-out", "CACHED"))
    place = " ".join(filter(None, (step.stage or "Dockerfile", step.platform)))
    return element(
        "testcase", *results, name=step_title(step.name, _NAME), classname=one_line(place), time=f"{step.seconds:.3f}"
    )


def _call_case(report: BuildReport, trace: BuildTrace | None, error: BuildxCacheError | None) -> Element:
    message = error.message if error else trace.error if trace and trace.error else ""
    hint = error.hint if error else ""
    code = error.code if error else "failure"
    failure = _failure(message or f"{report.status}, exit code {report.exit_code}", hint, code)
    return element("testcase", failure, name="build", classname=report.tool.name, time=f"{report.seconds:.3f}")


def _failure(message: str, text: str, kind: str = "failure") -> Element:
    return element("failure", plain(text), message=clipped(one_line(message), _MESSAGE), type=kind)
