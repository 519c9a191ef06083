"""The user's stored logins, found where Docker finds them."""

from __future__ import annotations

import base64
import contextlib
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from buildx_cache.engine import credentials
from buildx_cache.engine.credentials import credential_for, private_configuration
from buildx_cache.engine.process import Completed
from buildx_cache.errors import DeniedError
from buildx_cache.redaction import Secret
from buildx_cache.registry import Credential, IdentityToken, Password

HUB = "https://index.docker.io/v1/"
HOST = "registry.example.com"

Asked = list[tuple[Sequence[str], bytes]]
Config = Callable[[object], dict[str, str]]


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """Write config.json, and give the environment that leads to it."""

    def write(content: object) -> dict[str, str]:
        text = content if isinstance(content, str) else json.dumps(content)
        (tmp_path / "config.json").write_text(text)
        return {"DOCKER_CONFIG": str(tmp_path)}

    return write


def answering(monkeypatch: pytest.MonkeyPatch, stdout: str = "", code: int = 0, stderr: str = "") -> Asked:
    """Replace the start of a helper."""
    asked: Asked = []

    def capture(
        argv: Sequence[str], *, env: Mapping[str, str], within: tuple[float, int], stdin: bytes = b""
    ) -> Completed:
        assert env
        assert all(within)
        asked.append((tuple(argv), stdin))
        return Completed(code=code, stdout=stdout, stderr=stderr)

    monkeypatch.setattr(credentials, "capture_within", capture)
    return asked


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def password(username: str, secret: str) -> Credential:
    return Password(username=username, secret=Secret(secret))


@pytest.mark.parametrize(
    ("auths", "registry", "found"),
    [
        ({HOST: {"auth": encoded("me:hush")}}, HOST, password("me", "hush")),
        ({HOST: {"auth": encoded("me:h:u:sh\0\0")}}, HOST, password("me", "h:u:sh")),
        ({HOST: {"username": "me", "password": "hush"}}, HOST, password("me", "hush")),
        ({HOST: {"auth": encoded("new:er"), "username": "o", "password": "ld"}}, HOST, password("new", "er")),
        ({HOST: {"auth": encoded("me:"), "identitytoken": "idt"}}, HOST, IdentityToken(secret=Secret("idt"))),
        ({f"https://{HOST}/v1/": {"auth": encoded("me:hush")}}, HOST, password("me", "hush")),
        ({f"http://{HOST}": {"auth": encoded("me:hush")}}, HOST, password("me", "hush")),
        ({HUB: {"auth": encoded("me:hush")}}, "docker.io", password("me", "hush")),
        ({HUB: {"auth": encoded("me:hush")}}, "", password("me", "hush")),
        ({HUB: {"auth": encoded("me:hush")}}, "index.docker.io", password("me", "hush")),
        ({f"{HOST}:5000": {"auth": encoded("me:hush")}}, f"{HOST}:5000", password("me", "hush")),
        ({f"{HOST}:5000": {"auth": encoded("me:hush")}}, HOST, None),
        ({HOST: {}}, HOST, None),
        ({HOST: None}, HOST, None),
        ({HOST: {"username": 7, "password": 8}}, HOST, None),
        ({"other": {"auth": "###"}}, HOST, None),
        ({}, HOST, None),
        ([], HOST, None),
    ],
)
def test_a_stored_login_is_found(config: Config, auths: object, registry: str, found: Credential | None) -> None:
    assert credential_for(config({"auths": auths}), registry) == found


@pytest.mark.parametrize("content", ["", "[]", "{", "7", "[" * 100_000])
def test_a_configuration_that_cannot_be_read_counts_as_empty(config: Config, content: str) -> None:
    assert credential_for(config(content), HOST) is None


def test_no_configuration_is_no_login(tmp_path: Path) -> None:
    assert credential_for({"HOME": str(tmp_path)}, HOST) is None


def test_the_configuration_is_looked_for_in_the_users_home(tmp_path: Path) -> None:
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker" / "config.json").write_text(json.dumps({"auths": {HOST: {"auth": encoded("me:hush")}}}))
    assert credential_for({"HOME": str(tmp_path)}, HOST) == password("me", "hush")


@pytest.mark.parametrize("auth", ["###", encoded("nobody"), "é", base64.b64encode(b"\xff:x").decode()])
def test_a_malformed_login_is_told_without_showing_it(config: Config, auth: str) -> None:
    with pytest.raises(DeniedError, match="the stored login to") as caught:
        credential_for(config({"auths": {HOST: {"auth": auth}}}), HOST)
    assert auth not in str(caught.value) + caught.value.hint
    assert caught.value.hint == f"log in again: docker login {HOST}"


def test_logins_in_the_environment_come_first(config: Config) -> None:
    env = config({"auths": {HOST: {"auth": encoded("file:hush")}, "other": {"auth": encoded("file:hush")}}})
    env["DOCKER_AUTH_CONFIG"] = json.dumps({"auths": {HOST: {"auth": encoded("env:hush")}}})
    assert credential_for(env, HOST) == password("env", "hush")
    assert credential_for(env, "other") == password("file", "hush")


@pytest.mark.parametrize(
    ("stored", "registry", "argv", "server"),
    [
        ({"credsStore": "desktop"}, HOST, "docker-credential-desktop", HOST),
        ({"credsStore": "desktop"}, "docker.io", "docker-credential-desktop", HUB),
        ({"credHelpers": {HOST: "ecr-login"}}, HOST, "docker-credential-ecr-login", HOST),
        ({"credHelpers": {HOST: "ecr-login"}, "credsStore": "pass"}, HOST, "docker-credential-ecr-login", HOST),
        ({"credHelpers": {"other": "ecr-login"}, "credsStore": "pass"}, HOST, "docker-credential-pass", HOST),
        ({"credHelpers": {HUB: "x"}}, "docker.io", "docker-credential-x", HUB),
    ],
)
def test_a_helper_is_asked_with_the_server_on_its_stdin(
    config: Config, monkeypatch: pytest.MonkeyPatch, stored: dict[str, object], registry: str, argv: str, server: str
) -> None:
    asked = answering(monkeypatch, json.dumps({"ServerURL": server, "Username": "me", "Secret": "hush"}))
    env = config({**stored, "auths": {registry: {"auth": encoded("file:hush")}}})
    assert credential_for(env, registry) == password("me", "hush")
    assert asked == [((argv, "get"), server.encode())]


def test_a_registry_without_a_helper_of_its_own_is_read_from_the_file(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = answering(monkeypatch)
    env = config({"credsStore": "x", "credHelpers": {HOST: ""}, "auths": {HOST: {"auth": encoded("me:hush")}}})
    assert credential_for(env, HOST) == password("me", "hush")
    assert asked == []


def test_a_helpers_token_is_an_identity_token(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, json.dumps({"Username": "<token>", "Secret": "idt"}))
    assert credential_for(config({"credsStore": "x"}), HOST) == IdentityToken(secret=Secret("idt"))


def test_a_helper_that_knows_no_login_means_none(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, "credentials not found in native keychain\n", code=1)
    assert credential_for(config({"credsStore": "x"}), HOST) is None


def test_an_empty_answer_means_none(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, json.dumps({"Username": "", "Secret": ""}))
    assert credential_for(config({"credsStore": "x"}), HOST) is None


@pytest.mark.parametrize(
    ("stdout", "stderr", "code", "words"),
    [
        ("", "", 1, "exit code 1"),
        ("error getting credentials: locked\nmore", "", 1, "exit code 1: error getting credentials: locked"),
        ("out", "gpg: no agent", 2, "exit code 2: gpg: no agent"),
        ('{"Username":"me","Secret":"hush"}', "", 1, "exit code 1"),
        ("", "", -9, "exit code -9"),
        ("", "", 0, "not understood"),
        ("hush", "", 0, "not understood"),
        ('["hush"]', "", 0, "not understood"),
        ('{"Username":"me","Secret":7}', "", 0, "not understood"),
    ],
)
def test_a_helper_that_fails_is_told_without_what_it_may_have_given(
    config: Config, monkeypatch: pytest.MonkeyPatch, stdout: str, stderr: str, code: int, words: str
) -> None:
    answering(monkeypatch, stdout, code, stderr)
    with pytest.raises(DeniedError) as caught:
        credential_for(config({"credsStore": "x"}), HOST)
    assert caught.value.message.endswith(words) or words in caught.value.message
    assert "docker-credential-x" in caught.value.message
    assert "hush" not in caught.value.message + caught.value.hint
    assert caught.value.hint


@pytest.mark.parametrize("name", ["x/y", "../y", "x\0y", "x\ny"])
def test_a_helper_is_found_on_the_path_alone(config: Config, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    asked = answering(monkeypatch, "{}")
    with pytest.raises(DeniedError):
        credential_for(config({"credsStore": name}), HOST)
    assert asked == []


def test_a_helper_that_is_not_there_is_told(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*_: object, **__: object) -> Completed:
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(credentials, "capture_within", absent)
    with pytest.raises(DeniedError, match="docker-credential-x cannot be started: No such file") as caught:
        credential_for(config({"credsStore": "x"}), HOST)
    assert "config.json" in caught.value.hint


def test_no_login_shows_its_secret() -> None:
    assert "hush" not in repr(password("me", "hush"))
    assert "hush" not in repr(IdentityToken(secret=Secret("hush")))


@pytest.mark.parametrize(
    ("registry", "left"),
    [
        (HOST, {"other.example.com", HUB}),
        (HUB, {HOST, f"https://{HOST}/v1/", "other.example.com"}),
        ("other.example.com", {HOST, f"https://{HOST}/v1/", HUB}),
        ("else.example.com", {HOST, f"https://{HOST}/v1/", "other.example.com", HUB}),
    ],
)
def test_logins_in_the_environment_do_not_win_over_that_of_the_call(
    config: Config, registry: str, left: set[str]
) -> None:
    auths = {key: {"auth": encoded("env:hush")} for key in (HOST, f"https://{HOST}/v1/", "other.example.com", HUB)}
    given = {**config({}), "DOCKER_AUTH_CONFIG": json.dumps({"auths": auths})}
    with private_configuration(given, registry) as env:
        assert set(json.loads(env["DOCKER_AUTH_CONFIG"])["auths"]) == left
        found = json.loads((Path(env["DOCKER_CONFIG"]) / "config.json").read_text())
    assert found["credHelpers"] == {registry: ""}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"auths": 7}', "7", "\udcff", "[" * 100_000])
def test_logins_in_the_environment_that_cannot_be_read_stay(config: Config, text: str) -> None:
    given = {**config({}), "DOCKER_AUTH_CONFIG": text}
    with private_configuration(given, HOST) as env:
        assert env["DOCKER_AUTH_CONFIG"] == text
    assert credential_for(given, HOST) is None


@pytest.mark.parametrize("ends", ["well", "with an error"])
def test_the_private_copy_is_the_owners_alone_and_gone_afterwards(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: str
) -> None:
    memory = tmp_path / "memory"
    memory.mkdir()
    monkeypatch.setattr(credentials, "_MEMORY", memory)
    env = config({"auths": {HOST: {}}}) | {"XDG_RUNTIME_DIR": ""}
    before = (tmp_path / "config.json").read_bytes()
    with contextlib.suppress(ZeroDivisionError), private_configuration(env, HOST) as private:
        folder = Path(private["DOCKER_CONFIG"])
        assert folder.parent == memory
        assert (folder.stat().st_mode & 0o777, (folder / "config.json").stat().st_mode & 0o777) == (0o700, 0o600)
        if ends != "well":
            raise ZeroDivisionError
    assert [*memory.iterdir()] == []
    assert (tmp_path / "config.json").read_bytes() == before


def test_a_folder_of_the_user_may_have_a_lock_as_the_private_copy_has(config: Config, tmp_path: Path) -> None:
    env = config({})
    for name in (".lock", "other"):
        (tmp_path / name).write_text("the user's")
    with private_configuration(env, HOST) as private:
        folder = Path(private["DOCKER_CONFIG"])
        assert (folder / "other").read_text() == "the user's"
        assert (folder / ".lock").read_text() == ""
    assert (tmp_path / ".lock").read_text() == "the user's"


@pytest.mark.parametrize(
    ("made", "place"),
    [
        ({"own": 0o700, "memory": 0o755}, "own"),
        ({"own": 0o755, "memory": 0o755}, "memory"),
        ({"memory": 0o755}, "memory"),
        ({"own": 0o700}, "own"),
        ({"own": 0o750}, "."),
        ({}, "."),
    ],
)
def test_it_is_in_the_users_own_memory_else_in_the_shared_one(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: Mapping[str, int], place: str
) -> None:
    for name, mode in made.items():
        (tmp_path / name).mkdir(mode)
    monkeypatch.setattr(credentials, "_MEMORY", tmp_path / "memory")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with private_configuration(config({}) | {"XDG_RUNTIME_DIR": str(tmp_path / "own")}, HOST) as private:
        assert Path(private["DOCKER_CONFIG"]).parent == tmp_path / place
