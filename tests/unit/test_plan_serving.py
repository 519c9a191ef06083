"""Where a local folder is served to BuildKit, and why not elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import pytest

from buildx_cache.plan import Builder, BuildPlan, Container, Facts, ImageStore, Node, ServingPlan
from buildx_cache.plan.render import plan_json, shell_lines
from tests.unit.run.calls import FACTS, planned

ELSEWHERE = "the engine is at ssh://builds.example.com"
SHARED = "the builder shares this host's network"


def network(name: str) -> str:
    return f"the builder reaches this host by Docker's network {name!r}"


def there(
    driver: str = "docker-container", *, nodes: int = 1, endpoint: str = "", options: tuple[tuple[str, str], ...] = ()
) -> Builder:
    one = Node(name="there0", status="running", endpoint=endpoint, options=options)
    return Builder(name="there", driver=driver, nodes=(one,) * nodes)


def given(builder: Builder) -> Facts:
    return replace(FACTS, builder=builder)


@dataclass(frozen=True, kw_only=True)
class Case:
    serving: ServingPlan
    asked: Mapping[str, object] = field(default_factory=dict)
    facts: Facts = FACTS


def served(name: str, why: str) -> ServingPlan:
    return ServingPlan(network=name, why=why)


def entered(why: str, container: str = "buildx_buildkit_there0", endpoint: str = "") -> ServingPlan:
    return ServingPlan(
        container=Container(name=container, endpoint=endpoint),
        why=why if why.startswith("--") else f"{why}; a tunnel through Docker's API leads here",
    )


def own(option: str = "network=none", *, endpoint: str = "") -> str:
    """The container of the builder that is made."""
    options = {"driver_opt": [option]} if option and not endpoint else {}
    plan = planned(cache="local", **options, **({"endpoint": [endpoint]} if endpoint else {}))
    return f"buildx_buildkit_{plan.builder.name}0"


def not_served(why: str) -> ServingPlan:
    return ServingPlan(why=why)


OWN = replace(FACTS, own_builder=there(options=(("network", "host"),)))
HOST_OPT = {"driver_opt": ["network=host"]}
CASES: Mapping[str, Case] = {
    "a new container": Case(serving=served("bridge", network("bridge"))),
    "a new container on the host's network": Case(asked=HOST_OPT, serving=served("host", SHARED)),
    "one of several driver options": Case(
        asked={"driver_opt": ['"env.no_proxy=a,b",network=host']}, serving=served("host", SHARED)
    ),
    "a network by name": Case(asked={"driver_opt": ["network=builds"]}, serving=served("builds", network("builds"))),
    "no network": Case(
        asked={"driver_opt": ["network=none"]},
        serving=entered("the builder's container has no network of Docker's", own()),
    ),
    "another container's network": Case(
        asked={"driver_opt": ["network=container:proxy"]},
        serving=entered("the builder's container has no network of Docker's", own("network=container:proxy")),
    ),
    "the own builder as it was made": Case(
        facts=replace(FACTS, own_builder=there(options=(("network", "host"),))),
        asked={"driver_opt": ["network=x"]},
        serving=served("host", SHARED),
    ),
    "a builder given": Case(
        facts=given(there(options=(("image", "x"), ("network", "host")))), serving=served("host", SHARED)
    ),
    "a builder given, on the bridge": Case(facts=given(there()), serving=served("bridge", network("bridge"))),
    "a builder on the same context": Case(
        facts=given(there(endpoint="default")), serving=served("bridge", network("bridge"))
    ),
    "a builder on the same socket": Case(
        facts=replace(given(there(endpoint="unix:///var/run/docker.sock")), endpoint="unix:///var/run/docker.sock"),
        serving=served("bridge", network("bridge")),
    ),
    "a builder on another socket": Case(
        facts=replace(given(there(endpoint="unix:///run/other.sock")), endpoint="unix:///var/run/docker.sock"),
        serving=entered("the builder is at unix:///run/other.sock", endpoint="unix:///run/other.sock"),
    ),
    "the builder of another context": Case(
        facts=replace(FACTS, store=ImageStore.CONTAINERD, builder=replace(there("docker"), name="far")),
        serving=not_served("the builder is at far"),
    ),
    "a proxy": Case(
        asked={"driver_opt": ["env.HTTP_PROXY=http://proxy:3128"]},
        serving=entered("the builder sends its requests through a proxy", own("env.HTTP_PROXY=http://proxy:3128")),
    ),
    "a proxy, on the host's network": Case(
        asked={"driver_opt": ["env.http_proxy=http://proxy:3128", "network=host"]}, serving=served("host", SHARED)
    ),
    "a builder on another engine": Case(
        facts=given(there(endpoint="tcp://me:secret@10.0.0.5:2376")),
        serving=entered("the builder is at tcp://***@10.0.0.5:2376", endpoint="tcp://me:secret@10.0.0.5:2376"),
    ),
    "an endpoint asked for": Case(
        asked={"endpoint": ["ssh://elsewhere"]},
        serving=entered("the builder is at ssh://elsewhere", own(endpoint="ssh://elsewhere"), "ssh://elsewhere"),
    ),
    "the engine's own builder": Case(
        asked={"driver": "docker"},
        facts=replace(FACTS, store=ImageStore.CONTAINERD),
        serving=served("host", SHARED),
    ),
    "an engine elsewhere": Case(facts=replace(FACTS, elsewhere=ELSEWHERE), serving=entered(ELSEWHERE, own(""))),
    "the own builder of an engine elsewhere": Case(
        facts=replace(FACTS, elsewhere=ELSEWHERE, own_builder=there(endpoint="made")),
        serving=entered(ELSEWHERE, endpoint="made"),
    ),
    "the engine's own builder, elsewhere": Case(
        asked={"driver": "docker"},
        facts=replace(FACTS, store=ImageStore.CONTAINERD, elsewhere=ELSEWHERE),
        serving=not_served(ELSEWHERE),
    ),
    "the builder of an engine elsewhere": Case(
        facts=replace(given(there()), elsewhere=ELSEWHERE), serving=entered(ELSEWHERE)
    ),
    "a remote builder": Case(facts=given(there("remote")), serving=not_served("a remote builder may be anywhere")),
    "a cluster": Case(asked={"driver": "kubernetes"}, serving=not_served("a kubernetes builder may be anywhere")),
    "several nodes": Case(facts=given(there(nodes=2)), serving=not_served("the builder has several nodes")),
    "off": Case(asked={**HOST_OPT, "lazy": "off"}, serving=not_served("--lazy off")),
    "on": Case(asked={**HOST_OPT, "lazy": "on"}, serving=served("host", "--lazy on")),
    "on, on the bridge": Case(asked={"lazy": "on"}, serving=served("bridge", "--lazy on")),
    "on, elsewhere": Case(asked={"lazy": "on"}, facts=given(there("remote")), serving=served("host", "--lazy on")),
    "on, without a network": Case(
        asked={"lazy": "on", "driver_opt": ["network=none"]}, serving=entered("--lazy on", own())
    ),
    "no local cache": Case(asked={"cache": "none"}, serving=ServingPlan()),
    "a local cache given by hand": Case(
        asked={"cache": "none", "cache_from": ["type=local,src=/tmp/cache"]},
        serving=served("bridge", network("bridge")),
    ),
}


def plan_of(case: Case) -> BuildPlan:
    return planned(case.facts, **{"cache": "local", **case.asked})


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_where_a_folder_is_served(case: Case) -> None:
    assert plan_of(case).cache.serving == case.serving


def test_a_plan_names_the_folder_wherever_it_is_served() -> None:
    argv = planned(cache="local", cache_dir="/tmp/cache").target.build.argv
    assert argv[argv.index("--cache-from") + 1] == "type=local,src=/tmp/cache"


def test_the_plan_says_how_folders_are_read() -> None:
    assert '"network": "bridge"' in plan_json(planned(cache="local"))
    assert '"why": "--lazy off"' in plan_json(planned(cache="local", lazy="off"))


@pytest.mark.parametrize("lazy", ["auto", "off"])
def test_the_printed_plan_says_that_the_folder_is_served(lazy: str) -> None:
    lines = shell_lines(planned(cache="local", cache_dir="/cache", lazy=lazy)).splitlines()
    assert [line.startswith("# lazy: ") for line in lines].count(True) == (lazy == "auto")
