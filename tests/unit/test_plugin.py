"""Where Buildx itself is found."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from buildx_cache.engine import plugin
from buildx_cache.engine.plugin import buildx_itself, without_docker


def put(folder: Path, mode: int = 0o755) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "docker-buildx"
    path.write_text("")
    path.chmod(mode)
    return str(path)


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder of the system's."""
    monkeypatch.setattr(plugin, "_SYSTEM", (str(tmp_path / "system"),))
    return tmp_path / "system"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    folder = tmp_path / "config"
    folder.mkdir()
    return folder


def found(config: Path) -> str:
    return buildx_itself({"DOCKER_CONFIG": str(config)})


def test_it_is_nowhere(system: Path, config: Path) -> None:
    assert not system.exists()
    assert found(config) == ""


def test_the_users_own_wins_over_the_systems_and_what_is_configured_over_both(
    system: Path, config: Path, tmp_path: Path
) -> None:
    assert put(system) == found(config)
    assert put(config / "cli-plugins") == found(config)
    (config / "config.json").write_text(json.dumps({"cliPluginsExtraDirs": [str(tmp_path / "a"), str(tmp_path / "b")]}))
    assert put(tmp_path / "b") == found(config)
    assert put(tmp_path / "a") == found(config)


@pytest.mark.parametrize("extra", ["/nowhere", [1, None], ["/a\0b", "/\ud800"], {}, None], ids=repr)
def test_what_is_no_list_of_folders_is_passed_over(system: Path, config: Path, extra: object) -> None:
    (config / "config.json").write_text(json.dumps({"cliPluginsExtraDirs": extra}))
    assert put(system) == found(config)


def test_what_cannot_be_run_is_passed_over(system: Path, config: Path) -> None:
    put(config / "cli-plugins", 0o644)
    (config / "config.json").write_text(json.dumps({"cliPluginsExtraDirs": [str(config / "extra")]}))
    (config / "extra" / "docker-buildx").mkdir(parents=True)
    assert put(system) == found(config)


def test_it_is_not_told_that_docker_started_it() -> None:
    env = {"PATH": "/bin", "DOCKER_CLI_PLUGIN_ORIGINAL_CLI_COMMAND": "docker"}
    assert without_docker(env) == {"PATH": "/bin"}
