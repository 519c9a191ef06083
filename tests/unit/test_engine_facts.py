"""What is asked of Docker, and what its answers mean."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from buildx_cache.engine import certificates, client
from buildx_cache.engine.client import gateway_of, parse_builder
from buildx_cache.engine.credentials import current_context
from buildx_cache.engine.docker import DockerEngine
from buildx_cache.engine.locality import Whereabouts, elsewhere
from buildx_cache.engine.process import Completed
from buildx_cache.errors import EngineError
from buildx_cache.plan import Builder, Facts, ImageStore, Node, Place, TlsEndpoint
from buildx_cache.plan.facts import Registries

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
    assert gateway_of(json.loads(said) or []) == gateway


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
OLD: dict[str, object] = {"ServerVersion": "", "ClientInfo": {"Plugins": [{"Name": "buildx", "Version": "v0.12.1"}]}}
TOO_OLD = {**OLD, "ServerVersion": "26"}
BUILDER = "Name: default\nDriver: docker\n\nNodes:\nName: default\nStatus: running\n"
CURRENT = Builder(name="default", driver="docker", nodes=(Node(name="default", status="running"),))
DOWN = "Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?"


class Docker:
    """A docker command line: its answers by the words asked, and what was asked."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.answers: dict[str, Completed] = {
            "system info": Completed(code=0, stdout=json.dumps(INFO)),
            "buildx inspect": Completed(code=0, stdout=BUILDER),
            "version": Completed(code=0, stdout="{}"),
            "--version": Completed(code=0, stdout="Docker version 28.5.2, build 1"),
        }
        self.asked: list[str] = []
        patch.setattr("python_on_whales.utils.subprocess.run", self._run)
        patch.setattr(client, "begin", self._begin)
        patch.setenv("PATH", "/bin")
        patch.setattr("shutil.which", lambda name: f"/bin/{name}" if os.environ["PATH"] == "/bin" else None)
        patch.setattr(os, "uname", lambda: os.uname_result(("Linux", "build-7", "6", "1", "x86_64")))
        patch.setattr(sys, "platform", "linux")
        patch.setattr(certificates, "_ENGINES", Path("/nowhere"))

    def _answer(self, argv: Sequence[str]) -> Completed:
        program, *words = argv
        assert program == "/bin/docker"
        self.asked.append(" ".join(words))
        question = words[2:] if words[0] == "--context" else words
        return next(said for start, said in self.answers.items() if " ".join(question).startswith(start))

    @contextlib.contextmanager
    def _begin(self, argv: Sequence[str]) -> Iterator[Callable[[], Completed]]:
        answer = self._answer(argv)
        yield lambda: answer

    def _run(self, argv: list[str], **_: object) -> SimpleNamespace:
        answer = self._answer(argv)
        return SimpleNamespace(
            returncode=answer.code,
            stdout=answer.stdout.encode(),
            stderr=answer.stderr.encode("utf-8", "surrogateescape"),
        )


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Docker:
    return Docker(monkeypatch)


ASK_INFO = "system info --format {{json .}}"
ASK_ENDPOINT = "context inspect"


def facts(engine: DockerEngine, builder: str = "") -> Facts:
    return engine.facts(PLACE, builder)


def test_two_questions_are_enough(said: Docker, tmp_path: Path) -> None:
    engine = DockerEngine({"DOCKER_CONFIG": str(tmp_path)})
    assert facts(engine) == Facts(
        docker="28.5.2",
        buildx=(0, 29, 1),
        store=ImageStore.CONTAINERD,
        context="default",
        place=PLACE,
        endpoint=SOCKET,
        builder=CURRENT,
    )
    assert said.asked == ["buildx inspect", ASK_INFO]
    assert engine.calls == 2


@pytest.mark.parametrize(
    "said_of_it",
    [{}, {"ClientInfo": None, "DriverStatus": None, "SecurityOptions": None, "Name": None, "OperatingSystem": None}],
    ids=len,
)
def test_what_docker_info_leaves_out_is_not_made_up(said: Docker, said_of_it: dict[str, object]) -> None:
    plugins = {"ClientInfo": INFO["ClientInfo"]}
    info = {"ServerVersion": "28.5.2", **said_of_it, **plugins}
    said.answers["system info"] = Completed(code=0, stdout=json.dumps(info))
    found = facts(DockerEngine({"DOCKER_HOST": SOCKET}))
    assert (found.store, found.docker) == (ImageStore.CLASSIC, "28.5.2")


REGISTRY_CONFIG = {
    "IndexConfigs": {
        "docker.io": {"Mirrors": ["https://mirror.test/"], "Name": "docker.io", "Official": True, "Secure": True},
        "registry.test:5000": {"Mirrors": [], "Name": "registry.test:5000", "Official": False, "Secure": False},
    },
    "InsecureRegistryCIDRs": ["::1/128", "127.0.0.0/8", "10.9.0.0/16"],
    "Mirrors": ["https://mirror.test/"],
}


def test_the_engines_registries_are_read(said: Docker, tmp_path: Path) -> None:
    said.answers["system info"] = Completed(code=0, stdout=json.dumps({**INFO, "RegistryConfig": REGISTRY_CONFIG}))
    env = {"DOCKER_HOST": SOCKET, "BUILDX_CONFIG": str(tmp_path)}
    found = facts(DockerEngine(env))
    assert found.registries == Registries(
        insecure=("registry.test:5000",), insecure_networks=("10.9.0.0/16",), mirrors=("https://mirror.test",)
    )
    assert found.default_config == ""
    (tmp_path / "buildkitd.default.toml").touch()
    assert facts(DockerEngine(env)).default_config == str(tmp_path / "buildkitd.default.toml")


@pytest.mark.parametrize(
    "config",
    [
        None,
        {},
        {"IndexConfigs": None, "InsecureRegistryCIDRs": None, "Mirrors": None},
        {"IndexConfigs": [1], "InsecureRegistryCIDRs": "x", "Mirrors": {"a": 1}},
        {"IndexConfigs": {"a": 1, "b": {"Secure": "no"}}, "InsecureRegistryCIDRs": [1], "Mirrors": [None]},
    ],
    ids=repr,
)
def test_registries_that_are_not_understood_are_none(said: Docker, config: object) -> None:
    said.answers["system info"] = Completed(code=0, stdout=json.dumps({**INFO, "RegistryConfig": config}))
    assert facts(DockerEngine({"DOCKER_HOST": SOCKET})).registries == Registries()


@pytest.mark.parametrize(
    "text",
    ["", "words", "[]", "null", '{"ClientInfo": 5}', '{"ClientInfo": {"Plugins": [5]}}', "[" * 100_000],
    ids=lambda text: text[:8],
)
def test_an_answer_that_is_not_understood_is_an_error_of_the_engine(said: Docker, text: str) -> None:
    said.answers["system info"] = Completed(code=0, stdout=text)
    with pytest.raises(EngineError):
        facts(DockerEngine({"DOCKER_HOST": SOCKET}))


@pytest.mark.parametrize(
    "text", ["", "words", "[]", "null", "{}", "[5]", "[{}, {}]", '[{"Name": [], "Id": []}]', "[" * 100_000]
)
def test_an_answer_about_a_context_that_is_not_understood_is_kept_nowhere(
    said: Docker, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    said.answers["context inspect"] = Completed(code=0, stdout=text)
    with pytest.raises(EngineError):
        facts(DockerEngine({"DOCKER_HOST": SOCKET}, "far"))
    said.answers |= {f"{kind} inspect": Completed(code=0, stdout=text) for kind in ("network", "image")}
    for ask in (DockerEngine({}).bridge, DockerEngine({}).image_id):
        with pytest.raises(EngineError):
            ask("x")
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("endpoints", [None, {}, {"kubernetes": {"Host": "x"}}, {"docker": {}}])
def test_a_context_without_an_endpoint_has_none(said: Docker, endpoints: object) -> None:
    said.answers["context inspect"] = Completed(code=0, stdout=json.dumps([{"Name": "far", "Endpoints": endpoints}]))
    assert facts(DockerEngine({}, "far")).endpoint == ""


def test_a_failure_in_other_bytes_than_utf8_is_an_error_of_the_engine(said: Docker) -> None:
    said.answers["system info"] = Completed(code=1, stderr="\udcff\n")
    with pytest.raises(EngineError):
        facts(DockerEngine({"DOCKER_HOST": SOCKET}))


def test_the_endpoint_of_a_named_context_is_asked_for(said: Docker) -> None:
    endpoint = [{"Name": "far", "Endpoints": {"docker": {"Host": "ssh://me@far"}}}]
    said.answers["context inspect"] = Completed(code=0, stdout=json.dumps(endpoint))
    engine = DockerEngine({"DOCKER_HOST": SOCKET}, "far")
    found = facts(engine, "mine")
    assert (found.context, found.elsewhere) == ("far", "the engine is at ssh://me@far")
    given = "--context far "
    assert said.asked == [given + "buildx inspect mine", given + ASK_INFO, f"{given}{ASK_ENDPOINT} far"]
    assert engine.calls == 3


def test_an_engine_with_tls_from_the_environment_has_its_contexts_listed(said: Docker) -> None:
    said.answers["context list"] = Completed(code=0, stdout="default\nbuildx-cache-1\n")
    env = {"DOCKER_HOST": TCP, "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": "/c"}
    found = facts(DockerEngine(env))
    assert found.tls == TlsEndpoint(host=TCP, cert_path="/c")
    assert found.contexts == ("default", "buildx-cache-1")
    assert found.elsewhere == f"the engine is at {TCP}"
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
    engine = DockerEngine({"DOCKER_HOST": SOCKET})
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
            Completed(code=0, stdout=json.dumps(TOO_OLD)),
            "Buildx 0.12.1 is too old: 0.13.0 is needed",
            id="old-buildx",
        ),
    ],
)
def test_an_engine_that_cannot_be_used_is_an_error(said: Docker, info: Completed, message: str) -> None:
    said.answers["system info"] = info
    said.answers["version"] = Completed(code=1, stderr=DOWN)
    with pytest.raises(EngineError) as raised:
        facts(DockerEngine({"DOCKER_HOST": SOCKET}))
    assert raised.value.message == message
    assert raised.value.hint


def test_without_a_docker_command_nothing_is_asked(said: Docker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/none")
    engine = DockerEngine({"DOCKER_HOST": SOCKET})
    with pytest.raises(EngineError, match="the docker command is not on PATH"):
        facts(engine)
    assert said.asked == []


def network(driver: str) -> Completed:
    return Completed(
        code=0, stdout=json.dumps([{"Id": "n", "Driver": driver, "IPAM": {"Config": [{"Gateway": "10.1.0.1"}]}}])
    )


def test_a_network_without_a_gateway_has_none(said: Docker) -> None:
    engine = DockerEngine({"DOCKER_HOST": SOCKET}, "mine")
    said.answers["network inspect"] = network("bridge")
    assert engine.bridge("bridge").gateway == "10.1.0.1"
    said.answers["network inspect"] = network("macvlan")
    assert engine.bridge("lan").gateway == ""
    said.answers["network inspect"] = Completed(code=1, stderr="Error response from daemon: network x not found")
    assert engine.bridge("x").gateway == ""
    assert said.asked[0] == "--context mine network inspect bridge"
    assert engine.calls == 3


def image(*tags: str) -> Completed:
    return Completed(code=0, stdout=json.dumps([{"Id": "sha256:abc", "RepoTags": [*tags] or None}]))


def test_an_image_that_is_not_there_has_no_id(said: Docker) -> None:
    said.answers |= {
        "image inspect app": image(),
        "image inspect other": Completed(code=1, stderr="No such image"),
    }
    engine = DockerEngine({"DOCKER_HOST": SOCKET})
    assert [engine.image_id(name) for name in ("app", "other")] == ["sha256:abc", ""]
    assert engine.calls == 2


@pytest.mark.parametrize(
    ("known", "found", "calls"),
    [
        pytest.param("sha256:other", image(), 0, id="not-ours"),
        pytest.param("sha256:abc", image("app:1"), 1, id="tagged"),
        pytest.param("sha256:abc", Completed(code=1, stdout="\n"), 1, id="gone-already"),
        pytest.param("sha256:abc", image(), 2, id="untagged"),
    ],
)
def test_only_images_that_lost_their_tags_are_removed(
    said: Docker, tmp_path: Path, known: str, found: Completed, calls: int
) -> None:
    said.answers |= {"image inspect": found, "image remove": Completed(code=0), "image rm": Completed(code=0)}
    engine = DockerEngine({"DOCKER_HOST": SOCKET, "XDG_CACHE_HOME": str(tmp_path)})
    engine.remember_loaded(known)
    gone = calls == 2
    assert engine.remove_replaced("sha256:abc") is gone
    assert any("sha256:abc" in asked and "inspect" not in asked for asked in said.asked) is gone
    assert engine.calls == calls
