"""What runs at both ends of a tunnel, and what is made of a container that says what it likes."""

from __future__ import annotations

import itertools
import shlex
from pathlib import Path

import pytest

from buildx_cache.engine import tunnel
from buildx_cache.engine.process import Completed
from buildx_cache.errors import ExhaustedError

FOLDER = "/dev/shm/buildx-cache-tunnel.aB3dE6"
SAID = f"root /usr/sbin/sshd {FOLDER}\n"
ENTER = ("docker", "--context", "far away", "exec", "--interactive", "buildx_buildkit_x%h0")


def server(said: str = SAID, code: int = 0) -> tunnel._Server:
    return tunnel._server(Completed(code=code, stdout=said, stderr="Error: no such container\n"))


def options(words: tuple[str, ...]) -> dict[str, str]:
    found = (option.partition("=") for before, option in itertools.pairwise(words) if before == "-o")
    return {name: value for name, _, value in found}


def test_the_container_s_end_lets_nobody_do_anything_but_listen_on_loopback() -> None:
    words = server().words
    found = options(words)
    assert words[:2] == ("sh", "-c")
    assert FOLDER in (words[3], Path(found["HostKey"]).parent.as_posix())
    assert found["AuthorizedKeysFile"] == f"{FOLDER}/client"
    assert found["AllowTcpForwarding"] == "remote"
    assert found["PermitListen"] == "127.0.0.1:*"
    assert found["ForceCommand"] == "/bin/false"
    refused = ("PasswordAuthentication", "KbdInteractiveAuthentication", "PermitTTY", "PermitTunnel", "GatewayPorts")
    assert {found[name] for name in refused} == {"no"}


def test_this_end_knows_the_container_by_its_key_and_uses_nothing_of_the_user_s() -> None:
    words = tunnel._ssh(ENTER, server(), Path("/run/user/1/k"), Path("/run/user/1/known"), {4711: 0, 815: 0})
    found = options(words)
    assert words[:4] == ("ssh", "-N", "-F", "/dev/null")
    assert [each for each in words if each.startswith("127.")] == [
        "127.0.0.1:0:127.0.0.1:4711",
        "127.0.0.1:0:127.0.0.1:815",
    ]
    assert found["StrictHostKeyChecking"] == found["IdentitiesOnly"] == found["BatchMode"] == "yes"
    assert (found["IdentityAgent"], found["GlobalKnownHostsFile"]) == ("none", "/dev/null")
    proxy = shlex.split(found["ProxyCommand"].replace("%%", "%"))
    assert proxy == [*ENTER, *server().words]
    assert "%h" not in found["ProxyCommand"].replace("%%", "")


@pytest.mark.parametrize(
    ("said", "code", "cause"),
    [
        ("", 69, "tunnel-sshd-absent"),
        ("", 1, "tunnel-failed"),
        ("", 0, "tunnel-failed"),
        (SAID, 1, "tunnel-failed"),
        (SAID.replace("root", "-oProxyCommand=x"), 0, "tunnel-failed"),
        (SAID.replace("root", "a b"), 0, "tunnel-failed"),
        (SAID.replace(FOLDER, "/home"), 0, "tunnel-failed"),
        (SAID.replace(FOLDER, f"{FOLDER}/../.."), 0, "tunnel-failed"),
        (SAID.replace("/usr/sbin/sshd", "/bin/rm"), 0, "tunnel-failed"),
        (SAID + SAID, 0, "tunnel-failed"),
    ],
)
def test_a_container_that_says_anything_else_is_not_entered(said: str, code: int, cause: str) -> None:
    with pytest.raises(ExhaustedError) as caught:
        server(said, code)
    assert caught.value.code == cause


def test_further_containers_have_the_first_one_s_ports_and_one_that_tells_of_them() -> None:
    words = tunnel._ssh(ENTER, server(), Path("/run/user/1/k"), Path("/run/user/1/known"), {4711: 23, 815: 42})
    assert [each for each in words if each.startswith("127.")] == [
        "127.0.0.1:23:127.0.0.1:4711",
        "127.0.0.1:42:127.0.0.1:815",
        "127.0.0.1:0:127.0.0.1:815",
    ]
