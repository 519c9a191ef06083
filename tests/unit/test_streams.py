"""A stream whose reader goes away ends the call in order, once; to a CI nothing that is printed is a command."""

from __future__ import annotations

import os
import sys

import pytest
from rich.console import Console

from buildx_cache.ci.providers import COMMAND_MARKS
from buildx_cache.cli.streams import command_safe, fail_fast, raw_stream
from buildx_cache.errors import ExhaustedError, InterruptedBuildError


def test_a_reader_that_goes_away_is_told_once() -> None:
    reader, writer = os.pipe()
    with os.fdopen(writer, "w", buffering=1) as stream:
        out = fail_fast(stream)
        assert out.write("heard\n") == 6
        out.flush()
        assert os.read(reader, 100) == b"heard\n"
        assert (out.isatty(), out.fileno()) == (False, writer)
        os.close(reader)
        with pytest.raises(InterruptedBuildError) as raised:
            out.write("unheard\n")
        assert raised.value.exit_code == 141
        out.write("said to nobody\n")
        Console(file=out).print("so is this")


def test_a_full_disk_is_told_once() -> None:
    with open("/dev/full", "w", buffering=1) as stream:  # noqa: PTH123 -- a device
        out = fail_fast(stream)
        with pytest.raises(ExhaustedError) as raised:
            out.write("lost\n")
        assert raised.value.exit_code == 6
        out.write("said to nobody\n")


def test_rich_leaves_it_to_the_call() -> None:
    reader, writer = os.pipe()
    with os.fdopen(writer, "w", buffering=1) as stream:
        console = Console(file=fail_fast(stream))
        os.close(reader)
        with pytest.raises(InterruptedBuildError):
            console.print("unheard")
        console.print("said to nobody")


@pytest.mark.parametrize("variable", COMMAND_MARKS)
def test_a_ci_finds_no_command_in_what_is_printed_to_it(variable: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = "a ##vso[x]\n::set-output::\n--- heading\n"
    with command_safe({variable: "true"}):
        sys.stdout.write(text)
        sys.stderr.writelines([text])
        Console(file=sys.stdout, width=12).print("wrapped in ::begins")
        assert (sys.stdout.isatty(), sys.stdout.encoding) == (False, "UTF-8")
        raw_stream(sys.stdout).write("::own::\n")
    sys.stdout.write("::later::\n")
    said = capsys.readouterr()
    safe = "a ## vso[x]\n: :set-output::\n- -- heading\n"
    assert said.out == f"{safe}wrapped in \n: :begins\n::own::\n::later::\n"
    assert said.err == safe


def test_without_such_a_ci_all_is_printed_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    with command_safe({"GITLAB_CI": "true", "TF_BUILD": ""}):
        sys.stdout.write("::a::\n")
        assert raw_stream(sys.stdout) is sys.stdout
    assert capsys.readouterr().out == "::a::\n"


def test_the_cis_that_read_commands_are_known() -> None:
    """GitLab and CircleCI read none."""
    assert sorted(COMMAND_MARKS) == ["BUILDKITE", "GITHUB_ACTIONS", "TEAMCITY_VERSION", "TF_BUILD"]
