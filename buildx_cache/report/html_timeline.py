"""The timeline of the HTML page: a bar for each step and transfer, which opens to show details and the log's end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from xml.etree.ElementTree import Element

from buildx_cache.formatting import counted, duration, size, with_short_digests
from buildx_cache.report.html_elements import clipped, element, tail
from buildx_cache.report.timeline import AFTER, BEFORE, Lane, Row, RowKind, Timeline

_NAME = 500
_ERROR = 400
_LOG = 8 * 1024
_LOGS = 150 * 1024
"""The most bytes of all logs together."""
_LINES = 20

_WORDS: dict[RowKind, str] = {
    "cached": "cached",
    "loading": "cached, loaded",
    "executed": "executed",
    "pulling": "pulled",
    "failed": "failed",
    "stopped": "stopped",
    "unreached": "not reached",
    "resolving": "looked up",
    "context": "context",
    "importing": "cache import",
    "exporting": "exported",
    "pushing": "pushed",
}
_CHOICES = (("all", "All"), ("worked", "Not cached"), ("critical", "Critical path"))
_TICKS = 4
_NARROWEST = 0.4
"""The shortest bar, in percent of the track, so that it stays visible."""


def timeline_section(timeline: Timeline | None, logs: Mapping[str, tuple[str, ...]]) -> Iterator[Element]:
    """Yield the section, unless the timeline is empty.

    ``logs`` maps the digest of each vertex to its last lines.
    """
    if timeline is None or not timeline.rows:
        return
    room = min(_LOG, _LOGS // max(sum(bool(logs.get(row.digest)) for row in timeline.rows), 1))
    tails = {row.digest: tail(logs.get(row.digest, ()), room, _LINES) for row in timeline.rows}
    yield element(
        "section",
        element("h2", "Timeline"),
        _filters(timeline),
        _legend(timeline),
        _axis(timeline.seconds),
        *(_lane(lane, timeline.seconds, tails) for lane in timeline.lanes),
        id="timeline",
    )


def _filters(timeline: Timeline) -> Element:
    """Return radio buttons, which the style sheet uses to filter rows."""
    counts = {
        "all": len(timeline.rows),
        "worked": sum(row.kind not in ("cached", "unreached") for row in timeline.rows),
        "critical": sum(row.critical for row in timeline.rows),
    }
    return element(
        "fieldset",
        element("legend", "Rows shown"),
        *(
            element(
                "label",
                element("input", type="radio", name="shown", id=f"shown-{key}", **_checked(key)),
                f"{word} ",
                element("span", str(counts[key]), class_="quiet"),
            )
            for key, word in _CHOICES
        ),
    )


def _checked(key: str) -> dict[str, str]:
    return {"checked": ""} if key == _CHOICES[0][0] else {}


def _legend(timeline: Timeline) -> Element:
    there = {row.kind for row in timeline.rows}
    keys = [
        element("li", element("span", class_=f"key {kind}"), word)
        for kind, word in _WORDS.items()
        if kind in there and kind != "unreached"
    ]
    return element("ul", *keys, element("li", "◆ critical path"), class_="legend")


def _axis(seconds: float) -> Element:
    ticks = [element("span", duration(seconds * tick / _TICKS)) for tick in range(_TICKS + 1)]
    return element("div", element("div", *ticks, class_="ticks"), class_="axis", aria_hidden="true")


def _lane(lane: Lane, seconds: float, tails: Mapping[str, str]) -> Element:
    cached = sum(row.kind in ("cached", "loading") for row in lane.rows)
    steps = counted(len(lane.rows), "step") if lane.title not in (BEFORE, AFTER) else ""
    notes = [lane.platform, steps, f"{cached} cached" if cached else ""]
    return element(
        "section",
        element("h3", clipped(lane.title, _NAME), " ", element("small", " · ".join(filter(None, notes)))),
        *(_row(row, seconds, tails[row.digest]) for row in lane.rows),
        class_="lane",
    )


def _row(row: Row, seconds: float, log: str) -> Element:
    classes = " ".join(filter(None, ("row", row.kind, "critical" if row.critical else "")))
    mark = [element("span", "◆ ", title="on the critical path", class_="mark")] if row.critical else []
    return element(
        "details",
        element(
            "summary",
            element("span", *mark, element("code", clipped(with_short_digests(row.name), _NAME)), class_="name"),
            _track(row, seconds),
            element("span", _time(row), class_="time"),
        ),
        element(
            "div",
            element("p", ", ".join(_facts(row)) + "."),
            *([element("p", clipped(row.error, _ERROR), class_="cause")] if row.error else []),
            *([element("pre", log, class_="log")] if log else []),
            class_="detail",
        ),
        class_=classes,
    )


def _track(row: Row, seconds: float) -> Element:
    bars = [_bar(row, seconds)] if row.kind != "unreached" and seconds else []
    return element("svg", *bars, class_="track", aria_hidden="true")


def _bar(row: Row, seconds: float) -> Element:
    width = max(100 * (row.end - row.start) / seconds, _NARROWEST)
    left = min(100 * row.start / seconds, 100 - width)
    return element("rect", x=f"{max(left, 0):.2f}%", width=f"{min(width, 100):.2f}%", height="100%", rx="2")


def _time(row: Row) -> str:
    return _WORDS[row.kind] if row.kind in ("cached", "unreached") else duration(row.seconds)


def _facts(row: Row) -> Iterator[str]:
    yield _WORDS[row.kind].capitalize()
    if row.kind != "unreached":
        yield f"from {duration(row.start)} to {duration(row.end)}"
    if row.size:
        yield size(row.size)
    if row.critical:
        yield "on the critical path"
