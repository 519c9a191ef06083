"""What a call does, as one JSON object a line on stdout: ``docs/progress-json.md`` says what is in each."""

from __future__ import annotations

import json
import threading
import time
from typing import Any, TextIO

from buildx_cache import __version__
from buildx_cache.buildkit import BuildTrace, Event, LogEvent, StatusEvent, TextLine, VertexEvent, is_cancelled
from buildx_cache.buildkit.vertex_names import transfer_kind
from buildx_cache.ci.capabilities import json_without_commands
from buildx_cache.display.quiet import failure_log
from buildx_cache.display.steps import LogLines, Steps, Watched
from buildx_cache.errors import BuildxCacheError
from buildx_cache.formatting import printable
from buildx_cache.report import BuildReport

VERSION = 1
"""Of the format: a new one where a field changes its meaning or goes, not where one is added."""

_STREAMS = {1: "stdout", 2: "stderr"}


class JsonDisplay:
    """Events for programs; people read nothing of this. A reader that goes away ends the call."""

    every = 0.0

    def __init__(self, stdout: TextIO) -> None:
        self.lock = threading.RLock()
        self.broken: BuildxCacheError | None = None
        self._out = stdout
        self._forget()
        self._tell("start", version=VERSION, tool={"name": "buildx-cache", "version": __version__})

    def _forget(self) -> None:
        self._steps = Steps()
        self._lines = LogLines()
        self._said: dict[Watched, dict[str, Any]] = {}
        self._moved: dict[Watched, tuple[int, int]] = {}

    def say(self, text: str) -> None:
        """Write a message."""
        self._tell("message", text=printable(text))

    def warn(self, text: str) -> None:
        """Write a warning."""
        self._tell("warning", text=printable(text))

    def command(self, line: str) -> None:
        """Write a command."""
        self._tell("command", text=line)

    def phase(self, name: str) -> None:
        """Write the beginning of a phase."""
        if name:
            self._tell("phase", name=name)

    def event(self, event: Event) -> None:
        """Write a change of a step or transfer, lines of its log, bytes that it moved, or a warning."""
        match event:
            case TextLine():
                if event.text.startswith("WARNING:"):
                    self.warn(event.text.removeprefix("WARNING:").strip())
            case VertexEvent() | StatusEvent() | LogEvent():
                if (watched := self._steps.take(event)) is not None:
                    self._about(watched, event)

    def restart(self) -> None:
        """Write that the build begins again."""
        self._forget()
        self._tell("restart")

    def beat(self) -> None:
        """Nothing."""

    def close(self) -> None:
        """Write which steps and transfers were stopped."""
        for watched in self._said:
            if watched.is_running:
                self._tell("step" if watched.label else "transfer", **{**_fields(watched), "state": "stopped"})

    def result(self, line: str) -> None:
        """Write a result."""
        self._tell("result", text=line)

    def summary(self, report: BuildReport) -> None:
        """Write the report."""
        self._tell("report", report=json.loads(report.to_json()))

    def failure(self, error: BuildxCacheError, trace: BuildTrace | None) -> None:
        """Write what failed."""
        log = [printable(line) for line in failure_log(trace)] if trace else []
        code = int(error.exit_code)
        message, hint = printable(error.message), printable(error.hint)
        self._tell("error", code=error.code, message=message, hint=hint, exit_code=code, log=log)

    def _about(self, watched: Watched, event: VertexEvent | StatusEvent | LogEvent) -> None:
        match event:
            case VertexEvent():
                if watched.has_ended:
                    for stream, line in self._lines.rest(event.digest):
                        self._log(watched, stream, line)
                self._state(watched)
            case LogEvent():
                for line in self._lines.take(event):
                    self._log(watched, event.stream, line)
            case StatusEvent():
                self._bytes(watched)
                if watched.has_ended:  # a base image of which something was pulled after all
                    self._state(watched)

    def _state(self, watched: Watched) -> None:
        if not watched.has_begun:
            return
        told = _fields(watched)
        if told != self._said.get(watched):
            self._said[watched] = told
            self._tell("step" if watched.label else "transfer", **told)

    def _bytes(self, watched: Watched) -> None:
        if not watched.has_begun:
            return
        moved = (watched.state.bytes, watched.state.bytes_total)
        if any(moved) and moved != self._moved.get(watched):
            self._moved[watched] = moved
            self._tell("progress", id=watched.key, bytes=moved[0], bytes_total=moved[1])

    def _log(self, watched: Watched, stream: int, line: str) -> None:
        self._tell("log", id=watched.key, stream=_STREAMS.get(stream, "stdout"), text=printable(line))

    def _tell(self, event: str, **fields: object) -> None:
        line = json.dumps({"event": event, "time": round(time.time(), 3), **fields})
        self._out.write(f"{json_without_commands(line)}\n")
        self._out.flush()


def _fields(watched: Watched) -> dict[str, Any]:
    state, label = watched.state, watched.label
    own: dict[str, Any] = {"kind": transfer_kind(state.name)}
    if label:
        own = {"platform": label.platform, "stage": label.stage, "number": label.number, "total": label.total}
    return {
        "id": watched.key,
        **own,
        "name": watched.name,
        "state": _state(watched),
        "started": state.started,
        "seconds": round(state.seconds, 3),
        "error": printable(state.error),
    }


def _state(watched: Watched) -> str:
    if watched.is_running:
        return "running"
    if watched.state.error:
        return "stopped" if is_cancelled(watched.state.error) else "failed"
    return "cached" if watched.is_cached else "done"
