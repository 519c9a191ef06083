"""A run of the program whose processes are looked at all the time, and the search for planted secrets."""

from __future__ import annotations

import base64
import gzip
import io
import json
import os
import subprocess
import sys
import tarfile
import threading
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

from tests.integration.conftest import PROGRAM, Docker

PASSED_ON = (
    "PATH",
    "HOME",
    "XDG_CACHE_HOME",
    "XDG_RUNTIME_DIR",
    "DOCKER_HOST",
    "BUILDX_CACHE_NO_WAIT",
    "DOCKER_CONFIG",
    "BUILDX_CONFIG",
    "TMPDIR",
    "LANG",
)
# The program, which waits for silent and busy registries as long as a test can.
IMPATIENT = (str(Path(__file__).with_name("impatient.py")),)
# Seconds between two looks: less than any child of the program lives.
_PAUSE = 0.003


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a process of the program's tree showed of itself; ``is_own`` is the program."""

    argv: bytes
    environ: bytes
    is_own: bool


@dataclass(kw_only=True)
class Run:
    """How a watched run ended."""

    code: int = 0
    stdout: bytes = b""
    stderr: bytes = b""
    seen: set[Seen] = field(default_factory=set)

    @property
    def children(self) -> list[Seen]:
        """All but the program, what it is before it becomes another, and what has ended, which shows nothing."""
        own = {each.argv for each in self.seen if each.is_own}
        return [each for each in self.seen if each.argv and each.argv not in own]

    def take_from_stderr(self, start: bytes) -> list[bytes]:
        """The lines that begin so, which are no longer there."""
        lines = self.stderr.splitlines(keepends=True)
        self.stderr = b"".join(line for line in lines if not line.startswith(start))
        return [line.rstrip(b"\n") for line in lines if line.startswith(start)]


def planted(secret: str) -> tuple[bytes, ...]:
    """The secret as it stands raw, in a URL, and within base64 of anything."""
    raw = secret.encode()
    coded = (base64.b64encode(b"-" * before + raw + b"-" * 3)[4 if before else 0 : -6] for before in range(3))
    return (raw, quote(secret, safe="").encode(), *(core[:12] if len(core) < 16 else core[2:] for core in coded))


def leaks(text: bytes, secrets: Mapping[str, str]) -> list[str]:
    """The names of the secrets that stand in ``text``."""
    return [name for name, secret in secrets.items() if any(form in text for form in planted(secret))]


def watch(
    docker: Docker,
    *words: str,
    cwd: Path,
    stdin: str = "",
    until: str = "",
    env: Mapping[str, str] | None = None,
    stderr: BinaryIO | int = subprocess.PIPE,
) -> Run:
    """Run the program without the engine's own variables; send SIGTERM once ``until``, if given, is on stderr."""
    run = Run()
    inherited = docker.child_env()
    child = subprocess.Popen(
        (sys.executable, *PROGRAM, *words),
        env={**{name: inherited[name] for name in PASSED_ON if name in inherited}, **(env or {})},
        cwd=cwd,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
    )
    ended = threading.Event()
    watcher = threading.Thread(target=_look, args=(child.pid, run.seen, ended))
    watcher.start()
    try:
        run.stdout, run.stderr = _talk(child, stdin, until.encode())
    finally:
        ended.set()
        watcher.join()
        child.kill()
    run.code = child.returncode
    return run


def _talk(child: subprocess.Popen[bytes], stdin: str, until: bytes) -> tuple[bytes, bytes]:
    if not until:
        return child.communicate(stdin.encode())
    assert child.stderr is not None
    said = b""
    for line in child.stderr:
        said += line
        if until in line:
            child.terminate()
            break
    out, err = child.communicate()
    return out, said + err


def _look(root: int, seen: set[Seen], ended: threading.Event) -> None:
    family, others = {root}, set[int]()
    while not ended.wait(_PAUSE):
        there = {int(name) for name in os.listdir("/proc") if name.isdigit()}  # noqa: PTH208 -- a hundred times a second
        others &= there
        for number in there - others:
            entry = Path("/proc", str(number))
            try:
                parent = int((entry / "stat").read_bytes().rpartition(b")")[2].split()[1])
                if number not in family and parent not in family:
                    others.add(number)  # it has its parent for life, or a foreign one
                    continue
                family.add(number)
                seen.add(
                    Seen(
                        argv=(entry / "cmdline").read_bytes(),
                        environ=(entry / "environ").read_bytes(),
                        is_own=number == root,
                    )
                )
            except OSError:
                continue


def contents(place: Path) -> Iterator[tuple[str, bytes]]:
    """Every file below ``place``, and what is packed in it: members of archives, and what is compressed."""
    for path in sorted(place.rglob("*")):
        if path.is_file() and not path.is_symlink():
            yield from _unpacked(str(path.relative_to(place)), path.read_bytes())


def _unpacked(name: str, content: bytes) -> Iterator[tuple[str, bytes]]:
    yield name, content
    if content.startswith(b"\x1f\x8b"):
        try:
            yield from _unpacked(f"{name} (unpacked)", gzip.decompress(content))
        except (OSError, EOFError, zlib.error):
            return
    elif tarfile.is_tarfile(io.BytesIO(content)):
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            for member in archive:
                if member.isreg() and (file := archive.extractfile(member)):
                    yield from _unpacked(f"{name}:{member.name}", file.read())


def is_image_configuration(content: bytes) -> bool:
    """Whether this is where BuildKit keeps an image's history, which has the values of build arguments."""
    try:
        value = json.loads(content)
    except ValueError:
        return False
    return isinstance(value, dict) and "history" in value and "rootfs" in value
