"""A frontend image that answers what a test says: what a repository's ``# syntax`` line may have BuildKit run.

A frontend is a program that asks BuildKit by gRPC over its stdin and stdout (``frontend/gateway``). This one only
prints bytes that were made before: an empty image, with the metadata that is wanted of it.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path

from tests.integration.conftest import Docker

_SETTINGS, _HEADERS, _DATA = 4, 1, 0
_END_STREAM, _END_HEADERS = 1, 4


def _frame(kind: int, flags: int, stream: int, content: bytes) -> bytes:
    """RFC 9113, 4.1."""
    return struct.pack(">I", len(content))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + content


def _number(value: int) -> bytes:
    low, high = value & 0x7F, value >> 7
    return bytes([low | 0x80]) + _number(high) if high else bytes([low])


def _field(number: int, content: bytes) -> bytes:
    """Spell a field of Protocol Buffers that has a length."""
    return _number(number << 3 | 2) + _number(len(content)) + content


def _text(content: bytes) -> bytes:
    return bytes([len(content)]) + content


def conversation(metadata: Mapping[str, bytes]) -> bytes:
    """Return what a frontend says to BuildKit whose result is an empty image with ``metadata``."""
    pairs = (_field(10, _field(1, key.encode()) + _field(2, value)) for key, value in metadata.items())
    message = _field(1, _field(1, b"") + b"".join(pairs))  # ReturnRequest.result, Result.refDeprecated
    headers = b"".join(
        (
            b"\x83\x86",  # POST, http
            b"\x04" + _text(b"/moby.buildkit.v1.frontend.LLBBridge/Return"),
            b"\x01" + _text(b"localhost"),
            b"\x0f\x10" + _text(b"application/grpc"),
            b"\x00" + _text(b"te") + _text(b"trailers"),
        )
    )
    return b"".join(
        (
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            _frame(_SETTINGS, 0, 0, b""),
            _frame(_HEADERS, _END_HEADERS, 1, headers),
            _frame(_DATA, _END_STREAM, 1, b"\0" + struct.pack(">I", len(message)) + message),
        )
    )


def push_frontend(docker: Docker, folder: Path, metadata: Mapping[str, bytes]) -> str:
    """Push the image of such a frontend to the test's registry; return its name."""
    folder.mkdir()
    (folder / "says").write_bytes(conversation(metadata))
    (folder / "Dockerfile").write_text(
        f'FROM {docker.base}\nCOPY says /\nENTRYPOINT ["/bin/sh", "-c", "cat /says; sleep 1"]\n'
    )
    image = f"{docker.repository('frontend')}:1"
    docker.docker("buildx", "build", "--builder", "default", "--tag", image, "--push", str(folder))
    return image
