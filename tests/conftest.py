"""A run in several processes: which tests go together, and the engines, which are stopped when all are through."""

from __future__ import annotations

import importlib
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.golden import Golden
from tests.integration.engines import OF_THIS_RUN, Engines
from tests.selection import LONG, PUSH

# A busy machine is slow, and that is no fault.
for profile in (PUSH, LONG):
    settings.register_profile(profile, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write the golden files anew (tests/golden.py)")
    parser.addoption("--store", choices=["containerd", "classic"], help="the image store of the engine of tests/faults")


@pytest.fixture(scope="session")
def golden(pytestconfig: pytest.Config) -> Golden:
    return Golden(update=pytestconfig.getoption("update_golden"))


def pytest_configure(config: pytest.Config) -> None:
    record = worker_input(config).get("engines") or tempfile.mkdtemp(prefix="engines-")
    config.stash[OF_THIS_RUN] = Engines(Path(record))
    settings.load_profile(PUSH if "not soak" in config.option.markexpr else LONG)


MARKS = {"unit": "fast", "integration": "engine", "faults": "engine", "terminal": "engine"}
"""What every test of a folder is."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    tests = Path(__file__).parent
    for item in items:
        if mark := MARKS.get(item.path.relative_to(tests).parts[0]):
            item.add_marker(mark)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:  # noqa: ANN401 - of pytest-xdist, which has no types
    node.workerinput["engines"] = str(node.config.stash[OF_THIS_RUN].record)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:  # noqa: ANN401
    """Each process takes one test after the other, in their order, but for those that stay together."""
    scheduler = importlib.import_module("xdist.scheduler").LoadScopeScheduling(config, log)
    scheduler._split_scope = together
    return scheduler


def together(name: str) -> str:
    """What tests have in common that one process runs: a file, whose tests use the same builders and names of images.

    Those of tests/faults do not. Of ten thousand units, the scheduler counts each with every report.
    """
    return name if name.startswith("tests/faults/") else name.partition("::")[0]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_node_collection_finished(node: Any, ids: Sequence[str]) -> None:  # noqa: ANN401
    """Have the engine by the time that the unit tests are through."""
    if any(name.startswith(("tests/integration/", "tests/terminal/", "tests/faults/")) for name in ids):
        node.config.stash[OF_THIS_RUN].start_early()


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    if not worker_input(config):
        engines = config.stash[OF_THIS_RUN]
        engines.stop()
        shutil.rmtree(engines.record)


def worker_input(config: pytest.Config) -> dict[str, Any]:
    """What pytest-xdist hands to a process that another one started; empty for that one itself."""
    return getattr(config, "workerinput", {})
