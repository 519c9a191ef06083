"""Logins: private to the call, and the user's own configuration stays in use and as it was."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from tests.integration.conftest import Docker


@pytest.fixture
def target(docker: Docker) -> str:
    return docker.repository().replace(docker.registry, docker.auth_registry)


def login(docker: Docker) -> dict[str, str]:
    return {
        "DOCKER_REGISTRY": docker.auth_registry,
        "DOCKER_LOGIN": docker.env["ENGINE_AUTH_USER"],
        "DOCKER_PASSWORD": docker.env["ENGINE_AUTH_PASSWORD"],
    }


def words(docker: Docker, project: Path, target: str) -> tuple[str, ...]:
    return ("-t", f"{target}:1", "--push", *docker.new_builder, "--build-arg", f"BASE={docker.base}", str(project))


def test_the_ci_variables_log_in_and_leave_no_trace(docker: Docker, project: Path, target: str) -> None:
    config = Path(docker.env["DOCKER_CONFIG"]) / "config.json" if docker.env.get("DOCKER_CONFIG") else None
    before = config.read_bytes() if config else b""
    docker.build(*words(docker, project, target), env=login(docker))
    ran = docker.build(*words(docker, project, target), env=login(docker))
    assert ran.steps == (3, 3, 0)
    assert (config.read_bytes() if config else b"") == before
    assert docker.left_in_scratch() == []
    assert docker.env["ENGINE_AUTH_PASSWORD"] not in ran.stdout + ran.stderr + json.dumps(ran.report)


def test_the_password_can_come_on_stdin(docker: Docker, project: Path, target: str) -> None:
    ran = docker.tool(
        *("build", "--username", docker.env["ENGINE_AUTH_USER"], "--password-stdin", *words(docker, project, target)),
        stdin=docker.env["ENGINE_AUTH_PASSWORD"] + "\n",
    )
    assert ran.code == 0, ran.stderr


def test_a_wrong_password_is_refused_before_the_build(docker: Docker, project: Path, target: str) -> None:
    env = {**login(docker), "DOCKER_PASSWORD": "wrong-and-secret"}
    ran = docker.tool("build", *words(docker, project, target), env=env)
    assert ran.code == 4
    assert f"error: the login to {docker.auth_registry} was refused" in ran.stderr
    assert "wrong-and-secret" not in ran.stderr
    assert ran.report["status"] == "failed"
    assert ran.report["phases"]["build"] == 0


def test_a_push_without_a_login_is_denied_before_the_build(docker: Docker, project: Path, target: str) -> None:
    ran = docker.tool("build", "--cache", "none", *words(docker, project, target))
    assert (ran.code, ran.report["error"]["code"]) == (4, "push-denied"), ran.stderr
    assert "hint: log in with --username" in ran.stderr
    assert (ran.report["phases"]["build"], ran.report["steps"]) == (0, [])
    assert docker.left_of(ran.report["builder"]["name"]) == ""


def test_a_registry_that_is_not_asked_refuses_after_the_build(docker: Docker, project: Path, target: str) -> None:
    ran = docker.tool("build", "--cache", "none", "--no-push-check", *words(docker, project, target))
    assert (ran.code, len(ran.report["steps"])) == (4, 3), ran.stderr
    assert "hint: log in with --username" in ran.stderr


def test_stored_credentials_of_the_user_are_used_beside_the_login(
    docker: Docker, project: Path, target: str, tmp_path: Path
) -> None:
    """The user is logged in to the registry of the image; the call logs in to another one."""
    config = tmp_path / "docker-config"
    docker.copy_configuration(config)
    user, password = docker.env["ENGINE_AUTH_USER"], docker.env["ENGINE_AUTH_PASSWORD"]
    docker.docker("login", "--username", user, "--password", password, docker.auth_registry, DOCKER_CONFIG=str(config))
    stored = (config / "config.json").read_bytes()
    env = {"DOCKER_CONFIG": str(config), "OTHER": "anything"}
    other = ("--registry", docker.registry, "--username", "someone", "--password-env", "OTHER")
    ran = docker.tool("build", *other, *words(docker, project, target), env=env)
    assert ran.code == 0, ran.stderr
    assert (config / "config.json").read_bytes() == stored


def test_the_builders_image_may_take_the_login(docker: Docker, project: Path, target: str, tmp_path: Path) -> None:
    image = f"{docker.auth_registry}/{target.split('/')[1]}/buildkit:1"
    docker.docker("tag", docker.env["ENGINE_BUILDKIT_IMAGE"], image)
    own = tmp_path / "docker"
    own.mkdir()
    token = f"{docker.env['ENGINE_AUTH_USER']}:{docker.env['ENGINE_AUTH_PASSWORD']}"
    auths = {docker.auth_registry: {"auth": base64.b64encode(token.encode()).decode()}}
    (own / "config.json").write_text(json.dumps({"auths": auths}))
    docker.docker("push", "--quiet", image, DOCKER_CONFIG=str(own))
    docker.docker("image", "rm", image)
    words = (
        *("-t", f"{target}:1", "--push", "--cache", "none", "--driver", "docker-container", "--buildkit-image", image),
        *("--driver-opt", docker.env["ENGINE_DRIVER_OPT"], "--rm-builder"),
        *("--build-arg", f"BASE={docker.base}", str(project)),
    )
    refused = docker.tool("build", *words)
    assert refused.code == 4, refused.stderr
    assert refused.report["phases"]["build"] == 0
    docker.build(*words, env=login(docker))


def test_a_credential_helper_that_is_not_installed_is_no_fault_of_the_dockerfile(
    docker: Docker, project: Path, target: str, tmp_path: Path
) -> None:
    """``credsStore`` names a program of another machine, such as Docker Desktop's (docker/buildx#2395)."""
    own = docker.env.get("DOCKER_CONFIG")
    file = Path(own) / "config.json" if own else None
    config = json.loads(file.read_text()) if file and file.exists() else {}
    settings = tmp_path / "settings"
    settings.mkdir()
    (settings / "config.json").write_text(json.dumps({**config, "credsStore": "not-installed"}))
    asked = ("-t", f"{target}:1", "--push", "--cache", "none", "--build-arg", f"BASE={docker.base}", str(project))
    ran = docker.tool("build", "--driver", "docker", *asked, env={"DOCKER_CONFIG": str(settings)})
    assert (ran.code, ran.report["error"]["code"]) == (4, "credential-helper-failed")
    assert "docker-credential-not-installed" in ran.stderr


PROXIES = {"httpProxy": "http://me:correct-horse@127.0.0.1:9", "noProxy": "127.0.0.1"}
STEP = "FROM {base}\nRUN env | grep -i _proxy > /proxies || true\nFROM scratch\nCOPY --from=0 /proxies /\n"


@pytest.mark.parametrize("has_login", [False, True], ids=["no-login", "login"])
def test_steps_get_the_proxies_of_the_docker_configuration_alone(
    docker: Docker, tmp_path: Path, *, has_login: bool
) -> None:
    """As with Buildx itself: those of the environment are for this host's own connections."""
    context, config, out = (tmp_path / name for name in ("context", "config", "out"))
    context.mkdir()
    (context / "Dockerfile").write_text(STEP.format(base=docker.base))
    docker.copy_configuration(config)
    file = config / "config.json"
    given = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps({**given, "proxies": {"default": PROXIES}}))
    others = dict.fromkeys(("HTTPS_PROXY", "https_proxy"), "http://127.0.0.1:10")
    ran = docker.tool(
        *("build", "--driver", "docker", "--cache", "none", "--no-cache", "-o", f"type=local,dest={out}", str(context)),
        env={**others, **(login(docker) if has_login else {}), "DOCKER_CONFIG": str(config)},
    )
    assert ran.code == 0, ran.stderr
    assert dict(line.split("=", 1) for line in (out / "proxies").read_text().splitlines()) == {
        **dict.fromkeys(("HTTP_PROXY", "http_proxy"), PROXIES["httpProxy"]),
        **dict.fromkeys(("NO_PROXY", "no_proxy"), PROXIES["noProxy"]),
    }
    assert "correct-horse" not in ran.stderr + json.dumps(ran.report)
