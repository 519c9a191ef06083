"""Who builds: the field's recipe, plain Buildx with the best flags by hand, and this program, as command lines.

``{builder}``, ``{image}``, ``{ref}`` (the cache in the registry), ``{cache}`` (the cache's folder), ``{context}`` and
``{report}`` are the sample's.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

_HERE = Path(__file__).parent
# As the script that pip installs does it.
TOOL = (sys.executable, "-c", "from buildx_cache.__main__ import main; main()")
_USUAL = ("unchanged", "source", "source-linked", "dependency", "cold")


@dataclass(frozen=True, kw_only=True)
class Contender:
    """One way to build."""

    name: str
    title: str
    argv: tuple[str, ...]
    makes_builder: bool = False
    """Whether making the builder is one of its own steps."""
    pushes: bool = True
    reports: bool = False
    """Whether it is this program, which writes a report."""
    workloads: tuple[str, ...] = _USUAL
    """Those that it takes part in, by name."""


def _tool(name: str, title: str, *words: str, workloads: tuple[str, ...] = _USUAL) -> Contender:
    argv = (*TOOL, "build", "--builder", "{builder}", "--tag", "{image}", "--report", "{report}", *words, "{context}")
    return Contender(
        name=name,
        title=f"`buildx-cache` {title}",
        argv=argv,
        pushes="--push" in words,
        reports=True,
        workloads=workloads,
    )


def _buildx(
    name: str, title: str, source: str, target: str, *output: str, workloads: tuple[str, ...] = _USUAL
) -> Contender:
    caches = ("--cache-from", source, "--cache-to", f"{target},mode=max")
    output = output or ("--push",)
    argv = ("docker", "buildx", "build", "--builder", "{builder}", "--tag", "{image}", *output, *caches, "{context}")
    return Contender(name=name, title=f"Buildx, {title}", argv=argv, workloads=workloads)


RECIPE = Contender(name="recipe", title="recipe", argv=("bash", str(_HERE / "recipe.sh")), makes_builder=True)
BUILDX_LOCAL = _buildx("buildx-local", "local", "type=local,src={cache}", "type=local,dest={cache}")
BUILDX_REGISTRY = _buildx("buildx-registry", "registry", "type=registry,ref={ref}", "type=registry,ref={ref}")

_LOCAL = ("--cache", "local", "--cache-dir", "{cache}")
_EAGER = (*_LOCAL, "--lazy", "off")
LOCAL = _tool("local", "local", "--push", *_LOCAL)
LOCAL_EAGER = _tool("local-eager", "local, `--lazy off`", "--push", *_EAGER)
REGISTRY = _tool("registry", "registry", "--push", "--cache", "registry", "--cache-ref", "{ref}")
LOCAL_LOAD = _tool("local-load", "local, `--load`", "--load", *_LOCAL)
LOCAL_EAGER_LOAD = _tool("local-eager-load", "local, `--load --lazy off`", "--load", *_EAGER)

# BuildKit of Docker's engine keeps every image that it pushes, and fetches all layers of it for that. The published one
# has no store for images: what it takes is what the engine's takes when it is told to keep none.
_TITLE = "image not kept"
_WARM = ("unchanged", "source-linked")
BUILDX_UNKEPT = _buildx(
    "buildx-registry-unkept",
    f"registry, {_TITLE}",
    "type=registry,ref={ref}",
    "type=registry,ref={ref}",
    "--output",
    "type=image,push=true,store=false",
    workloads=_WARM,
)
_UNKEPT = ("--push", "--output", "type=image,store=false")
LOCAL_UNKEPT = _tool("local-unkept", f"local, {_TITLE}", *_UNKEPT, *_LOCAL, workloads=_WARM)
REGISTRY_UNKEPT = _tool(
    "registry-unkept", f"registry, {_TITLE}", *_UNKEPT, "--cache", "registry", "--cache-ref", "{ref}", workloads=_WARM
)

# Neither pushes an image, whose layers the cache in the registry would share.
_ALONE = ("--output", "type=cacheonly")
LOCAL_EXPORT = _tool("local-export", "local, no image", *_ALONE, *_LOCAL, workloads=("export",))
BUILDX_EXPORT = _buildx(
    "buildx-registry-export",
    "registry, no image",
    "type=registry,ref={ref}",
    "type=registry,ref={ref}",
    *_ALONE,
    workloads=("export",),
)

CONTENDERS = (
    RECIPE,
    BUILDX_LOCAL,
    BUILDX_REGISTRY,
    BUILDX_UNKEPT,
    LOCAL,
    LOCAL_UNKEPT,
    LOCAL_EAGER,
    REGISTRY,
    REGISTRY_UNKEPT,
    LOCAL_LOAD,
    LOCAL_EAGER_LOAD,
    BUILDX_EXPORT,
    LOCAL_EXPORT,
)
