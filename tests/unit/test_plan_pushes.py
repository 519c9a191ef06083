"""What pushes the image, and under which names a registry has it then."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from buildx_cache.buildkit.vertex_names import pushed_reference
from buildx_cache.errors import UsageError
from buildx_cache.plan import Facts
from buildx_cache.plan.build_plan import ImagePlan
from buildx_cache.run.results import pushed_lines
from tests.unit.test_outcome import EXPORTED, trace
from tests.unit.test_plan import APP, CI_MAIN, CLASSIC, CONTAINERD, plan_of

OTHER = "registry.example.com/team/other"
TAGGED, UNTAGGED = [f"{APP}:1"], [APP]


@pytest.mark.parametrize(
    ("tags", "asked", "names"),
    [
        (TAGGED, {"push": True}, (f"{APP}:1",)),
        (TAGGED, {"output": ["type=registry"]}, (f"{APP}:1",)),
        (TAGGED, {"output": ["type=registry,push=false"]}, (f"{APP}:1",)),  # Buildx 0.29 pushes it
        (TAGGED, {"output": ["type=image,push=true"]}, (f"{APP}:1",)),
        (TAGGED, {"output": ["type=image,PUSH=1"]}, (f"{APP}:1",)),
        (TAGGED, {"output": ["type=image,push="]}, (f"{APP}:1",)),
        (TAGGED, {"output": ["type=image, push=T"]}, (f"{APP}:1",)),
        (TAGGED, {"output": ["type=oci,dest=x", "type=registry"]}, (f"{APP}:1",)),
        (TAGGED, {"output": ["type=registry,name=ignored"]}, (f"{APP}:1",)),
        (TAGGED, {"buildx_flags": ["--push"]}, (f"{APP}:1",)),
        (TAGGED, {"buildx_flags": ["--push=1"]}, (f"{APP}:1",)),
        (TAGGED, {"buildx_flags": ["--push=T"]}, (f"{APP}:1",)),
        (TAGGED, {"buildx_flags": ["--push=false", "--push=TRUE"]}, (f"{APP}:1",)),
        (TAGGED, {"buildx_flags": ["-o", "type=registry"]}, (f"{APP}:1",)),
        ([], {"buildx_flags": ["-otype=registry", "-t", f"{APP}:3"]}, (f"{APP}:3",)),
        (UNTAGGED, {"output": ["type=registry"]}, (f"{APP}:latest",)),
        ([], {"output": [f"type=registry,name={APP}"]}, (f"{APP}:latest",)),
        ([], {"output": [f'type=image,"name={APP}:1,{OTHER}:2",push=true']}, (f"{APP}:1", f"{OTHER}:2")),
        (
            [],
            {"output": [f"type=registry,name={APP}:1", f"type=registry,name={OTHER}"]},
            (f"{APP}:1", f"{OTHER}:latest"),
        ),
        (UNTAGGED, {"output": ["type=registry,push-by-digest=true"]}, (APP,)),
        (UNTAGGED, {"output": ["type=image,push=1,push-by-digest=1"]}, (APP,)),
        (UNTAGGED, {"output": ["type=image,push-by-digest=true"], "push": True}, (APP,)),
        ([], {"output": [f"type=image,name={APP},push=true,push-by-digest=true"]}, (APP,)),
        ([APP, OTHER], {"output": ["type=registry,push-by-digest=true"]}, (APP, OTHER)),
    ],
    ids=str,
)
def test_an_output_that_pushes_is_a_push(tags: list[str], asked: dict[str, Any], names: tuple[str, ...]) -> None:
    plan = plan_of({"tag": tags, **asked})
    assert (plan.target.image.push, plan.target.image.pushed) == (True, names)
    assert plan.cache.kind == "registry"


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"load": True},
        {"output": ["type=image"]},
        {"output": ["type=image,push=false"]},
        {"output": ["type=image,push=0,push-by-digest=true"]},
        {"output": ["type=image,push-by-digest=true"]},
        {"output": ["type=oci,dest=x"]},
        {"output": ["type=local,dest=registry"]},
        {"buildx_flags": ["--add-host", "push:1.2.3.4"]},
    ],
    ids=str,
)
def test_other_outputs_are_none(asked: dict[str, Any]) -> None:
    plan = plan_of({"tag": TAGGED, **asked})
    assert (plan.target.image.push, plan.target.image.pushed, plan.cache.kind) == (False, (), "local")


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"output": ["type=registry"]}, "push-without-tag"),
        ({"output": [f"type=registry,name={APP}", "type=image,push=true"]}, "push-without-tag"),
        ({"push": True, "output": ["type=image"]}, "push-without-tag"),
        ({"output": ["type=registry,name=NOT A NAME"]}, "reference-malformed"),
        ({"tag": TAGGED, "output": ["type=registry,push-by-digest=true"]}, "push-by-digest-with-tag"),
        ({"output": [f"type=registry,name={APP}:1,push-by-digest=true"]}, "push-by-digest-with-tag"),
        ({"tag": UNTAGGED, "output": ["type=registry,push-by-digest=true"], "cache": "inline"}, "option-conflict"),
        ({"tag": UNTAGGED, "output": ["type=registry,push-by-digest=true"], "driver": "docker"}, "builder-unsuitable"),
        (
            {"tag": UNTAGGED, "output": ["type=registry,push-by-digest=true"], "builder": "default"},
            "builder-unsuitable",
        ),
    ],
    ids=str,
)
@pytest.mark.parametrize("facts", [CONTAINERD, CLASSIC], ids=["containerd", "classic"])
def test_a_push_that_cannot_work_is_refused_before_the_build(asked: dict[str, Any], code: str, facts: Facts) -> None:
    with pytest.raises(UsageError) as refused:
        plan_of(asked, facts=facts)
    assert (refused.value.code, refused.value.exit_code) == (code, 2)


def test_each_name_has_the_digest_that_was_pushed_to_it() -> None:
    one, two, last = (f"sha256:{digit * 64}" for digit in "123")
    image = ImagePlan(push=True, pushed=("app:1", f"{OTHER}:1", APP))
    first = trace(
        transfers=tuple(
            replace(EXPORTED, pushed=(found,)) for found in (("docker.io/library/app:1", one), (f"{OTHER}:1", two))
        )
    )
    assert pushed_lines(image, last, first) == (f"app:1@{one}", f"{OTHER}:1@{two}", f"{APP}@{last}")
    assert pushed_lines(image, last, None) == (f"app:1@{last}", f"{OTHER}:1@{last}", f"{APP}@{last}")
    assert pushed_lines(image, "", None) == image.pushed
    single = replace(image, one_line=True)
    assert pushed_lines(single, last, first) == (f"app@{one}",)
    assert pushed_lines(single, "", None) == ("app",)


def test_what_buildkit_says_of_a_push_is_read() -> None:
    digest = f"sha256:{'1' * 64}"
    assert pushed_reference(f"pushing manifest for {APP}:1@{digest}") == (f"{APP}:1", digest)
    assert pushed_reference(f"pushing manifest for {APP}") == ("", "")  # by digest


LOOPBACK = "127.0.0.1:5000/app"


@pytest.mark.parametrize(
    ("asked", "facts", "repositories"),
    [
        ({"tag": [f"{APP}:1", f"{APP}:2", f"{OTHER}:1"], "push": True}, CONTAINERD, [APP, OTHER]),
        ({"tag": ["app"], "push": True}, CONTAINERD, ["docker.io/library/app"]),
        ({"tag": TAGGED, "output": ["type=registry"]}, CONTAINERD, [APP]),
        ({"tag": TAGGED, "push": True}, CLASSIC, [APP]),
        ({"tag": TAGGED}, CONTAINERD, []),
        ({"tag": TAGGED, "load": True}, CONTAINERD, []),
        ({"tag": TAGGED, "push": True, "no_push_check": True}, CONTAINERD, []),
        # Where the builder is, another registry or another answer may be.
        ({"tag": TAGGED, "push": True, "driver": "remote", "endpoint": ["tcp://a:1"]}, CONTAINERD, []),
        ({"tag": TAGGED, "push": True, "driver": "kubernetes"}, CONTAINERD, []),
        ({"tag": [LOOPBACK], "push": True, "driver": "docker"}, CONTAINERD, [LOOPBACK]),
        ({"tag": [LOOPBACK], "push": True, "driver": "docker"}, replace(CONTAINERD, elsewhere="far"), []),
        ({"tag": [LOOPBACK], "push": True, "driver_opt": ["network=bridge"]}, CONTAINERD, []),
        ({"tag": [LOOPBACK], "push": True, "driver_opt": ["network=host"]}, CONTAINERD, [LOOPBACK]),
    ],
)
def test_a_registry_is_asked_for_a_push_where_its_answer_is_the_builders(
    asked: dict[str, Any], facts: Facts, repositories: list[str]
) -> None:
    assert list(map(str, plan_of(asked, facts=facts).target.image.asked)) == repositories


@pytest.mark.parametrize(
    ("tag", "place", "branch", "is_refused"),
    [
        (f"{APP}:{{branch}}", f"{APP}:cache-{{branch}}", "cache-main", True),
        (f"{APP}:{{branch}}", f"{APP}:cache-{{branch}}", "cache-main-linux-arm64", True),
        (f"{APP}:{{branch}}", f"{APP}:{{branch}}-cache", "x-cache-linux-arm64", True),
        (f"{APP}:{{branch}}", f"{APP}:a-{{branch}}-b-{{sha}}-c", "a-1-b-2-c", True),
        (f"{APP}:{{branch}}", f"{APP}:buildcache", "buildcache", True),
        (f"{APP}:1", f"{APP}:{{branch}}", "topic", True),  # a branch may be called 1
        (APP, f"{APP}:{{branch}}", "topic", True),
        ("app:{branch}", "docker.io/library/app:cache", "cache", True),
        (f"{APP}:{{branch}}", f"{APP}:cache-{{branch}}", "cache-", False),
        (f"{APP}:{{branch}}", f"{APP}:cache-{{branch}}", "topic", False),
        (f"{APP}:{{branch}}", f"{APP}:{{branch}}-cache", "cache", False),
        (f"{APP}:{{branch}}", f"{OTHER}:{{branch}}", "topic", False),
        (f"{APP}:{{branch}}", f"{OTHER}:cache", "cache", False),
        (f"{APP}:cache", APP, "topic", False),
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", ["registry", "inline"])
def test_no_image_has_the_name_of_another_branchs_cache(
    kind: str,
    tag: str,
    place: str,
    branch: str,
    is_refused: bool,  # noqa: FBT001 -- a table
) -> None:
    asked = {"tag": [tag], "push": True, "cache": kind, "cache_ref": place}
    ci = replace(CI_MAIN, branch=branch)
    if is_refused:
        with pytest.raises(UsageError) as refused:
            plan_of(asked, ci)
        assert refused.value.code == "tag-reserved"
    else:
        assert plan_of(asked, ci).target.image.push


def test_many_fields_take_no_time() -> None:
    asked = {"tag": [f"{APP}:{'7' * 120}"], "push": True, "cache_ref": f"{APP}:{'{pr}' * 60}x{'{pr}' * 60}y"}
    assert plan_of(asked, replace(CI_MAIN, pull_request="7")).target.image.push
