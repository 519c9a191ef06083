from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest

from buildx_cache.errors import BuildxCacheError, DeniedError
from buildx_cache.report.junit import junit_xml
from tests.unit.report.builds import Build, generated, recorded, report_of, step, trace_of

# What the schema of Jenkins' xUnit plugin (junit-10.xsd) has for an element: attributes, those required, children.
SCHEMA: Mapping[str, tuple[set[str], set[str], set[str]]] = {
    "testsuites": ({"name", "time", "tests", "failures", "errors"}, set(), {"testsuite"}),
    "testsuite": (
        {"name", "tests", "failures", "errors", "time", "skipped", "timestamp", "hostname", "id", "package"},
        {"name", "tests", "failures", "errors"},
        {"properties", "testcase", "system-out", "system-err"},
    ),
    "testcase": ({"name", "time", "classname", "group"}, {"name"}, {"skipped", "failure", "system-out", "system-err"}),
    "failure": ({"type", "message"}, set(), set()),
    "skipped": ({"type", "message"}, set(), set()),
    "system-out": (set(), set(), set()),
}
# Its type SUREFIRE_TIME, without the thousands.
TIME = re.compile(r"[0-9]+\.[0-9]{1,3}")


def suite_of(build: Build, error: BuildxCacheError | None = None) -> ET.Element:
    root = ET.fromstring(junit_xml(build.report, build.trace, build.logs, error))  # noqa: S314 -- our own
    check(root)
    (suite,) = root
    assert {key: suite.get(key) for key in root.keys()} == dict(root.items())  # noqa: SIM118 -- not a dictionary
    cases = list(suite)
    assert suite.get("tests") == str(len(cases))
    assert suite.get("failures") == str(len(suite.findall("testcase/failure")))
    assert suite.get("skipped") == str(len(suite.findall("testcase/skipped")))
    return suite


def check(element: ET.Element) -> None:
    known, required, children = SCHEMA[element.tag]
    assert required <= set(element.keys()) <= known
    assert TIME.fullmatch(element.get("time", "0.0"))
    for child in element:
        assert child.tag in children
        check(child)


def built(*names: str, failed: str = "", error: str = "no", log: tuple[str, ...] = ()) -> Build:
    steps = tuple(
        step(f"sha256:{index:064x}", (index, index + 1), name=name, error=error if name == failed else "")
        for index, name in enumerate(names)
    )
    trace = trace_of(*steps, failed=next((each for each in steps if each.name == failed), None))
    return Build(report=report_of(trace), trace=trace, logs={each.digest: log for each in steps})


def test_a_recorded_failure() -> None:
    suite = suite_of(recorded("failing-run"))
    told = [(case.get("classname"), (case.get("name") or "")[:20], [child.tag for child in case]) for case in suite]
    assert told == [
        ("broken", "FROM registry.exampl", ["system-out"]),
        ("broken", "RUN echo step one", []),
        ("slow", "RUN echo slow starts", ["skipped"]),
        ("broken", "RUN for i in 1 2 3; ", ["failure"]),
        ("broken", "RUN echo never", ["skipped"]),
        ("stage-2", "COPY --from=slow /bi", ["skipped"]),
        ("stage-2", "COPY --from=broken /", ["skipped"]),
    ]
    assert [case.get("time") for case in suite][1:4] == ["0.442", "1.202", "0.711"]
    assert suite[0].findtext("system-out") == "CACHED"
    failure = suite[3].find("failure")
    assert failure is not None
    assert (failure.get("message") or "").endswith("did not complete successfully: exit code: 3")
    assert failure.text == "test 1: ok\ntest 2: ok\ntest 3: ok\ntest 4: FAILED [3/4]"
    assert [each.get("message") for each in suite.findall("testcase/skipped")][1:] == ["not reached"] * 3


@pytest.mark.parametrize("name", ["warm", "two-platforms", "push-and-cache-export", "recovered-cache-load"])
def test_a_build_that_succeeds_has_no_failure(name: str) -> None:
    build = recorded(name)
    report = replace(build.report, status="success", exit_code=0)
    suite = suite_of(replace(build, report=report))
    assert (suite.get("failures"), suite.get("tests")) == ("0", str(build.trace.total))


def test_platforms_tell_equal_steps_apart() -> None:
    suite = suite_of(recorded("two-platforms"))
    assert {case.get("classname") for case in suite if (case.get("name") or "").startswith("WORKDIR")} == {
        "stage-1 linux/amd64",
        "stage-1 linux/arm64",
    }


def test_what_is_no_steps_fault_is_a_case_of_its_own() -> None:
    build = built("RUN a")
    report = replace(build.report, status="failed", exit_code=4)
    error = DeniedError("the push was denied: https://u:p@r.example/\x1b[31m", hint="log in <first>")
    suite = suite_of(replace(build, report=report), error)
    failure = suite[-1].find("failure")
    assert suite[-1].get("name") == "build"
    assert failure is not None
    assert failure.get("type") == error.code
    assert (failure.get("message"), failure.text) == (error.message.replace("\x1b[31m", ""), "log in <first>")


def test_a_call_that_never_built_has_that_case_alone() -> None:
    report = replace(built().report, status="interrupted", exit_code=130, steps=())
    (case,) = ET.fromstring(junit_xml(report, None, {})).iter("testcase")  # noqa: S314
    (failure,) = case
    assert failure.get("message") == "interrupted, exit code 130"


def test_the_error_of_a_transfer_is_told() -> None:
    build = built("RUN a")
    trace = replace(build.trace, error="pushing https://r.example/ failed")
    suite = suite_of(replace(build, trace=trace, report=replace(build.report, status="failed", exit_code=5)))
    failure = suite[-1].find("failure")
    assert failure is not None
    assert failure.get("message") == "pushing https://r.example/ failed"


def test_hostile_texts_stay_texts() -> None:
    hostile = '"]]></failure>&\x00\x08\x1b[2J\x9b\ufffe\uffff\udcff\U0001f40b<!--'
    suite = suite_of(built(f"RUN {hostile}", failed=f"RUN {hostile}", error=hostile, log=(hostile, "\r\nb")))
    (failure,) = suite[0]
    kept = '"]]></failure>&?\U0001f40b<!--'
    assert suite[0].get("name") == f"RUN {kept}"
    assert (failure.get("message"), failure.text) == (kept, f"{kept}\n\nb")


def test_logs_are_told_and_names_short() -> None:
    name = "FROM a@sha256:" + "ab" * 32
    suite = suite_of(built(name, failed=name, log=("get https://example.com/",)))
    assert suite[0].get("name") == "FROM a@sha256:abababababab"
    assert suite[0].findtext("failure") == "get https://example.com/"


def test_the_time_is_in_seconds_whatever_their_number() -> None:
    report = replace(built("RUN a").report, seconds=123456.78949)
    assert suite_of(replace(built("RUN a"), report=report)).get("time") == "123456.789"


def test_five_hundred_steps_stay_small() -> None:
    build = generated(500)
    text = junit_xml(build.report, build.trace, build.logs)
    assert len(text.encode()) < 150_000
    assert len(suite_of(build)) == 500
