"""The main job: a warm build on a brand-new builder executes nothing, and the image runs."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from buildx_cache.cache_tags import cache_tag
from tests.integration.conftest import GREETING, Docker, Ran
from tests.selection import quick

KINDS = ("local", "registry", "inline")
STEPS = 12


def assert_warm_after_cold(docker: Docker, kind: str, builder: tuple[str, ...], *, fresh: bool = True) -> None:
    repository = docker.repository()
    words = ("-t", f"{repository}:demo", "--push", "--cache", kind, "--cache-dir", str(docker.home / "cache"), *builder)
    cold = docker.build(*words, *docker.hello)
    assert cold.report["cache"]["imports"][0]["status"] == "absent"
    if not fresh:
        docker.docker("buildx", "prune", "--builder", "default", "--all", "--force")
    warm = docker.build(*words, *docker.hello)
    assert warm.steps == (STEPS, STEPS, 0), (cold.stderr, warm.stderr)
    assert warm.report["cache"]["imports"][0]["status"] == "hit"
    assert warm.report["builder"]["created"] is fresh
    assert docker.greeting(f"{repository}:demo") == GREETING
    assert warm.stdout == f"{repository}:demo@{warm.report['images']['default']['digest']}\n"


# Each kind and each engine; the demo of test_demo.py shows each kind on a container builder.
@pytest.mark.parametrize("kind", quick(KINDS, "registry"))
def test_on_a_container_builder(docker: Docker, kind: str) -> None:
    assert_warm_after_cold(docker, kind, docker.new_builder)


@pytest.mark.soak  # BuildKit runs cached steps again where a build beside it has the same base (moby/buildkit#6954)
@pytest.mark.parametrize("kind", KINDS)
def test_on_the_engines_own_builder_with_the_containerd_store(docker: Docker, kind: str) -> None:
    assert_warm_after_cold(docker, kind, ("--driver", "docker"), fresh=False)


# On a push the older engine and the classic store are those of test_taken_over.py.
@pytest.mark.soak
@pytest.mark.parametrize("kind", KINDS)
def test_on_the_older_engine(old_docker: Docker, kind: str) -> None:
    assert_warm_after_cold(old_docker, kind, old_docker.new_builder)


@pytest.mark.soak  # BuildKit runs cached steps again where a build beside it has the same base (moby/buildkit#6954)
@pytest.mark.parametrize("kind", KINDS)
def test_on_the_older_engines_own_builder(old_docker: Docker, kind: str) -> None:
    assert_warm_after_cold(old_docker, kind, ("--driver", "docker"), fresh=False)


@pytest.mark.soak
@pytest.mark.parametrize("kind", KINDS)
def test_on_a_container_builder_of_the_classic_store(classic_docker: Docker, kind: str) -> None:
    assert_warm_after_cold(classic_docker, kind, classic_docker.new_builder)


def test_a_local_cache_is_interchangeable_with_plain_buildx(docker: Docker, project: Path) -> None:
    cache = project.parent / "cache"
    base = ("--build-arg", f"BASE={docker.base}")
    plain = ("buildx", "build", "--builder", "plain", *base)
    opt = ("--driver-opt", docker.env["ENGINE_DRIVER_OPT"])
    image = ("--driver-opt", f"image={docker.env['ENGINE_BUILDKIT_IMAGE']}") if docker.builder_image else ()
    docker.docker("buildx", "create", "--name", "plain", "--driver", "docker-container", *opt, *image)
    try:
        docker.docker(*plain, "--cache-to", f"type=local,mode=max,dest={cache}", str(project))
        ran = docker.build(
            "-t",
            "app",
            "--load",
            "--cache-dir",
            str(cache),
            "--cache",
            "local",
            *docker.new_builder,
            *base,
            str(project),
        )
        assert ran.steps == (3, 3, 0)
        docker.docker("buildx", "prune", "--builder", "plain", "--all", "--force")
        docker.docker(*plain, "--cache-from", f"type=local,src={cache}", "--output", "type=cacheonly", str(project))
    finally:
        docker.docker("buildx", "rm", "plain")


def test_a_pull_request_reads_its_targets_cache_and_writes_its_own(docker: Docker, project: Path) -> None:
    repository = docker.repository()
    words = (
        *("-t", f"{repository}:{{short_sha}}", "--push", *docker.new_builder),
        *("--build-arg", f"BASE={docker.base}", str(project)),
    )
    gitlab = {"GITLAB_CI": "true", "CI": "true", "CI_COMMIT_SHA": "a" * 40, "CI_DEFAULT_BRANCH": "main"}
    docker.build(*words, env={**gitlab, "CI_COMMIT_BRANCH": "develop"})
    request = {
        "CI_MERGE_REQUEST_IID": "7",
        "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME": "feature/x",
        "CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "develop",
        "CI_MERGE_REQUEST_PROJECT_ID": "1",
        "CI_MERGE_REQUEST_SOURCE_PROJECT_ID": "1",
    }
    ran = docker.build(*words, env={**gitlab, **request})
    assert ran.steps == (3, 3, 0)
    statuses = {entry["source"].rpartition(":")[2]: entry["status"] for entry in ran.report["cache"]["imports"]}
    assert statuses == {
        cache_tag("feature/x"): "absent",
        "buildcache-develop": "hit",
        "buildcache-main": "absent",
    }
    assert ran.report["cache"]["exports"][0]["target"] == f"{repository}:{cache_tag('feature/x')}"
    assert ran.stdout.startswith(f"{repository}:aaaaaaa@sha256:")


@pytest.mark.parametrize("kind", quick(["local", "registry"], "local"))
def test_two_targets_of_a_repository_keep_a_cache_each(docker: Docker, project: Path, kind: str) -> None:
    """The second does not overwrite the first: each is warm on every new machine.

    They share no step: the usual cache is newer than that of the target and imported beside it, and after a step that
    both have BuildKit may run the next again (moby/buildkit#6418).
    """
    (project / "Dockerfile").write_text(
        "ARG BASE\nFROM ${BASE} AS test\nCOPY word /test\nRUN cat /test > /said\n"
        "FROM ${BASE}\nCOPY word /image\nRUN cat /image > /said\n"
    )
    (project / "word").write_text(uuid.uuid4().hex)
    place = ("--cache-dir", str(docker.home / "cache"), "-t", f"{docker.repository()}:1")
    words = ("--cache", kind, *place, "--build-arg", f"BASE={docker.base}")
    gitlab = {"GITLAB_CI": "true", "CI_COMMIT_SHA": "a" * 40, "CI_COMMIT_BRANCH": "main", "CI_DEFAULT_BRANCH": "main"}
    ran = {
        turn: docker.build(*words, *target, *docker.new_builder, str(project), env=gitlab)
        for turn, target in (("test", ("--target", "test")), ("image", ()), ("again", ("--target", "test")))
    }
    assert ran["test"].steps[2] > 0
    assert ran["image"].steps[2] > 0
    assert ran["again"].steps[2] == 0, ran["again"].stderr


TRIES = 6


@pytest.mark.soak
@pytest.mark.parametrize("kind", ["registry", "local"])
def test_a_branch_that_shares_steps_with_the_default_branch_is_warm_every_time(
    docker: Docker, project: Path, kind: str
) -> None:
    """BuildKit follows one of two caches that hold the same COPY, by chance (moby/buildkit#6418): half of these ran.

    The default branch's cache holds newer steps at first, so that the first build of the branch takes both.
    """
    (project / "Dockerfile").write_text(
        "ARG BASE\nFROM ${BASE}\nCOPY shared /shared\nRUN cat /shared > /one\nCOPY word /word\nRUN cat /word > /two\n"
    )
    (project / "shared").write_text(uuid.uuid4().hex)
    place = ("--cache-dir", str(docker.home / "cache"), "-t", f"{docker.repository()}:1")
    words = ("--cache", kind, *place, "--build-arg", f"BASE={docker.base}", *docker.new_builder, str(project))

    def built(branch: str) -> Ran:
        (project / "word").write_text(branch)
        gitlab = {"GITLAB_CI": "true", "CI_COMMIT_SHA": "a" * 40, "CI_DEFAULT_BRANCH": "main"}
        scope = ("--cache-scope", branch) if kind == "local" and branch != "main" else ()
        return docker.build(*scope, *words, env={**gitlab, "CI_COMMIT_BRANCH": branch})

    built("main")
    assert built("work").steps[1] > 0
    tries = [built("work") for _ in range(TRIES)]
    assert [ran.steps[2] for ran in tries] == [0] * TRIES, tries[0].stderr
    for ran in tries:
        own, *_, usual = ran.report["cache"]["imports"]
        assert (own["status"], usual["status"]) == ("hit", "skipped")


def test_a_read_only_cache_is_not_written(docker: Docker, project: Path) -> None:
    cache = project.parent / "cache"
    ran = docker.build(
        *("-t", "app", "--load", "--cache", "local", "--cache-dir", str(cache), "--cache-read-only"),
        *(*docker.new_builder, "--build-arg", f"BASE={docker.base}", str(project)),
    )
    assert not cache.exists()
    assert ran.report["cache"]["exports"] == []


def test_an_inline_cache_writes_nothing_unless_pushed(docker: Docker, project: Path) -> None:
    ran = docker.build(
        *("-t", docker.repository(), "--load", "--cache", "inline", *docker.new_builder),
        *("--build-arg", f"BASE={docker.base}", str(project)),
    )
    assert ran.report["cache"]["exports"] == []
    assert "without --push nothing is written" in ran.stderr


@pytest.mark.soak  # of caches alone: tests/faults/test_export_faults.py
@pytest.mark.parametrize("compression", ["zstd", "uncompressed"])
def test_image_and_cache_share_their_compression(docker: Docker, project: Path, compression: str) -> None:
    repository = docker.repository()
    words = (
        "-t",
        f"{repository}:1",
        "--push",
        "--cache-compression",
        compression,
        "--build-arg",
        f"BASE={docker.base}",
    )
    docker.build(*words, *docker.new_builder, str(project))
    ran = docker.build(*words, *docker.new_builder, str(project))
    assert ran.steps == (3, 3, 0)
    assert docker.greeting(f"{repository}:1") == "one"


def test_a_base_image_that_is_there_is_no_hit(docker: Docker, project: Path) -> None:
    cache = f"{docker.repository()}:cache"
    words = ("--driver", "docker", "--cache", "registry", "--cache-ref", cache, "--build-arg", f"BASE={docker.base}")
    docker.build(*words, str(project))
    (project / "word").write_text(uuid.uuid4().hex)
    (project / "Dockerfile").write_text((project / "Dockerfile").read_text().replace("COPY word", "COPY ./word"))
    ran = docker.build(*words, str(project))
    assert ran.steps == (3, 1, 2), ran.stderr  # the base image
    assert [each["status"] for each in ran.report["cache"]["imports"]] == ["miss"]


def test_of_two_registries_the_one_that_refuses_is_named(docker: Docker, project: Path) -> None:
    taken, refused = f"{docker.repository()}:cache", f"{docker.auth_registry}/{uuid.uuid4().hex[:12]}/app:cache"
    entries = (f"type=registry,ref={each}" for each in (taken, refused))
    words = (word for entry in entries for word in ("--cache-from", entry, "--cache-to", entry))
    ran = docker.build(
        "--driver", "docker", "--cache", "none", *words, "--build-arg", f"BASE={docker.base}", str(project)
    )
    cache = ran.report["cache"]
    assert [(each["source"], each["status"]) for each in cache["imports"]] == [(taken, "absent"), (refused, "denied")]
    assert [(each["target"], each["status"]) for each in cache["exports"]] == [(taken, "written"), (refused, "failed")]
    assert [sum(each in warning for warning in ran.report["warnings"]) for each in (taken, refused)] == [0, 2]
