from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from buildx_cache.ci import CIContext
from buildx_cache.doctor import Check, CheckStatus, examine
from buildx_cache.errors import EngineError
from buildx_cache.plan import Builder, Facts, Node, Place, Store
from buildx_cache.plan.facts import Registries, Version
from buildx_cache.registry.identity import Credentials

LAPTOP = CIContext(
    provider="none",
    sha=None,
    branch="topic",
    tag=None,
    pull_request=None,
    target_branch=None,
    default_branch="main",
    build=None,
)
CIRCLECI = replace(LAPTOP, provider="circleci")
FACTS = Facts(
    docker="28.5.2",
    buildx=(0, 29, 1),
    store=Store.CONTAINERD,
    context="default",
    place=Place(project="app", cache_dir="/cache", today="2025-11-24"),
    builder=Builder(name="default", driver="docker", nodes=(Node(name="default", buildkit=(0, 25, 1)),)),
)
LOGINS = Credentials(folder="/home/me/.docker", registries=("registry.example.com", "other.example.com"))
CANNOT = "cannot export such a cache"
OK, WARN, FAIL = CheckStatus.OK, CheckStatus.WARN, CheckStatus.FAIL


def checks(
    tmp_path: Path,
    *,
    facts: Facts | EngineError = FACTS,
    ci: CIContext = LAPTOP,
    credentials: Credentials = LOGINS,
    cache_dir: str = "",
    path: str = "",
) -> dict[str, tuple[CheckStatus, str, str]]:
    cache_dir = cache_dir or str(tmp_path / "cache")
    found = tuple(examine(answering(facts), ci, credentials, cache_dir, path, git=(2, 39, 5)))
    assert len({check.name for check in found}) == len(found)
    return {check.name: (check.status, check.found, check.advice) for check in found}


def answering(facts: Facts | EngineError) -> Callable[[], Facts]:
    def inspect() -> Facts:
        if isinstance(facts, EngineError):
            raise facts
        return facts

    return inspect


def test_a_ready_machine_has_one_line_a_check(tmp_path: Path) -> None:
    assert checks(tmp_path) == {
        "docker": (OK, "engine 28.5.2, context default, containerd image store", ""),
        "buildx": (OK, "0.29.1", ""),
        "builder": (OK, "default (driver docker, BuildKit 0.25.1) can export every kind of cache", ""),
        "cache folder": (OK, f"{tmp_path}/cache: not there yet: it will be made", ""),
        "git": (OK, "2.39.5", ""),
        "ci": (OK, "none; branch topic, default branch main", ""),
        "credentials": (OK, "logins: registry.example.com, other.example.com", ""),
    }


@pytest.mark.parametrize(
    ("version", "status"), [((2, 30, 2), WARN), ((2, 37, 9), WARN), ((2, 38, 0), OK), ((3, 0, 0), OK), ((0, 0, 0), OK)]
)
def test_a_git_that_takes_files_for_a_repository_is_told_apart(
    tmp_path: Path, version: Version, status: CheckStatus
) -> None:
    found = examine(answering(FACTS), LAPTOP, LOGINS, str(tmp_path / "cache"), "", git=version)
    check = next(check for check in found if check.name == "git")
    assert (check.status, bool(check.advice)) == (status, status is WARN)


def test_without_docker_the_rest_is_still_checked(tmp_path: Path) -> None:
    found = checks(tmp_path, facts=EngineError("Docker is not running", hint="start it"))
    assert found["docker"] == (FAIL, "Docker is not running", "start it")
    assert list(found) == ["docker", "cache folder", "git", "ci", "credentials"]


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        pytest.param(
            replace(FACTS, builder=None),
            (
                WARN,
                "there is no current builder",
                "one is made for each project; `docker buildx use default` selects the engine's own",
            ),
            id="none",
        ),
        pytest.param(
            replace(FACTS, store=Store.CLASSIC),
            (
                OK,
                f"default (driver docker, BuildKit 0.25.1) {CANNOT}: a docker-container builder will be made",
                "",
            ),
            id="classic",
        ),
        pytest.param(
            replace(FACTS, store=Store.CLASSIC, builder=Builder(name="b", driver="docker-container")),
            (OK, "b (driver docker-container, BuildKit unknown) can export every kind of cache", ""),
            id="container",
        ),
    ],
)
def test_the_builder_is_told_by_what_it_can(
    tmp_path: Path, facts: Facts, expected: tuple[CheckStatus, str, str]
) -> None:
    assert checks(tmp_path, facts=facts)["builder"] == expected


def test_a_builder_that_buildx_own_variable_names_and_that_is_not_there_fails(tmp_path: Path) -> None:
    named = replace(FACTS, builder=None, variables=frozenset({"BUILDX_BUILDER"}))
    assert checks(tmp_path, facts=named)["builder"][0] is FAIL


@pytest.mark.parametrize(
    ("registries", "config", "status"),
    [
        pytest.param(Registries(insecure=("registry.test:5000",)), "", OK, id="insecure"),
        pytest.param(Registries(mirrors=("https://mirror.test",)), "", OK, id="mirror"),
        pytest.param(Registries(insecure_networks=("10.0.0.0/8",)), "", WARN, id="network"),
        pytest.param(Registries(insecure=("registry.test:5000",)), "/home/me/default.toml", WARN, id="own-config"),
    ],
)
def test_registries_that_a_container_builder_lacks_are_told(
    tmp_path: Path, registries: Registries, config: str, status: CheckStatus
) -> None:
    said = checks(tmp_path, facts=replace(FACTS, registries=registries, default_config=config))["registries"]
    assert (said[0], bool(said[2])) == (status, status is WARN)


def test_a_cache_folder_with_a_cache(tmp_path: Path) -> None:
    (tmp_path / "index.json").write_text('{"schemaVersion":2,"manifests":[]}')
    (tmp_path / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    assert checks(tmp_path, cache_dir=str(tmp_path))["cache folder"] == (OK, f"{tmp_path}: holds a cache", "")


@pytest.mark.parametrize("index", ['{"sch', "[]", '{"manifests":[{"digest":"sha256:' + "0" * 64 + '","size":1}]}'])
def test_a_cache_folder_that_cannot_be_read(index: str, tmp_path: Path) -> None:
    (tmp_path / "index.json").write_text(index)
    (tmp_path / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    assert checks(tmp_path, cache_dir=str(tmp_path))["cache folder"][0] is WARN


def test_a_cache_folder_that_others_may_write(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    status, found, advice = checks(tmp_path, cache_dir=str(tmp_path))["cache folder"]
    assert status is WARN
    assert (str(tmp_path) in found, f"chmod -R go-w {tmp_path}" in advice) == (True, True)


def test_a_cache_folder_that_is_a_file(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    assert checks(tmp_path, cache_dir=str(file))["cache folder"] == (
        FAIL,
        f"the cache folder is a file: {file}",
        "give a folder with --cache-dir",
    )


@pytest.mark.parametrize(
    ("ci", "expected"),
    [
        pytest.param(replace(LAPTOP, branch=None), (OK, "none; no branch, default branch main", ""), id="detached"),
        pytest.param(CIRCLECI, (OK, "circleci; branch topic, default branch main", ""), id="branch"),
        pytest.param(
            replace(CIRCLECI, is_fork=True),
            (
                OK,
                (
                    "circleci; branch topic, default branch main; a pull request from a fork, or possibly one: "
                    "caches are read-only"
                ),
                "",
            ),
            id="fork",
        ),
        pytest.param(
            replace(CIRCLECI, branch=None, tag="v1"), (OK, "circleci; branch none, default branch main", ""), id="tag"
        ),
        pytest.param(
            replace(CIRCLECI, branch=None),
            (
                WARN,
                "circleci; branch none, default branch main: neither branch nor tag is known",
                "give --cache-scope, or a cache in a registry is read-only",
            ),
            id="silent",
        ),
    ],
)
def test_the_ci_is_told_by_what_it_says(tmp_path: Path, ci: CIContext, expected: tuple[CheckStatus, str, str]) -> None:
    assert checks(tmp_path, ci=ci)["ci"] == expected


@pytest.mark.parametrize(
    ("credentials", "expected"),
    [
        pytest.param(Credentials(folder="/d"), (OK, "logins: none stored", ""), id="none"),
        pytest.param(
            Credentials(folder="/d", registries=("r",), ambient="docker.io"),
            (OK, "logins: r, docker.io (DOCKER_LOGIN)", ""),
            id="of-the-environment",
        ),
        pytest.param(
            Credentials(folder="/d", registries=("r",), unusable="half a login"),
            (
                WARN,
                "half a login",
                "set DOCKER_LOGIN, DOCKER_PASSWORD and the DOCKER_REGISTRY that they are for, or none of them",
            ),
            id="half-of-the-environment",
        ),
        pytest.param(
            Credentials(folder="/d", broken="Expecting value"),
            (WARN, "/d/config.json: Expecting value", "mend the file: Docker ignores it"),
            id="broken",
        ),
        pytest.param(
            Credentials(folder="/d", helpers=("present", "absent")),
            (
                WARN,
                "the credential helper docker-credential-absent is not on PATH",
                "install it, or take it out of /d/config.json",
            ),
            id="helper-absent",
        ),
        pytest.param(
            Credentials(folder="/d", registries=("r",), helpers=("present",)),
            (OK, "logins: r", ""),
            id="helper-present",
        ),
    ],
)
def test_credentials_are_told_by_name(
    tmp_path: Path, credentials: Credentials, expected: tuple[CheckStatus, str, str]
) -> None:
    helper = tmp_path / "docker-credential-present"
    helper.write_text("")
    helper.chmod(0o755)
    assert checks(tmp_path, credentials=credentials, path=str(tmp_path))["credentials"] == expected


def test_a_check_without_advice_has_none() -> None:
    assert Check(name="docker", status=OK, found="x").advice == ""
