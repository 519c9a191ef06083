"""The image that is built: generated files in layers as real images have them, of any size, the same every time."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

# Files of 1 MiB. A third is noise: gzip looks back 32 KiB and does not see that each file has the same. Modification
# times are fixed, and nothing is put into folders of the base, so that a step gives the same layer every time: the disk
# of the registry does not grow with every sample.
_GENERATE = """\
#!/bin/sh
# generate FOLDER COUNT WORDS: so many files, the same for the same words.
set -eu
cd /dev/shm
seed=$(printf %d "0x$(echo "$3" | sha256sum | cut -c 1-7)")
awk -v "seed=$seed" 'BEGIN { srand(seed); for (i = 0; i < 349525; i++) printf "%c", 1 + int(rand() * 255) }' > noise
yes "a line of text that compresses as well as any, of seed $seed" | head -c 699050 > text
mkdir "$1"
for number in $(seq "$2"); do
    cat noise text > "$1/$number"
done
touch -d @0 "$1"/* "$1"
"""
_DOCKERFILE = """\
FROM {base}
COPY generate /generate
RUN /generate /system {system} "an operating system"
COPY packages /packages
RUN /generate /dependencies {dependencies} "$(cat /packages)"
RUN /generate /extras {extras} "extras of $(cat /packages)"
RUN /generate /compiled {compiled} "$(cat /extras/* | sha256sum)"
{copy} source /source
"""
_SHARES = {"system": 10, "dependencies": 50, "extras": 25, "compiled": 15}
"""Percent of the image by its large layers."""


@dataclass(frozen=True, kw_only=True)
class Variant:
    """How a project differs from the one whose build filled the cache."""

    packages: str = "as they were"
    source: str = "as it was"
    linked: bool = False
    """Whether the source is copied by ``COPY --link``."""


def write_project(folder: Path, variant: Variant, *, size: int, base: str) -> None:
    """Write a build context for an image of about ``size`` MB."""
    layers = {layer: max(1, size * percent // 100) for layer, percent in _SHARES.items()}
    copy = "COPY --link" if variant.linked else "COPY"
    folder.mkdir()
    _write(folder / "Dockerfile", _DOCKERFILE.format(base=base, copy=copy, **layers))
    _write(folder / "generate", _GENERATE, mode=0o755)
    _write(folder / "packages", f"packages {variant.packages}\n")
    _write(folder / "source", f"source {variant.source}\n")


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    path.write_text(text)
    path.chmod(mode)
    os.utime(path, (0, 0))
