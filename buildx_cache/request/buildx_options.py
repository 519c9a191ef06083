"""The options that go to ``docker buildx build`` as they are given: a request and an invocation have the same."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

# What decides which steps run: a build that only writes a cache repeats it.
_DECIDES_STEPS = (
    "file", "target", "build_context", "label", "secret", "ssh", "network", "add_host", "allow",
    "shm_size", "ulimit", "cgroup_parent",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class BuildxOptions:
    """Each field is the option of its name (underscores as dashes), in the order of the command line."""

    file: str = ""
    target: str = ""
    build_context: tuple[str, ...] = ()
    label: tuple[str, ...] = ()
    annotation: tuple[str, ...] = ()
    secret: tuple[str, ...] = ()
    ssh: tuple[str, ...] = ()
    no_cache_filter: tuple[str, ...] = ()
    network: str = ""
    add_host: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()
    attest: tuple[str, ...] = ()
    provenance: str = ""
    sbom: str = ""
    shm_size: str = ""
    ulimit: tuple[str, ...] = ()
    cgroup_parent: str = ""
    metadata_file: str = ""
    iidfile: str = ""
    pull: bool = False
    no_cache: bool = False

    @property
    def passed_on(self) -> dict[str, Any]:
        """Return these options by name, without those of a subclass."""
        return {field.name: getattr(self, field.name) for field in fields(BuildxOptions)}

    @property
    def of_steps(self) -> dict[str, Any]:
        """Return the options that decide which steps run, by name."""
        return {name: getattr(self, name) for name in _DECIDES_STEPS}
