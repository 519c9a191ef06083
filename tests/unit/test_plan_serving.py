"""Where a local folder is served to BuildKit, and why not elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import pytest

from buildx_cache.plan import Builder, BuildPlan, Container, Facts, ImageStore, Node, Pods, ServingPlan, make_plan
from buildx_cache.plan.render import plan_json, shell_lines
from buildx_cache.request.sources import OptionLayer, make_request
from tests.unit.run.calls import CI, FACTS, planned, planned_for

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
    return entered_all(why, Container(name=container, endpoint=endpoint))


def entered_all(why: str, *containers: Container) -> ServingPlan:
    return ServingPlan(
        tunnels=containers,
        why=why if why.startswith("--") else f"{why}; a tunnel through Docker's API leads here",
    )


def pods(builder: str) -> ServingPlan:
    return ServingPlan(
        tunnels=(Pods(builder=builder),),
        why="a kubernetes builder may be anywhere; a tunnel by kubectl exec leads here",
    )


def fleet(*endpoints: str, network: str = "") -> Builder:
    """A builder with a node for each endpoint."""
    options = (("network", network),) if network else ()
    return Builder(
        name="there",
        driver="docker-container",
        nodes=tuple(
            Node(name=f"node{number}", status="running", endpoint=endpoint, options=options)
            for number, endpoint in enumerate(endpoints)
        ),
    )


def own(option: str = "network=none", *, endpoint: str = "") -> str:
    """The container of the builder that is made."""
    options = {"driver_opt": [option]} if option and not endpoint else {}
    plan = planned(cache="local", **options, **({"endpoint": [endpoint]} if endpoint else {}))
    return f"buildx_buildkit_{plan.builder.name}0"


def not_served(why: str) -> ServingPlan:
    return ServingPlan(why=why)


CLUSTER = planned(cache="local", driver="kubernetes").builder.name
FLEET = planned(cache="local", endpoint=["ssh://one,name=first", "ssh://two,platform=linux/arm64"]).builder.name
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
    "a cluster": Case(asked={"driver": "kubernetes"}, serving=pods(CLUSTER)),
    "a cluster's builder": Case(facts=given(there("kubernetes")), serving=pods("there")),
    "several nodes": Case(
        facts=given(fleet("default", "ssh://elsewhere")),
        serving=entered_all(
            "the builder has several nodes",
            Container(name="buildx_buildkit_node0"),
            Container(name="buildx_buildkit_node1", endpoint="ssh://elsewhere"),
        ),
    ),
    "several nodes on the networks of two hosts": Case(
        facts=given(fleet("default", "default", "ssh://elsewhere", network="host")),
        serving=entered_all(
            "the builder has several nodes",
            Container(name="buildx_buildkit_node1"),
            Container(name="buildx_buildkit_node2", endpoint="ssh://elsewhere"),
        ),
    ),
    "several nodes that are made": Case(
        asked={"endpoint": ["ssh://one,name=first", "ssh://two,platform=linux/arm64"]},
        serving=entered_all(
            "the builder has several nodes",
            Container(name="buildx_buildkit_first", endpoint="ssh://one"),
            Container(name=f"buildx_buildkit_{FLEET}1", endpoint="ssh://two"),
        ),
    ),
    "several nodes of no container": Case(
        facts=given(there("remote", nodes=2)), serving=not_served("a remote builder may be anywhere")
    ),
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


FAR = replace(
    FACTS, store=ImageStore.CONTAINERD, endpoint="tcp://10.0.0.5:2376", elsewhere="the engine is at tcp://10.0.0.5:2376"
)
DESKTOP = replace(FAR, endpoint="unix:///run/docker.sock", elsewhere="Docker Desktop keeps the engine elsewhere")
PUSH: Mapping[str, object] = {"tag": ["registry.example.com/app:1"], "push": True}
BUILDERS: Mapping[str, tuple[Facts, Mapping[str, object], bool]] = {
    "a push": (FAR, PUSH, True),
    "a push by the builder that is named": (FAR, {**PUSH, "builder": "default"}, False),
    "a push by the driver that is named": (FAR, {**PUSH, "driver": "docker"}, False),
    "a push by the builder of a variable": (replace(FAR, variables=frozenset({"BUILDX_BUILDER"})), PUSH, False),
    "a push of an image that is loaded, too": (FAR, {**PUSH, "load": True}, False),
    "no push": (FAR, {}, False),
    "a push with no lazy import": (FAR, {**PUSH, "lazy": "off"}, False),
    "a push with a cache in a registry": (FAR, {**PUSH, "cache": "registry"}, False),
    "a push from an engine in a virtual machine": (DESKTOP, PUSH, False),
    "a push from this machine's engine": (replace(FAR, elsewhere=""), PUSH, False),
}


@pytest.mark.parametrize(("facts", "asked", "is_own"), BUILDERS.values(), ids=BUILDERS)
def test_a_push_from_another_machine_reads_a_folder_by_a_builder_that_can_be_entered(
    facts: Facts, asked: Mapping[str, object], *, is_own: bool
) -> None:
    values = {"cache": "local", "prune": False, **asked}
    plan = make_plan(make_request([OptionLayer(where="--{name}", values=values)]), CI, facts)
    assert plan.builder.owned == is_own
    assert bool(plan.cache.serving.tunnels) == is_own


def plan_of(case: Case) -> BuildPlan:
    return planned(case.facts, **{"cache": "local", **case.asked})


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_where_a_folder_is_served(case: Case) -> None:
    assert replace(plan_of(case).cache.serving, tunnels_if_shared=()) == case.serving


@pytest.mark.parametrize(
    ("asked", "is_ci", "is_one"),
    [
        ({}, True, True),
        ({"driver_opt": ["network=builds"]}, True, True),
        ({"driver_opt": ["network=host"]}, True, False),
        ({"lazy": "on"}, True, False),
        ({"lazy": "off"}, True, False),
        ({}, False, False),
    ],
)
def test_in_a_ci_there_is_a_way_around_a_network_that_others_share(
    asked: Mapping[str, object], *, is_ci: bool, is_one: bool
) -> None:
    plan = planned_for(CI if is_ci else replace(CI, provider="none"), FACTS, cache="local", **asked)
    own = Container(name=f"buildx_buildkit_{plan.builder.name}0")
    assert plan.cache.serving.tunnels_if_shared == ((own,) if is_one else ())


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
