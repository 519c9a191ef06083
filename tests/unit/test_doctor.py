from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from buildx_cache.ci import CIContext
from buildx_cache.ci.pitfalls import CIRCLECI as PITFALLS
from buildx_cache.doctor import Check, CheckStatus, CIFile, Machine, Questions, examine
from buildx_cache.errors import EngineError
from buildx_cache.plan import Builder, Facts, ImageStore, Node, Place
from buildx_cache.plan.facts import Credentials, Registries, Version

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
    store=ImageStore.CONTAINERD,
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
    podman: bool = False,
    refusal: str = "",
    **machine: Any,  # noqa: ANN401 -- what is different of it
) -> dict[str, tuple[CheckStatus, str, str]]:
    own = {"ci": LAPTOP, "credentials": LOGINS, "cache_dir": str(tmp_path / "cache"), "path": "", "git": (2, 39, 5)}
    ask = Questions(facts=answering(facts), is_podman=lambda: podman, pull_refusal=lambda: refusal)
    found = tuple(examine(ask, Machine(**{**own, **machine})))
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
    said = checks(tmp_path, git=version)["git"]
    assert (said[0], bool(said[2])) == (status, status is WARN)


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
            replace(FACTS, store=ImageStore.CLASSIC),
            (
                OK,
                f"default (driver docker, BuildKit 0.25.1) {CANNOT}: a docker-container builder will be made",
                "",
            ),
            id="classic",
        ),
        pytest.param(
            replace(FACTS, store=ImageStore.CLASSIC, builder=Builder(name="b", driver="docker-container")),
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


@pytest.mark.parametrize(
    ("text", "docker", "lines"),
    [
        ("jobs:\n  a:\n    steps:\n      - setup_remote_docker\n", "28.5.2", {"remote engine": "line 4 of"}),
        ("steps:\n- setup_remote_docker: {version: docker29}\n", "29.0.1", {}),
        ("steps:\n  - setup_remote_docker:\n      version: default\n  - run: x\n", "29.0.1", {}),
        (
            "steps:\n  - setup_remote_docker:\n      docker_layer_caching: true\n  - run: {version: 1}\n",
            "29.0.1",
            {"layer cache": "line 3 of", "remote engine": "line 2 of"},
        ),
        (
            "a:\n  docker_layer_caching: true\nb:\n  machine: {docker_layer_caching: true}\n",
            "29.1",
            {"layer cache": "lines 2, 4 of"},
        ),
        ("a:\n  docker_layer_caching: true\n", "28.5.2", {}),
        ("a:\n  docker_layer_caching: false\n  # docker_layer_caching: true\n# - setup_remote_docker\n", "29.1", {}),
        ("a: x # docker_layer_caching: true\n", "29.1", {}),
        ("\x00\ufffd", "29.1", {}),
    ],
)
def test_what_a_ci_file_does_harm_with_is_named_by_its_line(
    tmp_path: Path, text: str, docker: str, lines: dict[str, str]
) -> None:
    file = CIFile(name=".circleci/config.yml", text=text, pitfalls=PITFALLS)
    found = checks(tmp_path, facts=replace(FACTS, docker=docker), ci=CIRCLECI, ci_file=file)
    said = {name: found[name] for name in ("layer cache", "remote engine") if name in found}
    assert {name: status for name, (status, _, _) in said.items()} == dict.fromkeys(lines, WARN)
    assert all(advice.startswith(f"{lines[name]} .circleci/config.yml: ") for name, (_, _, advice) in said.items())


def test_a_hostile_ci_file_is_read_in_bounds(tmp_path: Path) -> None:
    for text in (
        "- setup_remote_docker\n" * 12_000,
        " " * 260_000,
        "- " + " " * 260_000,
        "docker_layer_caching " * 9000,
    ):
        file = CIFile(name="f", text=text, pitfalls=PITFALLS)
        found = checks(tmp_path, facts=replace(FACTS, docker="29.0"), ci_file=file)
        assert max(len(advice) for _, _, advice in found.values()) < 200


def test_an_engine_without_a_version_is_no_new_one(tmp_path: Path) -> None:
    file = CIFile(name="f", text="docker_layer_caching: true", pitfalls=PITFALLS)
    assert "layer cache" not in checks(tmp_path, facts=EngineError("down"), ci_file=file)


def test_a_cache_folder_in_the_build_context_is_told(tmp_path: Path) -> None:
    assert checks(tmp_path, sent=("it is sent",))["cache folder"] == (
        WARN,
        "it is sent",
        "give a folder outside of the repository with --cache-dir",
    )


def test_podman_is_named(tmp_path: Path) -> None:
    status, found, advice = checks(tmp_path, podman=True)["docker"]
    assert (status, "podman" in found, "DOCKER_HOST" in advice) == (WARN, True, True)


CLASSIC = replace(FACTS, store=ImageStore.CLASSIC)


@pytest.mark.parametrize(
    ("facts", "more", "is_told"),
    [
        pytest.param(CLASSIC, {}, True, id="made"),
        pytest.param(replace(FACTS, builder=None), {}, True, id="none"),
        pytest.param(FACTS, {"buildkit_image": "registry.test/buildkit"}, True, id="asked-for"),
        pytest.param(FACTS, {}, False, id="engine's"),
        pytest.param(replace(CLASSIC, builder=Builder(name="b", driver="docker-container")), {}, False, id="current"),
        pytest.param(replace(CLASSIC, registries=Registries(mirrors=("https://m.test",))), {}, False, id="mirror"),
    ],
)
def test_a_builder_image_that_cannot_be_had_is_told_where_one_is_needed(
    tmp_path: Path, facts: Facts, more: dict[str, Any], *, is_told: bool
) -> None:
    found = checks(tmp_path, facts=facts, refusal="docker.io has no such image", **more)
    assert ("builder image" in found) is is_told
    assert not is_told or (found["builder image"][0] is WARN and "--buildkit-image" in found["builder image"][2])
    assert "builder image" not in checks(tmp_path, facts=facts, **more)


def test_a_check_without_advice_has_none() -> None:
    assert Check(name="docker", status=OK, found="x").advice == ""
