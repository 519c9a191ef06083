"""Write the call's events as one JSON object a line on stdout; ``docs/progress-json.md`` describes the fields."""

from __future__ import annotations

import json
import threading
import time
from typing import Any, TextIO

from buildx_cache import __version__
from buildx_cache.buildkit.classify import is_cancelled
from buildx_cache.buildkit.events import Event, LogEvent, StatusEvent, TextLine, VertexEvent
from buildx_cache.buildkit.trace import BuildTrace
from buildx_cache.buildkit.vertex_names import transfer_kind
from buildx_cache.ci.capabilities import json_without_commands
from buildx_cache.display.quiet import failure_log
from buildx_cache.display.steps import Activity, LogLines, Steps
from buildx_cache.errors import BuildxCacheError
from buildx_cache.formatting import printable
from buildx_cache.report import BuildReport

VERSION = 1
"""The version of the format. It changes when a field changes its meaning or is removed, not when a field is added."""

_STREAMS = {1: "stdout", 2: "stderr"}


class JsonDisplay:
    """Write events for programs. The call ends if the reader closes the stream."""

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
        self._written: dict[Activity, dict[str, Any]] = {}
        self._moved: dict[Activity, tuple[int, int]] = {}

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
        """Write a change of a step or transfer, its log lines, its bytes, or a warning."""
        match event:
            case TextLine():
                if event.text.startswith("WARNING:"):
                    self.warn(event.text.removeprefix("WARNING:").strip())
            case VertexEvent() | StatusEvent() | LogEvent():
                if (activity := self._steps.take(event)) is not None:
                    self._about(activity, event)

    def restart(self) -> None:
        """Write the start of another attempt."""
        self._forget()
        self._tell("restart")

    def tick(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Write the steps and transfers that were stopped."""
        for activity in self._written:
            if activity.is_running:
                self._tell("step" if activity.label else "transfer", **{**_fields(activity), "state": "stopped"})

    def result(self, line: str) -> None:
        """Write a result."""
        self._tell("result", text=line)

    def summary(self, report: BuildReport) -> None:
        """Write the report."""
        self._tell("report", report=json.loads(report.to_json()))

    def failure(self, error: BuildxCacheError, trace: BuildTrace | None) -> None:
        """Write the error."""
        log = [printable(line) for line in failure_log(trace)] if trace else []
        code = int(error.exit_code)
        message, hint = printable(error.message), printable(error.hint)
        self._tell("error", code=error.code, message=message, hint=hint, exit_code=code, log=log)

    def _about(self, activity: Activity, event: VertexEvent | StatusEvent | LogEvent) -> None:
        match event:
            case VertexEvent():
                if activity.has_ended:
                    for stream, line in self._lines.rest(event.digest):
                        self._log(activity, stream, line)
                self._state(activity)
            case LogEvent():
                for line in self._lines.take(event):
                    self._log(activity, event.stream, line)
            case StatusEvent():
                self._bytes(activity)
                if activity.has_ended:  # a layer of a base image was pulled after all
                    self._state(activity)

    def _state(self, activity: Activity) -> None:
        if not activity.has_begun:
            return
        fields = _fields(activity)
        if fields != self._written.get(activity):
            self._written[activity] = fields
            self._tell("step" if activity.label else "transfer", **fields)

    def _bytes(self, activity: Activity) -> None:
        if not activity.has_begun:
            return
        moved = (activity.state.bytes, activity.state.bytes_total)
        if any(moved) and moved != self._moved.get(activity):
            self._moved[activity] = moved
            self._tell("progress", id=activity.key, bytes=moved[0], bytes_total=moved[1])

    def _log(self, activity: Activity, stream: int, line: str) -> None:
        self._tell("log", id=activity.key, stream=_STREAMS.get(stream, "stdout"), text=printable(line))

    def _tell(self, event: str, **fields: object) -> None:
        line = json.dumps({"event": event, "time": round(time.time(), 3), **fields})
        self._out.write(f"{json_without_commands(line)}\n")
        self._out.flush()


def _fields(activity: Activity) -> dict[str, Any]:
    state, label = activity.state, activity.label
    own: dict[str, Any] = {"kind": transfer_kind(state.name)}
    if label:
        own = {"platform": label.platform, "stage": label.stage, "number": label.number, "total": label.total}
    return {
        "id": activity.key,
        **own,
        "name": activity.name,
        "state": _state(activity),
        "started": state.started,
        "seconds": round(state.seconds, 3),
        "error": printable(state.error),
    }


def _state(activity: Activity) -> str:
    if activity.is_running:
        return "running"
    if activity.state.error:
        return "stopped" if is_cancelled(activity.state.error) else "failed"
    return "cached" if activity.is_cached else "done"
