"""The report as one self-contained HTML page: no network, no other file; readable without JavaScript.

``html_elements`` builds the elements, so that every text is escaped by construction. The style and the script are in
``page/``. The page's content security policy allows them by their hashes and forbids everything else: inline handlers,
style attributes, connections.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from importlib import resources
from itertools import chain
from xml.etree.ElementTree import Element, tostring

from buildx_cache.buildkit.trace import BuildTrace
from buildx_cache.errors import BuildxCacheError
from buildx_cache.formatting import counted, duration, shell_word, short_digest, size
from buildx_cache.report import BuildReport, CacheReport
from buildx_cache.report.formats import cache_rows
from buildx_cache.report.html_elements import breakable, clipped, element, one_line, tail
from buildx_cache.report.html_timeline import timeline_section
from buildx_cache.report.timeline import Timeline, make_timeline

_TEXT = 600
_COMMAND = 4000
_COMMANDS = 20
_WARNINGS = 100
_WARNING = 300
_FAILURE_LOG = 16 * 1024
_FAILURE_LINES = 50

_STATES = {"success": ("✓", "Built"), "failed": ("✕", "Failed"), "interrupted": ("◼", "Interrupted")}

_Logs = Mapping[str, tuple[str, ...]]


def html_page(report: BuildReport, trace: BuildTrace | None, logs: _Logs, error: BuildxCacheError | None = None) -> str:
    """Return the page. Texts and logs are cut, so that a build of 200 steps takes less than 500 KB.

    ``logs`` maps the digest of each vertex to its last lines; ``error`` is that of a failed call.
    """
    timeline = make_timeline(trace) if trace else None
    style, script = _asset("page.css"), _asset("page.js")
    mark, state = _STATES[report.status]
    title = f"{state}: {_subject(report)}"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_policy(style, script)),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", name="referrer", content="no-referrer"),
        element("title", clipped(title, _TEXT)),
        _verbatim("style", style),
    )
    body = element(
        "body",
        element("a", "Skip to the timeline", class_="skip", href="#timeline"),
        element(
            "main",
            _header(report, mark, state),
            *_failure(report, trace, logs, error),
            _figures(report, timeline),
            *_warnings(report),
            *timeline_section(timeline, logs),
            _cache(report.cache),
            *_phases(report.phases),
            _facts(report),
            *_commands(report),
        ),
        element("footer", f"Written by {report.tool.name} {report.tool.version}."),
        _verbatim("script", script),
    )
    return "<!DOCTYPE html>\n" + tostring(element("html", head, body, lang="en"), encoding="unicode", method="html")


def _asset(name: str) -> str:
    return resources.files("buildx_cache.report").joinpath("page", name).read_text(encoding="utf-8")


def _verbatim(tag: str, text: str) -> Element:
    made = Element(tag)
    made.text = text
    return made


def _policy(style: str, script: str) -> str:
    """Return the policy, with the hashes that allow one style and one script (CSP level 2)."""
    return (
        f"default-src 'none'; style-src '{_sha256(style)}'; script-src '{_sha256(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )


def _sha256(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _subject(report: BuildReport) -> str:
    tags = (tag for image in report.images.values() for tag in image.tags)
    digests = (short_digest(image.name) for image in report.images.values() if image.name)
    return next(chain(tags, digests), f"build on {report.builder.name}")


def _header(report: BuildReport, mark: str, state: str) -> Element:
    return element(
        "header",
        element(
            "p",
            element("span", mark, aria_hidden="true"),
            f" {state} in {duration(report.seconds)}",
            class_=f"status {report.status}",
        ),
        element("h1", *breakable(clipped(_subject(report), _TEXT))),
        element("p", " · ".join(_origin(report)), class_="quiet"),
    )


def _origin(report: BuildReport) -> Iterator[str]:
    if report.ci.branch:
        yield one_line(clipped(report.ci.branch, _TEXT))
    if report.ci.sha:
        yield report.ci.sha[:12]
    yield report.started.replace("T", " ").partition(".")[0].removesuffix("Z") + " UTC"


def _failure(
    report: BuildReport, trace: BuildTrace | None, logs: _Logs, error: BuildxCacheError | None
) -> Iterator[Element]:
    if report.status == "success":
        return
    parts = [element("h2", "What failed")]
    step = trace.failed if trace else None
    if step:
        place = " ".join(filter(None, (step.stage, step.platform)))
        parts.append(element("p", f"Step {step.number} of {step.total}{f' of {place}' if place else ''}:"))
        parts.append(element("pre", clipped(step.name, _COMMAND), tabindex="0"))
    message = error.message if error else trace.error if trace else ""
    code = f" [{error.code}]" if error else ""
    parts.append(element("p", clipped(message, _COMMAND) or f"Exit code {report.exit_code}.", code, class_="cause"))
    if error and error.hint:
        parts.append(element("p", clipped(error.hint, _COMMAND), class_="hint"))
    lines = (logs.get(step.digest) if step else None) or (trace.log_tail if trace else ())
    if log := tail(lines, _FAILURE_LOG, _FAILURE_LINES):
        parts.append(element("pre", log, class_="log", tabindex="0", aria_label="The end of its log"))
    yield element("section", *parts, class_="failure")


def _figures(report: BuildReport, timeline: Timeline | None) -> Element:
    steps, ratio = report.cache.steps, report.cache.hit_ratio
    written = sum(export.bytes for export in report.cache.exports)
    figures = [
        ("Time", duration(report.seconds), f"build {duration(report.phases.get('build', 0.0))}"),
        ("Steps", str(steps.total), f"{steps.executed} executed"),
        ("Cached", "none" if ratio is None else f"{ratio:.0%}", counted(steps.cached, "step")),
    ]
    if report.cache.saved_seconds:
        figures.append(("Saved", duration(report.cache.saved_seconds), "of steps not run again"))
    if timeline and timeline.seconds:
        share = timeline.critical_seconds / timeline.seconds
        figures.append(("Critical path", duration(timeline.critical_seconds), f"{share:.0%} of the build"))
    if report.build_context and report.build_context.bytes:
        figures.append(("Build context", size(report.build_context.bytes), "sent"))
    if written:
        figures.append(("Cache written", size(written), report.cache.mode))
    return element(
        "dl",
        *(
            element("div", element("dt", name), element("dd", value), element("dd", note, class_="quiet"))
            for name, value, note in figures
        ),
        class_="figures",
    )


def _warnings(report: BuildReport) -> Iterator[Element]:
    if not report.warnings:
        return
    items = [element("li", clipped(each, _WARNING)) for each in report.warnings[:_WARNINGS]]
    if len(report.warnings) > _WARNINGS:
        items.append(element("li", f"and {len(report.warnings) - _WARNINGS} more"))
    title = element("summary", counted(len(report.warnings), "warning"))
    few = {"open": ""} if len(report.warnings) <= 3 else {}  # noqa: PLR2004 -- more would push the rest out of sight
    yield element("details", title, element("ul", *items), class_="warnings", **few)


def _cache(cache: CacheReport) -> Element:
    rows = [(row.way, row.where, row.outcome, row.size, row.detail) for row in cache_rows(cache)]
    access = "read only" if cache.read_only else "read and written"
    return element(
        "section",
        element("h2", "Cache"),
        element("p", f"{cache.mode}, scope ", element("code", clipped(cache.scope, _TEXT)), f", {access}"),
        *([_table(("", "Where", "Outcome", "Size", "Detail"), rows)] if rows else []),
    )


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Element:
    """Return a table; on a narrow screen each row becomes a block, with ``data-name`` as the label of each cell."""
    return element(
        "table",
        element("thead", element("tr", *(element("th", name, scope="col") for name in head))),
        element(
            "tbody",
            *(
                element("tr", *(element("td", clipped(cell, _TEXT), data_name=name) for name, cell in named))
                for named in (tuple(zip(head, row, strict=True)) for row in rows)
            ),
        ),
        class_="wide",
    )


def _phases(phases: Mapping[str, float]) -> Iterator[Element]:
    spent = {name: seconds for name, seconds in phases.items() if seconds > 0}
    longest = max(spent.values(), default=0.0)
    if not longest:
        return
    rows = [
        element(
            "tr",
            element("th", f"of which {name}" if name in ("export", "push") else name, scope="row"),
            element("td", duration(seconds), class_="number"),
            element("td", _share(seconds / longest)),
        )
        for name, seconds in spent.items()
    ]
    yield element("section", element("h2", "Phases"), element("table", element("tbody", *rows), class_="phases"))


def _share(share: float) -> Element:
    bar = element("rect", width=f"{max(share, 0.004):.1%}", height="100%", rx="2")
    return element("svg", bar, class_="track", aria_hidden="true")


def _facts(report: BuildReport) -> Element:
    ci, builder, images = report.ci, report.builder, report.images.values()
    facts = {
        "Tags": "\n".join(tag for image in images for tag in image.tags),
        "Digest": "\n".join(filter(None, (image.digest for image in images))),
        "Image ID": "\n".join(image.id for image in images if image.id not in ("", image.digest)),
        "Platforms": ", ".join(platform for image in images for platform in image.platforms),
        "Platform digests": "\n".join(
            f"{platform} {digest}" for image in images for platform, digest in image.platform_digests.items()
        ),
        "Image went": ", ".join(way for way in ("pushed", "loaded") if any(getattr(image, way) for image in images)),
        "CI": ci.provider,
        "Branch": ci.branch or "",
        "Commit": ci.sha or "",
        "Pull request": f"{ci.pull_request}{' from a fork' if ci.is_fork else ''}" if ci.pull_request else "",
        "Builder": f"{builder.name}{', made by this call' if builder.created else ''}",
        "Driver": builder.driver,
        "BuildKit": builder.buildkit,
        "Retries": "\n".join(f"{each.phase}: {each.count} times, {each.reason}" for each in report.retries),
        "Docker calls": str(report.docker_calls or ""),
        "Exit code": str(report.exit_code),
    }
    pairs = [
        element("div", element("dt", name), element("dd", clipped(value, _TEXT)))
        for name, value in facts.items()
        if value
    ]
    return element("section", element("h2", "Environment"), element("dl", *pairs, class_="facts"))


def _commands(report: BuildReport) -> Iterator[Element]:
    if not report.commands:
        return
    shown = [
        element("pre", clipped(_shell(command), _COMMAND), class_="command", tabindex="0")
        for command in report.commands[:_COMMANDS]
    ]
    if len(report.commands) > _COMMANDS:
        shown.append(element("p", f"and {len(report.commands) - _COMMANDS} more", class_="quiet"))
    title = element("h2", counted(len(report.commands), "command"))
    yield element("section", title, element("p", "Secrets are hidden.", class_="quiet"), *shown)


def _shell(command: tuple[str, ...]) -> str:
    """Return a command quoted for a shell, one option a line."""
    return " ".join(f"\\\n    {word}" if word.startswith("-") else word for word in map(shell_word, command))
