"""Build docker/hello twice with every kind of cache, or those given, each time on a brand-new builder; show the result.

Started by demo.sh, which provides the engine and its variables.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import urllib.request
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from buildx_cache.formatting import duration, size

HELLO = Path(__file__).parent / "hello"
KINDS = ("local", "registry", "inline")
SCOPE = "demo"
_INDEX_TYPES = "application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json"
_MANIFEST_TYPES = "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"


@dataclass(frozen=True, kw_only=True)
class Run:
    """One build of the demo."""

    kind: str
    temperature: str
    report: dict[str, Any]
    cache: str
    says: str


def main() -> int:
    """Run the demo; 0 if every warm build found every step in the cache and the image runs."""
    with tempfile.TemporaryDirectory(prefix="buildx-cache-demo-") as folder:
        runs = list(_runs(sys.argv[1:] or KINDS, Path(folder), uuid.uuid4().hex[:8]))
    Console().print(_table(runs))
    cold = [run for run in runs if run.temperature == "warm" and run.report["cache"]["steps"]["executed"]]
    for run in cold:
        print(f"error: the warm {run.kind} build executed steps again", file=sys.stderr)
    print(f"\nThe image says: {runs[-1].says}")
    return 1 if cold else 0


def _runs(kinds: Sequence[str], folder: Path, name: str) -> Iterator[Run]:
    for kind in kinds:
        for temperature in ("cold", "warm"):
            print(f"building docker/hello, {kind} cache, {temperature}, on a new builder …", file=sys.stderr)
            yield _run(kind, temperature, folder, f"{os.environ['ENGINE_REGISTRY']}/hello-{kind}-{name}")


def _run(kind: str, temperature: str, folder: Path, repository: str) -> Run:
    report, cache = folder / "report.json", folder / "cache"
    image = os.environ.get("ENGINE_BUILDKIT_IMAGE")
    command = [
        *(sys.executable, "-m", "buildx_cache", "build"),
        *("--tag", f"{repository}:demo", "--push", "--cache", kind, "--cache-dir", str(cache), "--cache-scope", SCOPE),
        *("--driver", "docker-container", "--driver-opt", os.environ["ENGINE_DRIVER_OPT"], "--rm-builder"),
        *(("--buildkit-image", image) if image else ()),
        *("--build-arg", f"BASE={os.environ['ENGINE_BASE_IMAGE']}", "--report", str(report), "--quiet"),
        str(HELLO),
    ]
    pushed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    says = subprocess.run(
        ("docker", "run", "--rm", "--pull", "always", "--quiet", pushed), check=True, stdout=subprocess.PIPE, text=True
    )
    return Run(
        kind=kind,
        temperature=temperature,
        report=json.loads(report.read_text()),
        cache=_cache_size(kind, cache, repository),
        says=says.stdout.strip(),
    )


def _cache_size(kind: str, folder: Path, repository: str) -> str:
    match kind:
        case "local":
            return size(sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()))
        case "registry":
            return size(_manifest_size(repository, f"buildcache-{SCOPE}"))
        case _:
            return "in the image"


def _manifest_size(repository: str, reference: str) -> int:
    """Return the bytes of a cache manifest's layers, in either of its shapes."""
    host, _, path = repository.partition("/")
    request = urllib.request.Request(
        f"http://{host}/v2/{path}/manifests/{reference}", headers={"Accept": f"{_MANIFEST_TYPES}, {_INDEX_TYPES}"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 -- same
        manifest = json.load(answer)
    return sum(layer["size"] for layer in manifest.get("layers", manifest.get("manifests", ())))


def _table(runs: list[Run]) -> Table:
    table = Table(title="docker/hello on a new builder each time")
    for column in ("cache", "run", "build", "steps", "cached", "cache size"):
        table.add_column(column, justify="left" if column == "cache" else "right", no_wrap=True)
    for run in runs:
        steps = run.report["cache"]["steps"]
        table.add_row(
            run.kind,
            run.temperature,
            duration(run.report["phases"]["build"]),
            str(steps["total"]),
            f"{steps['cached']} ({run.report['cache']['hit_ratio']:.0%})",
            run.cache,
            end_section=run.temperature == "warm",
        )
    return table


if __name__ == "__main__":
    sys.exit(main())
