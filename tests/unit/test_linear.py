"""Texts of others are read in time that grows with their length alone: hostile ones are made to be looked at twice."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from buildx_cache.cache_tags import cache_tag
from buildx_cache.caches import CacheEntry
from buildx_cache.ci.annotations import annotate
from buildx_cache.ci.folding import json_without_commands, without_commands
from buildx_cache.diagnose import diagnose, find_cause
from buildx_cache.outcome import export_report, is_imported
from buildx_cache.progress import StreamParser, TraceBuilder
from buildx_cache.progress.events import TextLine, VertexEvent
from buildx_cache.progress.names import step_label, transfer_kind
from buildx_cache.redaction import Redactor, redact
from buildx_cache.reference import safe_tag
from buildx_cache.report.markup import clipped, one_line
from buildx_cache.request.layers import _days_to_hours
from buildx_cache.run.hiding import Hiding
from buildx_cache.wording import as_message, printable

LENGTH = 50_000
SECONDS = 2  # where each character is looked at for each other one, it takes minutes


def parsed(text: str) -> None:
    parser = StreamParser()
    parser.feed(f"{text}\n".encode())
    parser.close()


def failed(text: str) -> None:
    """Read a text as BuildKit's and Buildx' last words, as a Dockerfile or a registry can have it."""
    name = "[1/1] RUN x"
    vertex = VertexEvent(digest="x", inputs=(), name=name, started=1, completed=2, cached=False, error=text)
    lines = (TextLine(text=f"WARNING: {text}"[: 16 * 1024]) for _ in range(10))
    trace = TraceBuilder()
    for event in Hiding(Redactor(())).take((vertex, *lines)):
        trace.add(event)
    diagnose(trace.trace(), 1)
    local = CacheEntry(type="local", attributes=(("src", "/c"),))
    is_imported(local, trace.trace())
    export_report(local, trace.trace())


READERS: dict[str, Callable[[str], object]] = {
    "stream": parsed,
    "printable": printable,
    "as_message": as_message,
    "without_commands": without_commands,
    "json_without_commands": json_without_commands,
    "annotate": lambda text: annotate("github", [text], "Dockerfile"),
    "step_label": step_label,
    "transfer_kind": transfer_kind,
    "redact": redact,
    "safe_tag": safe_tag,
    "cache_tag": cache_tag,
    "clipped": lambda text: clipped(text, 600),
    "one_line": one_line,
    "duration": _days_to_hours,
    "find_cause": find_cause,
    "failed": failed,
}
# What begins a text, and what it goes on with.
TEXTS = (
    *(("", repeated) for repeated in (" ", "\t", "\n", "\r", "\r ", "\n ", "\xa0", "a", "0", "[", "[a ", "(", "#")),
    *(("##", repeated) for repeated in ("\u200b", "\ufe0f", "#\u200b")),
    *(("[", repeated) for repeated in (" ", "\n ", "a ", "1/")),
    *(('{"', repeated) for repeated in ('\\"', '\\\\"', '"', "[", "a")),
    *(("http://", repeated) for repeated in ("a:", "a@", "a:b@", "/")),
    *(
        ("", repeated)
        for repeated in (
            "unable to access ",
            "load metadata for x: ",
            "resolve image config for x: ",
            "lookup ",
            "lookup a",
            "could not lock ",
            "process ",
            "local cache import at ",
            "no builder ",
            "secret ",
            "http://a/v2/",
        )
    ),
    *(("x", repeated) for repeated in (" ", "\x1b[", "\x1b]0", "\x9b0", "-", ".", "/", "a/")),
)


@pytest.mark.parametrize("reader", READERS)
def test_no_text_takes_longer_than_its_length(reader: str) -> None:
    for start, repeated in TEXTS:
        text = start + repeated * (LENGTH // len(repeated)) + "x"
        began = time.process_time()
        READERS[reader](text)
        assert time.process_time() - began < SECONDS, (start, repeated)
