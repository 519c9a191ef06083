"""The medians as bars, in an SVG that reads well on light and on dark."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from tests.benchmarks.contenders import Contender
from tests.benchmarks.results import Results
from tests.benchmarks.spread import Spread
from tests.benchmarks.workloads import Workload

_WIDTH, _LABELS, _FIGURES = 760, 230, 60
_TITLE, _BAR, _GAP, _MARGIN = 26, 18, 16, 16
_SCALE = _WIDTH - _LABELS - _FIGURES - 2 * _MARGIN

_STYLE = """\
text { font: 12px system-ui, sans-serif; fill: #24292f; }
.title { font-weight: 600; font-size: 13px; }
.label { text-anchor: end; }
.other { fill: #a8b1ba; }
.own { fill: #1f6feb; }
.spread { stroke: #24292f; stroke-opacity: .55; stroke-width: 1.5; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; }
  .other { fill: #57606a; }
  .own { fill: #58a6ff; }
  .spread { stroke: #e6edf3; }
}
"""


def chart(results: Results, size: int) -> str:
    """Bars of every contender, and a line from the lowest sample to the highest. Each workload has its own scale."""
    body: list[str] = []
    top = float(_MARGIN)
    for workload in results.workloads():
        taken = [
            (contender, spread)
            for contender in results.contenders()
            if (spread := results.spread(size, workload, contender, lambda sample: sample.seconds))
        ]
        body += _group(workload, taken, top)
        top += _TITLE + _BAR * len(taken) + _GAP
    title = f"Seconds for an image of {size} MB, on a new builder each time"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {top:g}" width="{_WIDTH}" role="img" '
        f'aria-label="{title}">\n<title>{title}</title>\n<style>\n{_STYLE}</style>\n' + "\n".join(body) + "\n</svg>\n"
    )


def _group(workload: Workload, taken: list[tuple[Contender, Spread]], top: float) -> Iterator[str]:
    scale = _SCALE / max((spread.high for _, spread in taken), default=1.0)
    yield f'<text class="title" x="{_MARGIN}" y="{top + 14:g}">{escape(workload.title)}</text>'
    for number, (contender, spread) in enumerate(taken):
        yield from _bar(contender, spread, top + _TITLE + number * _BAR, scale)


def _bar(contender: Contender, spread: Spread, top: float, scale: float) -> Iterator[str]:
    left, middle = _MARGIN + _LABELS, top + _BAR / 2
    kind = "own" if contender.reports else "other"
    title = escape(contender.title.replace("`", ""))
    width, low, high = spread.median * scale, left + spread.low * scale, left + spread.high * scale
    yield f'<text class="label" x="{left - 8}" y="{middle + 4:g}">{title}</text>'
    yield f'<rect class="{kind}" x="{left}" y="{top + 2:g}" width="{width:.1f}" height="{_BAR - 4}" rx="2"/>'
    yield f'<line class="spread" x1="{low:.1f}" x2="{high:.1f}" y1="{middle:g}" y2="{middle:g}"/>'
    yield f'<text x="{high + 8:.1f}" y="{middle + 4:g}">{spread.median:.2f}s</text>'
