"""What is asked of Docker, and what its answers mean."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from python_on_whales.components.image.cli_wrapper import ImageCLI
from python_on_whales.exceptions import NoSuchImage

from buildx_cache.engine import docker as docker_engine
from buildx_cache.engine.credentials import current_context
from buildx_cache.engine.docker import DockerEngine
from buildx_cache.engine.elsewhere import Whereabouts, elsewhere
from buildx_cache.engine.inspection import EngineInfo, parse_builder, parse_gateway, parse_info
from buildx_cache.engine.process import Completed
from buildx_cache.errors import EngineError
from buildx_cache.plan import Builder, Facts, Node, Place, Store, TlsEndpoint

PLACE = Place(project="app", cache_dir="/cache", today="2025-11-24")
SOCKET = "unix:///var/run/docker.sock"
TCP = "tcp://10.0.0.5:2376"

# --- driver options ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("printed", "options"),
    [
        pytest.param("", (), id="none"),
        pytest.param('network="host"', (("network", "host"),), id="one"),
        pytest.param(
            'network="host" image="r.example.com/b:1"',
            (("image", "r.example.com/b:1"), ("network", "host")),
            id="in-no-order",
        ),
        # `--driver-opt '"env.X=a, ""b c"" d=é\e"'`, as Buildx 0.29.1 and 0.13.1 print it.
        pytest.param(
            r'env.X="a, \"b c\" d=é\\e" network="host"',
            (("env.X", 'a, "b c" d=é\\e'), ("network", "host")),
            id="quoted",
        ),
        pytest.param('env.A="" env.B="x=\\"1\\" y=2"', (("env.A", ""), ("env.B", 'x="1" y=2')), id="empty-and-nested"),
        pytest.param(r'env.A="a\tb\nc\u200b\x1b"', (("env.A", "a\tb\nc\u200b\x1b"),), id="escapes"),
        pytest.param('network="ho', (), id="cut"),
    ],
)
def test_driver_options_are_read_of_each_node(printed: str, options: tuple[tuple[str, str], ...]) -> None:
    own = f"Driver Options: {printed}\n" if printed else ""
    said = f"Name: b\nDriver: docker-container\n\nNodes:\nName: b0\n{own}Status: running\n\nName: b1\nStatus: running\n"
    found = parse_builder(said)
    assert found is not None
    assert [node.options for node in found.nodes] == [options, ()]


# --- where the engine is -------------------------------------------------------------------------------------

VM = "the engine is in a virtual machine"


@pytest.mark.parametrize(
    ("engine", "reason"),
    [
        pytest.param({}, "", id="here"),
        pytest.param({"endpoint": "unix:///run/user/1000/docker.sock"}, "", id="another-socket"),
        pytest.param({"endpoint": TCP}, f"the engine is at {TCP}", id="tcp"),
        pytest.param({"endpoint": "tcp://127.0.0.1:2375"}, "the engine is at tcp://127.0.0.1:2375", id="tunnel"),
        pytest.param({"endpoint": "ssh://me@far"}, "the engine is at ssh://me@far", id="ssh"),
        pytest.param({"endpoint": "ssh://me:pw@far"}, "the engine is at ssh://***@far", id="ssh-password"),
        pytest.param({"endpoint": "tcp://me:pw@far:2375"}, "the engine is at tcp://***@far:2375", id="tcp-password"),
        pytest.param(
            {"system": "Docker Desktop", "name": "docker-desktop"},
            "Docker Desktop keeps the engine in a virtual machine",
            id="docker-desktop",
        ),
        pytest.param(
            {"system": "Rancher Desktop WSL Distribution"},
            "Rancher Desktop keeps the engine in a virtual machine",
            id="rancher-desktop",
        ),
        pytest.param(
            {"system": "Alpine Linux v3.20", "name": "lima-rancher-desktop"},
            "Rancher Desktop keeps the engine in a virtual machine",
            id="rancher-desktop-by-its-name",
        ),
        pytest.param({"name": "colima-work"}, "Colima keeps the engine in a virtual machine", id="colima"),
        pytest.param({"name": "lima-docker"}, "Lima keeps the engine in a virtual machine", id="lima"),
        pytest.param({"system": "OrbStack"}, "OrbStack keeps the engine in a virtual machine", id="orbstack"),
        pytest.param({"own_platform": "darwin"}, VM, id="mac"),
        pytest.param(
            {"security": ("name=seccomp,profile=builtin", "name=rootless", "name=cgroupns")},
            "the engine is rootless: its network is its own",
            id="rootless",
        ),
        pytest.param({"security": ("name=seccomp,profile=builtin", "name=cgroupns")}, "", id="not-rootless"),
        pytest.param(
            {"own_name": "3f2a9c"}, "the engine's host is 'build-7', and this is '3f2a9c'", id="mounted-socket"
        ),
        pytest.param(
            {"endpoint": TCP, "system": "Docker Desktop", "own_platform": "darwin", "own_name": "x"},
            f"the engine is at {TCP}",
            id="the-first-reason",
        ),
    ],
)
def test_an_engine_elsewhere_has_another_network(engine: dict[str, object], reason: str) -> None:
    here: dict[str, object] = {
        "endpoint": SOCKET,
        "name": "build-7",
        "system": "Debian GNU/Linux 12 (bookworm)",
        "own_name": "build-7",
        "own_platform": "linux",
    }
    assert elsewhere(Whereabouts(**{**here, **engine})) == reason  # type: ignore[arg-type]


# --- gateways ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "gateway"),
    [
        ('[{"Subnet":"10.213.0.0/20","Gateway":"10.213.0.1"}]\n', "10.213.0.1"),
        ("null", ""),
        ("[]", ""),
        ('[{"Subnet":"10.9.0.0/16"}]', "10.9.0.1"),
        ('[{"Subnet":"fd00:9::/64"},{"Subnet":"10.9.0.0/16"}]', "10.9.0.1"),
        ('[{"Subnet":"fd00:9::/64"}]', "fd00:9::1"),
        ('[{"Subnet":"10.9.0.0/16","IPRange":"10.9.8.0/24"}]', ""),
        ("[{}]", ""),
        ('[{"Subnet":"fd00::/64","Gateway":"fd00::1"}]', "fd00::1"),
        ('[{"Gateway":"fd00::1"},{"Gateway":"10.9.0.1/16"}]', "10.9.0.1"),
        ('[{"Gateway":""},{"Gateway":"10.9.0.1"},{"Gateway":"10.8.0.1"}]', "10.9.0.1"),
    ],
)
def test_the_ipv4_gateway_comes_first(said: str, gateway: str) -> None:
    assert parse_gateway(said) == gateway


# --- the questions -------------------------------------------------------------------------------------------

INFO: dict[str, object] = {
    "ServerVersion": "28.5.2",
    "DriverStatus": [["driver-type", "io.containerd.snapshotter.v1"]],
    "OperatingSystem": "Debian GNU/Linux 12 (bookworm)",
    "Name": "build-7",
    "IndexServerAddress": "https://index.docker.io/v1/",
    "SecurityOptions": ["name=seccomp,profile=builtin"],
    "ClientInfo": {"Plugins": [{"Name": "compose", "Version": "2"}, {"Name": "buildx", "Version": "0.29.1+ds1"}]},
}
OLD: dict[str, object] = {"ClientInfo": {"Plugins": [{"Name": "buildx", "Version": "v0.12.1"}]}}
BUILDER = "Name: default\nDriver: docker\n\nNodes:\nName: default\nStatus: running\n"
CURRENT = Builder(name="default", driver="docker", nodes=(Node(name="default", status="running"),))
DOWN = "Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?"


def test_what_docker_info_says_is_read() -> None:
    assert parse_info(json.dumps(INFO)) == EngineInfo(
        docker="28.5.2",
        buildx=(0, 29, 1),
        store=Store.CONTAINERD,
        name="build-7",
        system="Debian GNU/Linux 12 (bookworm)",
        security=("name=seccomp,profile=builtin",),
    )


@pytest.mark.parametrize(
    "said", [{}, {"ClientInfo": None, "DriverStatus": None, "SecurityOptions": None, "ServerErrors": None}], ids=len
)
def test_what_docker_info_leaves_out_is_empty(said: dict[str, object]) -> None:
    assert parse_info(json.dumps(said)) == EngineInfo()


@pytest.mark.parametrize(
    "text",
    ["", "words", "[]", "null", '{"ClientInfo": 5}', '{"ClientInfo": {"Plugins": [5]}}', "[" * 100_000],
    ids=lambda text: text[:8],
)
def test_what_docker_info_never_says_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 -- json's own, too
        parse_info(text)


PLUGIN = "/plugins/docker-buildx"
PROGRAMS: Mapping[str, tuple[str, ...]] = {"/bin/docker": (), PLUGIN: ("buildx",)}


class Docker:
    """Answers of a docker command by their questions, and what was asked, waited for and not."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.answers: dict[str, Completed] = {
            "system info": Completed(code=0, stdout=json.dumps(INFO)),
            "buildx inspect": Completed(code=0, stdout=BUILDER),
        }
        self.asked: list[str] = []
        self.under_way = 0
        self.most = 0
        self.plugin = ""
        patch.setattr(docker_engine, "asking", self._asking)
        patch.setattr(docker_engine, "buildx_itself", lambda _: self.plugin)
        patch.setattr("shutil.which", lambda name, path: f"/bin/{name}" if path == "/bin" else None)
        patch.setattr(os, "uname", lambda: os.uname_result(("Linux", "build-7", "6", "1", "x86_64")))
        patch.setattr(sys, "platform", "linux")

    @contextmanager
    def _asking(self, argv: tuple[str, ...], *, env: Mapping[str, str]) -> Iterator[Callable[[], Completed]]:
        assert env["PATH"] == "/bin"
        words = PROGRAMS[argv[0]] + argv[1:]
        self.asked.append(" ".join(argv if argv[0] == PLUGIN else words))
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        question = words[2:4] if words[0] == "--context" else words[:2]
        try:
            yield lambda: self.answers[" ".join(question)]
        finally:
            self.under_way -= 1


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Docker:
    return Docker(monkeypatch)


ASK_INFO = "system info --format {{json .}}"
ASK_ENDPOINT = "context inspect --format {{.Endpoints.docker.Host}}"


def facts(engine: DockerEngine, builder: str = "") -> Facts:
    return engine.facts(PLACE, builder)


def test_two_questions_asked_at_once_are_enough(said: Docker, tmp_path: Path) -> None:
    engine = DockerEngine({"PATH": "/bin", "DOCKER_CONFIG": str(tmp_path)})
    assert facts(engine) == Facts(
        docker="28.5.2",
        buildx=(0, 29, 1),
        store=Store.CONTAINERD,
        context="default",
        place=PLACE,
        endpoint=SOCKET,
        builder=CURRENT,
    )
    assert said.asked == [ASK_INFO, "buildx inspect"]
    assert (engine.calls, said.most, said.under_way) == (2, 2, 0)


def test_buildx_is_asked_itself_where_it_is_found(said: Docker, tmp_path: Path) -> None:
    said.plugin = PLUGIN
    engine = DockerEngine({"PATH": "/bin", "DOCKER_CONFIG": str(tmp_path)})
    assert facts(engine, "mine").builder == CURRENT
    assert engine.find_builder("other") == CURRENT
    assert said.asked == [ASK_INFO, f"{PLUGIN} inspect mine", f"{PLUGIN} inspect other"]
    assert engine.calls == 3


@pytest.mark.parametrize(
    ("env", "context"),
    [({}, "far"), ({"DOCKER_HOST": "tcp://far:2376", "DOCKER_TLS_VERIFY": "1"}, "")],
    ids=["context", "tls"],
)
def test_of_a_context_and_of_tls_docker_alone_tells_buildx(said: Docker, env: dict[str, str], context: str) -> None:
    said.plugin = PLUGIN
    said.answers |= dict.fromkeys(("context inspect", "context ls"), Completed(code=0, stdout="ssh://me@far\n"))
    facts(DockerEngine({"PATH": "/bin", "HOME": "/nowhere", **env}, context))
    assert not any(PLUGIN in question for question in said.asked)


def test_the_endpoint_of_a_named_context_is_asked_for(said: Docker) -> None:
    said.answers["context inspect"] = Completed(code=0, stdout="ssh://me@far\n")
    engine = DockerEngine({"PATH": "/bin", "DOCKER_HOST": SOCKET}, "far")
    found = facts(engine, "mine")
    assert (found.context, found.elsewhere) == ("far", "the engine is at ssh://me@far")
    given = "--context far "
    assert said.asked == [given + ASK_INFO, given + "buildx inspect mine", f"{given}{ASK_ENDPOINT} far"]
    assert (engine.calls, said.most) == (3, 3)


def test_an_engine_with_tls_from_the_environment_has_its_contexts_listed(said: Docker) -> None:
    said.answers["context ls"] = Completed(code=0, stdout="default\nbuildx-cache-1\n")
    env = {"PATH": "/bin", "DOCKER_HOST": TCP, "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": "/c"}
    found = facts(DockerEngine(env))
    assert found.tls == TlsEndpoint(host=TCP, cert_path="/c")
    assert found.contexts == ("default", "buildx-cache-1")
    assert found.elsewhere == f"the engine is at {TCP}"
    assert said.most == 3
    assert facts(DockerEngine({**env, "DOCKER_TLS_VERIFY": ""})).contexts == ()


@pytest.mark.parametrize(
    ("env", "config", "context"),
    [
        ({}, None, "default"),
        ({}, {}, "default"),
        ({}, {"currentContext": "mine"}, "mine"),
        ({}, {"currentContext": 3}, "default"),
        ({"DOCKER_CONTEXT": "other"}, {"currentContext": "mine"}, "other"),
        ({"DOCKER_CONTEXT": ""}, {"currentContext": "mine"}, "mine"),
        ({"DOCKER_CONTEXT": "other", "DOCKER_HOST": TCP}, {"currentContext": "mine"}, "default"),
    ],
)
def test_the_context_in_use_is_found_as_docker_finds_it(
    tmp_path: Path, env: dict[str, str], config: dict[str, object] | None, context: str
) -> None:
    if config is not None:
        (tmp_path / "config.json").write_text(json.dumps(config))
    assert current_context({**env, "DOCKER_CONFIG": str(tmp_path)}) == context


def test_no_builder_is_no_error(said: Docker) -> None:
    said.answers["buildx inspect"] = Completed(code=1, stderr='ERROR: no builder "nope" found')
    engine = DockerEngine({"PATH": "/bin", "DOCKER_HOST": SOCKET})
    assert facts(engine, "nope").builder is None
    assert engine.find_builder("nope") is None
    assert engine.calls == 3


START = "start Docker; in CircleCI add a setup_remote_docker step, or use a machine executor"


@pytest.mark.parametrize(
    ("info", "message"),
    [
        pytest.param(Completed(code=1, stderr=DOWN), "Docker is not running, or cannot be reached", id="down"),
        # Docker 26 ends well and says so inside.
        pytest.param(
            Completed(code=0, stdout=json.dumps({**OLD, "ServerErrors": [DOWN]}), stderr=DOWN),
            "Docker is not running, or cannot be reached",
            id="down-with-code-0",
        ),
        pytest.param(Completed(code=1, stderr="hm\nwhat?\n"), "Docker does not answer: what?", id="else"),
        pytest.param(
            Completed(code=0, stdout=json.dumps({**INFO, "ClientInfo": {"Plugins": []}})),
            "Docker's Buildx plugin is not installed",
            id="no-buildx",
        ),
        pytest.param(
            Completed(code=0, stdout=json.dumps(OLD)), "Buildx 0.12.1 is too old: 0.13.0 is needed", id="old-buildx"
        ),
    ],
)
def test_an_engine_that_cannot_be_used_is_an_error(said: Docker, info: Completed, message: str) -> None:
    said.answers["system info"] = info
    with pytest.raises(EngineError) as raised:
        facts(DockerEngine({"PATH": "/bin", "DOCKER_HOST": SOCKET}))
    assert raised.value.message == message
    assert raised.value.hint
    assert said.under_way == 0


def test_without_a_docker_command_nothing_is_asked(said: Docker) -> None:
    engine = DockerEngine({"PATH": "/none", "DOCKER_HOST": SOCKET})
    with pytest.raises(EngineError, match="the docker command is not on PATH"):
        facts(engine)
    assert (said.asked, engine.calls) == ([], 0)


def test_a_network_without_a_gateway_has_none(said: Docker) -> None:
    engine = DockerEngine({"PATH": "/bin", "DOCKER_HOST": SOCKET}, "mine")
    said.answers["network inspect"] = Completed(code=0, stdout='bridge [{"Gateway":"10.1.0.1"}]')
    assert engine.gateway("bridge") == "10.1.0.1"
    said.answers["network inspect"] = Completed(code=0, stdout='macvlan [{"Gateway":"10.1.0.1"}]')
    assert engine.gateway("lan") == ""
    said.answers["network inspect"] = Completed(code=1, stderr="Error response from daemon: network x not found")
    assert engine.gateway("x") == ""
    assert said.asked[0] == "--context mine network inspect --format {{.Driver}} {{json .IPAM.Config}} bridge"
    assert engine.calls == 3


def test_an_image_that_is_not_there_has_no_id(monkeypatch: pytest.MonkeyPatch) -> None:
    def inspect(_: ImageCLI, name: str) -> SimpleNamespace:
        if name != "app":
            raise NoSuchImage(["docker", "image", "inspect", name], 1, b"", b"No such image")
        return SimpleNamespace(id="sha256:abc")

    monkeypatch.setattr(ImageCLI, "inspect", inspect)
    engine = DockerEngine({"PATH": "/bin", "DOCKER_HOST": SOCKET})
    assert [engine.image_id(name) for name in ("app", "other")] == ["sha256:abc", ""]
    assert engine.calls == 2


@pytest.mark.parametrize(
    ("known", "tags", "calls"),
    [
        pytest.param("sha256:other", Completed(code=0, stdout="[]"), 0, id="not-ours"),
        pytest.param("sha256:abc", Completed(code=0, stdout='["app:1"]'), 1, id="tagged"),
        pytest.param("sha256:abc", Completed(code=1, stdout="\n"), 1, id="gone-already"),
        pytest.param("sha256:abc", Completed(code=0, stdout="null\n"), 2, id="untagged"),
    ],
)
def test_only_images_that_lost_their_tags_are_removed(
    said: Docker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: str, tags: Completed, calls: int
) -> None:
    said.answers["image inspect"] = tags
    removed: list[str] = []
    monkeypatch.setattr(ImageCLI, "remove", lambda _, name: removed.append(name))
    engine = DockerEngine({"PATH": "/bin", "DOCKER_HOST": SOCKET, "XDG_CACHE_HOME": str(tmp_path)})
    engine.remember_loaded(known)
    gone = calls == 2
    assert engine.remove_replaced("sha256:abc") is gone
    assert removed == (["sha256:abc"] if gone else [])
    assert engine.calls == calls
