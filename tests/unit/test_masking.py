"""What a CI is told to mask: each value on a line that it takes back as it was, and nothing where nobody takes it."""

from __future__ import annotations

import io
import os
import socket
from pathlib import Path

import pytest

from buildx_cache.ci import PROVIDERS
from buildx_cache.ci.step_outputs import mask
from buildx_cache.cli.secrets import have_masked
from buildx_cache.redaction import Secret, secret_forms
from buildx_cache.request.build_request import BuildRequest
from tests.unit.test_ci_outputs import read_azure_line, read_github_line

MASKING = [row.name for row in PROVIDERS if row.masking]
ODD = "100%:,;]%25 ::set-output##vso[task.x]é'\""
KEY = "-----BEGIN KEY-----\r\n  AbCdEfGhIjKl\nshort\n\nNPM_TOKEN='assigned-token'\x0clast line of it\n"


def test_a_value_is_one_line_that_the_ci_reads_back() -> None:
    assert [read_github_line(line) for line in mask("github", [ODD])] == [("add-mask", {}, ODD)]
    assert [read_azure_line(line) for line in mask("azure", [ODD])] == [("task.setsecret", {}, ODD)]


@pytest.mark.parametrize("provider", MASKING)
def test_each_line_of_a_value_is_a_value(provider: str) -> None:
    lines = mask(provider, [KEY, KEY])
    read = {"github": read_github_line, "azure": read_azure_line}[provider]
    assert [read(line)[2] for line in lines] == [
        *("-----BEGIN KEY-----", "AbCdEfGhIjKl", "NPM_TOKEN='assigned-token'", "last line of it", "assigned-token")
    ]
    assert "".join(lines).isprintable()


def test_what_is_hidden_and_what_is_masked_are_the_same_values() -> None:
    for value in ("abc", "abcd", "abcdef", "a\nb", KEY, ODD, ""):
        assert bool(mask("github", [value])) == bool(secret_forms([value])), value


def test_nothing_that_a_ci_would_not_mask() -> None:
    assert mask("github", ["abc", "    ", "", "\n\n"]) == ()
    assert mask("github", ["abcde"]) == ("::add-mask::abcde",)
    assert mask("azure", ["abcde"]) == ()
    assert mask("azure", ["abcdef"]) == ("##vso[task.setsecret]abcdef",)


def test_a_ci_that_masks_nothing_is_told_nothing() -> None:
    others = {provider.name for provider in PROVIDERS} - {*MASKING}
    assert len(others) == len(PROVIDERS) - 2
    assert [name for name in (*others, "none", "unheard of") if mask(name, ["a secret value"])] == []


# What cases of ordinary words come to is in the table of ``test_secret_names``.
ORDINARY = ("ENABLE_AUTH=true", "SESSION_DRIVER=redis", "AUTH_PORT=8080", "TOKEN_TTL=3600", "AUTH=disabled", "PASS=no")
REQUEST = BuildRequest(build_arg=("NPM_TOKEN=of the argument", "PLAIN=shown", "DB_PASSWORD", "API_TOKEN=", *ORDINARY))
LINES = "::add-mask::of the login\n::add-mask::of the argument\n"


def told(file: int) -> None:
    with os.fdopen(os.dup(file), "w") as log:
        have_masked(REQUEST, (Secret("of the login"),), log, provider="github")


def test_a_pipe_is_told_and_so_is_a_socket() -> None:
    reader, writer = os.pipe()
    told(writer)
    assert os.read(reader, 1000).decode() == LINES
    here, there = socket.socketpair()
    with here, there:
        told(here.fileno())
        assert there.recv(1000).decode() == LINES


def test_a_file_a_terminal_and_what_leads_nowhere_are_not(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as log:
        told(log.fileno())
    assert (tmp_path / "log").read_text() == ""
    main, terminal = os.openpty()
    told(terminal)
    os.set_blocking(main, False)
    with pytest.raises(BlockingIOError):
        os.read(main, 1000)
    nowhere = io.StringIO()
    have_masked(REQUEST, (Secret("of the login"),), nowhere, provider="github")
    assert nowhere.getvalue() == ""
