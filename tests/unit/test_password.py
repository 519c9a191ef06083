"""The password of a login: what is read, what is refused, and every line of it hidden."""

from __future__ import annotations

import io
import json
import sys
from dataclasses import replace

import pytest

from buildx_cache.cli.reading import read_password
from buildx_cache.cli.secrets import hidden_values
from buildx_cache.errors import UsageError
from buildx_cache.redaction import Redactor, Secret
from buildx_cache.request.ambient import ambient_login
from buildx_cache.request.build_request import BuildRequest

ON_STDIN = BuildRequest(username="_json_key", password_stdin=True)
IN_A_VARIABLE = BuildRequest(username="me", password_env="P")  # noqa: S106 -- a name
KEY = json.dumps({"type": "service_account", "private_key_id": "0123456789abcdef", "client": "a@b.example"}, indent=1)


class _Stdin:
    def __init__(self, content: bytes) -> None:
        self.buffer = io.BytesIO(content)


def on_stdin(patch: pytest.MonkeyPatch, content: bytes) -> Secret | None:
    patch.setattr(sys, "stdin", _Stdin(content))
    return read_password(ON_STDIN, {})


@pytest.mark.parametrize(
    ("content", "password"),
    [
        (b"hunter2", "hunter2"),
        (b"hunter2\n", "hunter2"),
        (b"hunter2\r\n", "hunter2"),
        (b"hunter2\n\n", "hunter2\n"),
        (b" hunter2 \n", " hunter2 "),
        (b'{\n "a": 1\n}\n', '{\n "a": 1\n}'),
        (b'{\r\n "a": 1\r\n}\r\n', '{\r\n "a": 1\r\n}'),
        (f"{KEY}\n".encode(), KEY),
        ("pässwörd\n".encode(), "pässwörd"),
        (b"x" * (64 * 1024), "x" * (64 * 1024)),
    ],
)
def test_all_of_stdin_is_the_password_but_one_newline(
    monkeypatch: pytest.MonkeyPatch, content: bytes, password: str
) -> None:
    assert on_stdin(monkeypatch, content) == password
    variable = content.decode()
    assert read_password(IN_A_VARIABLE, {"P": variable}) == password
    pair = {"DOCKER_LOGIN": "robot", "DOCKER_PASSWORD": variable}
    assert read_password(BuildRequest(ambient=ambient_login(pair)), pair) == password


@pytest.mark.parametrize("content", [b"", b"\n", b"\r\n", b"a\0b", b"\0", b"p\xe4ss", b"x" * (64 * 1024 + 1)])
def test_what_is_no_password_is_refused_and_not_shown(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    with pytest.raises(UsageError) as refused:
        on_stdin(monkeypatch, content)
    assert refused.value.exit_code == 2
    assert "x" * 20 not in refused.value.message + refused.value.hint


def test_a_stdin_that_is_closed_holds_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(UsageError):
        read_password(ON_STDIN, {})


def test_an_empty_variable_is_named_and_an_absent_one_is_not() -> None:
    """The name of what is absent may be the password itself, given in place of a variable's name."""
    with pytest.raises(UsageError, match=r"\bP\b"):
        read_password(IN_A_VARIABLE, {"P": ""})
    with pytest.raises(UsageError) as refused:
        read_password(replace(IN_A_VARIABLE, password_env="hunter2"), {})  # noqa: S106 -- a mistake
    assert (refused.value.code, "hunter2" in refused.value.message) == ("password-empty", False)


def test_an_environment_without_a_whole_pair_has_no_password() -> None:
    for env in ({}, {"DOCKER_LOGIN": "x"}, {"DOCKER_PASSWORD": "x"}, {"DOCKER_LOGIN": "x", "DOCKER_PASSWORD": ""}):
        assert read_password(BuildRequest(ambient=ambient_login(env)), env) is None


def test_every_line_of_a_password_is_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    password = on_stdin(monkeypatch, f"{KEY}\n".encode())
    hiding = Redactor(hidden_values(ON_STDIN, {}, password))
    lines = [line.strip() for line in KEY.splitlines() if len(line.strip()) >= 8]
    assert len(lines) == 3
    for line in lines:
        assert line not in hiding.text(f"before {line} after")
        assert line not in hiding.text(KEY)
