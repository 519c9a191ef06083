"""Texts of others take time in proportion to their length: hostile ones are made to be looked at again and again."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from buildx_cache.buildkit.classify import absent_folder, classify, classify_command, is_cancelled
from buildx_cache.buildkit.events import TextLine, VertexEvent
from buildx_cache.buildkit.failure import diagnose
from buildx_cache.buildkit.stream import StreamParser
from buildx_cache.buildkit.trace import Transfer
from buildx_cache.buildkit.trace_builder import TraceBuilder
from buildx_cache.buildkit.vertex_names import step_label, transfer_kind
from buildx_cache.cache_tags import cache_tag
from buildx_cache.caches.parsing import parse_export
from buildx_cache.caches.vertices import refused_exports
from buildx_cache.ci.capabilities import json_without_commands, without_commands
from buildx_cache.ci.step_outputs import annotate
from buildx_cache.formatting import as_message, printable
from buildx_cache.redaction import Redactor, redact
from buildx_cache.reference import safe_tag
from buildx_cache.registry.distribution import _NEXT
from buildx_cache.report.html_elements import clipped, one_line
from buildx_cache.request.build_request import BuildRequest
from buildx_cache.request.large_files import heavy_entries
from buildx_cache.request.sources import _days_to_hours
from buildx_cache.run.redactor import EventRedactor
from buildx_cache.run.results import export_result, imported
from buildx_cache.secret_names import is_secret_name

ENTRIES = tuple(
    parse_export(text)
    for text in ("a/a:a", "type=local,dest=/c", "gha", "type=s3,bucket=a", "type=azblob,account_url=http://a")
)
LENGTH = 50_000
DOCKERFILE = 200_000
SECONDS = 10  # where each character is looked at for each other one, it takes minutes


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
    for event in EventRedactor(Redactor(())).take((vertex, *lines)):
        trace.add(event)
    diagnose(trace.trace(), 1)
    names = (f"importing cache manifest from {text}", *(name for entry in ENTRIES for name in entry.backend.exporters))
    moved = (
        Transfer(kind=transfer_kind(name), name=name, error=text, seconds=0.0, bytes=0, digest="") for name in names
    )
    ended = replace(trace.trace(), transfers=tuple(moved))
    imported(ENTRIES, ended)
    export_result(ENTRIES[0], ended, ENTRIES)
    refused_exports(text, ENTRIES)


READERS: dict[str, Callable[[str], object]] = {
    "stream": parsed,
    "stream-of-values": lambda text: parsed("{\n" + text),
    "link": _NEXT.search,
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
    "classify": classify,
    "classify_command": lambda text: classify_command("exit code: 1", (text,)),
    "is_cancelled": lambda text: is_cancelled(f"context canceled {text}"),
    "absent_folder": absent_folder,
    "failed": failed,
    "is_secret_name": lambda text: is_secret_name(f"{text}!"),
}
# What begins a text, and what it goes on with.
TEXTS = (
    *(
        ("", repeated)
        for repeated in (" ", "\t", "\n", "\r", "\r ", "\n ", "\xa0", "a", "0", "v_", "[", "[a ", "(", "#")
    ),
    *(("", repeated) for repeated in ("\u2028", "\u200b", "<", "<>;", '{"a": "')),
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
            "http://a/v2/a/manifests/a",
            "?scope=repository:",
            "mkdir /c/c",
            "http://a.",
        )
    ),
    ("lookup ", "`"),
    ("BUNDLE_", "__"),
    *(("x", repeated) for repeated in ("%", " ", "\x1b[", "\x1b]0", "\x9b0", "-", ".", "/", "a/")),
)


@pytest.mark.parametrize("reader", READERS)
def test_a_long_text_takes_no_time(reader: str) -> None:
    for start, repeated in TEXTS:
        text = start + repeated * (LENGTH // len(repeated)) + "x"
        began = time.process_time()
        READERS[reader](text)
        assert time.process_time() - began < SECONDS, (start, repeated)


DOCKERFILES = {
    "newlines": "\n" * DOCKERFILE,
    "spaces": "\\" + " " * DOCKERFILE + "x",
    "onbuild": "ONBUILD " * (DOCKERFILE // 8),
    "flags": "COPY " + "--a=b " * (DOCKERFILE // 6) + "x /",
    "flag": "COPY --" + "a" * DOCKERFILE,
    "nested": "COPY " + "[" * DOCKERFILE,
    "names": "COPY " + "a/b " * (DOCKERFILE // 4) + " /",
    "long-name": "COPY " + "a/" * (DOCKERFILE // 2) + " /",
    "mounts": "RUN " + "--mount=type=bind,source=a " * (DOCKERFILE // 27),
    "continued": "COPY \\\n" * (DOCKERFILE // 7),
}


@pytest.mark.parametrize("name", DOCKERFILES)
def test_a_hostile_dockerfile_is_read_in_no_time(tmp_path: Path, name: str) -> None:
    (tmp_path / "Dockerfile").write_text(f"FROM scratch\n{DOCKERFILES[name]}\n")
    for at in range(300):
        (tmp_path / f"f{at}").touch()
    with (tmp_path / "big").open("wb") as out:
        out.truncate(10**9)
    begin = time.process_time()
    assert [each.line for each in heavy_entries(BuildRequest(context=str(tmp_path)))] == ["big"]
    assert time.process_time() - begin < 15


def test_a_deep_context_is_weighed(tmp_path: Path) -> None:
    folder = tmp_path / "/".join(["d"] * 350)
    folder.mkdir(parents=True)
    with (folder / "big").open("wb") as out:
        out.truncate(10**9)
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(300)
    try:
        (found,) = heavy_entries(BuildRequest(context=str(tmp_path)))
    finally:
        sys.setrecursionlimit(limit)
    assert found.bytes == 10**9
