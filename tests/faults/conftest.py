"""A laboratory for the session, and the fixtures of the integration tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.laboratory import Builders, Laboratory
from tests.faults.proxy import Proxy
from tests.integration.conftest import Docker, docker, engines, home, project
from tests.integration.engines import Engines

__all__ = ["docker", "engines", "home", "project"]


@pytest.fixture(scope="session")
def laboratory(
    engines: Engines, tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Iterator[Laboratory]:
    home = tmp_path_factory.mktemp("home")
    store = pytestconfig.getoption("store")
    docker = Docker(env=engines.start(*(("--store", store) if store else ())), home=home)
    with Builders(docker) as builders:
        yield Laboratory(docker, builders, tmp_path_factory.mktemp("laboratory"))


@pytest.fixture(scope="session")
def proxy(laboratory: Laboratory) -> Iterator[Proxy]:
    with Proxy(laboratory.docker.registry) as running:
        yield running
