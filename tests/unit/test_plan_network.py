"""Whether a made builder shares the host's network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from buildx_cache.plan import make_plan
from buildx_cache.plan.builder_choice import own_builder_name
from buildx_cache.plan.facts import Node, Registries
from buildx_cache.plan.registry_choice import is_here
from tests.unit.test_plan import CLASSIC, LAPTOP, builder, plan_of, request_of

HERE = replace(CLASSIC, endpoint="unix:///var/run/docker.sock")
LOCAL = "localhost:5000/app:1"
PUSHED = {"tag": [LOCAL], "push": True}


def options(asked: Mapping[str, object], *, endpoint: str = HERE.endpoint, images: tuple[str, ...] = ()) -> list[str]:
    facts = replace(HERE, endpoint=endpoint, place=replace(HERE.place, images=images))
    plan = plan_of({"cache": "local", **asked}, facts=facts)
    return [option for node in plan.builder.create for option in node.driver_options]


@pytest.mark.parametrize(
    "asked",
    [
        pytest.param(PUSHED, id="tag"),
        pytest.param({"tag": ["127.0.0.1:5000/app:{short_sha}"], "push": True}, id="template"),
        pytest.param({"tag": ["[::1]:5000/app"], "push": True}, id="ipv6"),
        pytest.param({"tag": [LOCAL], "cache": "registry"}, id="cache-beside"),
        pytest.param({"cache_ref": "localhost/c"}, id="cache-ref"),
        pytest.param({"cache_from": ["type=registry,ref=localhost:5000/c"]}, id="cache-from"),
        pytest.param({"cache_to": ["type=registry,ref=localhost:5000/c,mode=max"]}, id="cache-to"),
        pytest.param({"output": ["type=image,name=localhost:5000/x,push=true"]}, id="output"),
    ],
)
def test_a_registry_on_loopback_takes_the_hosts_network(asked: Mapping[str, object]) -> None:
    assert options(asked) == ["network=host"]


def test_a_dockerfile_and_a_file_of_the_repository_do_not_choose_the_network() -> None:
    assert options({}, images=("127.0.0.2:5000/base",)) == []
    found = replace(request_of(PUSHED), untrusted_hosts=("localhost:5000",))
    assert make_plan(found, LAPTOP, HERE).builder.create[0].driver_options == ()


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        pytest.param({"tag": [LOCAL], "load": True}, [], id="loaded"),
        pytest.param({"tag": ["app.test/x"], "push": True}, [], id="elsewhere"),
        pytest.param({**PUSHED, "driver_opt": ["network=mine"]}, ["network=mine"], id="another-network"),
        pytest.param({**PUSHED, "driver_opt": ["memory=1g,network=x"]}, ["memory=1g,network=x"], id="csv"),
        pytest.param({**PUSHED, "endpoint": ["far"], "driver": "docker-container"}, [], id="endpoint"),
        pytest.param({**PUSHED, "driver": "kubernetes"}, [], id="kubernetes"),
    ],
)
def test_nothing_else_does(asked: Mapping[str, object], expected: list[str]) -> None:
    assert options(asked, images=("localhost", "x/localhost")) == expected


@pytest.mark.parametrize("endpoint", ["tcp://far:2376", "ssh://localhost", ""])
def test_the_loopback_of_another_machine_is_another(endpoint: str) -> None:
    assert options(PUSHED, endpoint=endpoint) == []


def test_a_builder_that_is_there_stays_as_it_is() -> None:
    assert plan_of(PUSHED, facts=replace(HERE, builder=builder("docker-container"))).builder.create == ()


@pytest.mark.parametrize(
    ("endpoint", "here"),
    [
        ("unix:///run/user/1000/docker.sock", True),
        ("npipe:////./pipe/docker_engine", True),
        ("tcp://127.0.0.1:2375", True),
        ("tcp://me:pw@[::1]:2376", True),
        ("tcp://localhost:2375", True),
        ("tcp://10.0.0.1:2375", False),
        ("ssh://localhost", False),
        ("", False),
    ],
)
def test_an_engine_of_this_machine(endpoint: str, here: bool) -> None:  # noqa: FBT001 -- a table
    assert is_here(endpoint) is here


def test_a_builder_on_the_hosts_network_is_another_one_and_says_why() -> None:
    plan = plan_of(PUSHED, facts=HERE)
    other = plan_of({**PUSHED, "tag": ["app.test/x"]}, facts=HERE)
    assert plan.builder.name != other.builder.name
    assert "localhost:5000" in plan.builder.why
    assert "localhost:5000" not in other.builder.why


def test_a_local_cache_is_served_on_the_loopback_that_the_builder_will_have() -> None:
    asked = {**PUSHED, "cache": "local"}
    assert plan_of(asked, facts=HERE).cache.serving.network == "host"
    node = Node(name="n", status="running", options=(("network", "host"),))
    there = replace(HERE, own_builder=replace(builder("docker-container"), nodes=(node,)))
    assert plan_of(asked, facts=there).cache.serving.network == "host"
    assert plan_of({**asked, "tag": ["app.test/x"]}, facts=HERE).cache.serving.network == "bridge"


def test_a_mirror_on_loopback_is_used_by_builders_on_the_hosts_network_alone() -> None:
    mirror = "http://127.0.0.1:5001"
    facts = replace(HERE, registries=Registries(mirrors=(mirror,)))
    assert plan_of(PUSHED, facts=facts).builder.registries.mirrors == (mirror,)
    asked = {**PUSHED, "tag": ["app.test/x"]}
    registries = plan_of(asked, facts=facts).builder.registries
    assert (registries.mirrors, len(registries.left_out)) == ((), 1)
    assert plan_of({**asked, "driver_opt": ["network=host"]}, facts=facts).builder.registries.mirrors == (mirror,)


def test_an_address_of_an_insecure_network_is_insecure() -> None:
    facts = replace(HERE, registries=Registries(insecure_networks=("10.0.0.0/8",)))
    asked = {"tag": ["10.1.2.3:5000/app"], "push": True}
    assert plan_of(asked, facts=facts).builder.registries.insecure == ("10.1.2.3:5000",)
    assert plan_of({**asked, "tag": ["11.1.2.3/app"]}, facts=facts).builder.registries.insecure == ()
    hosts = ("10.1.2.3", "11.1.2.3")
    names = {own_builder_name(request_of({**asked, "tag": [f"{host}/app"]}), LAPTOP, facts) for host in hosts}
    assert len(names) == len(hosts)
