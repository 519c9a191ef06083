"""The images that a Dockerfile names, and its stages."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from buildx_cache.errors import UsageError
from buildx_cache.request.build_request import BuildRequest
from buildx_cache.request.contexts import repository_notes
from buildx_cache.request.images import named_images
from buildx_cache.request.path_checks import check_paths
from tests.unit.test_plan import request_of


@pytest.mark.parametrize(
    ("text", "images"),
    [
        pytest.param("FROM a.test/base:1\n", ["a.test/base:1"], id="from"),
        pytest.param("from --platform=$BUILDPLATFORM a.test/base AS build\n", ["a.test/base"], id="options"),
        pytest.param("FROM a.test/x\nFROM b.test/y\n", ["a.test/x", "b.test/y"], id="stages"),
        pytest.param('ARG BASE="a.test/x"\nFROM ${BASE}\n', ["a.test/x"], id="default"),
        pytest.param("ARG HOST=a.test\nARG BASE=${HOST}/x\nFROM ${BASE}:1\n", ["a.test/x:1"], id="default-of-default"),
        pytest.param("ARG GIVEN=a.test/x\nFROM $GIVEN:2\n", ["given.test/x:2"], id="build-argument"),
        pytest.param("FROM ${HOST:-a.test}/x\n", ["a.test/x"], id="default-in-place"),
        pytest.param("FROM scratch\nARG BASE=a.test/x\nFROM ${BASE}y\n", ["scratch", "y"], id="argument-of-a-stage"),
        pytest.param("FROM scratch\nCOPY --chown=1 --from=a.test/x /a /b\n", ["scratch", "a.test/x"], id="copy"),
        pytest.param(
            "FROM scratch\nRUN --mount=type=bind,from=a.test/x,target=/x \\\n  --mount=from=b.test/y,target=/y true\n",
            ["scratch", "a.test/x", "b.test/y"],
            id="mounts",
        ),
        pytest.param("# syntax=a.test/dockerfile:1\nFROM scratch\n", ["a.test/dockerfile:1", "scratch"], id="syntax"),
        pytest.param("FROM \\\n  a.test/x\n", ["a.test/x"], id="continued"),
        pytest.param("FROM scratch\nRUN wget localhost:8080/x from=localhost/y\n", ["scratch"], id="other-words"),
        pytest.param("", [], id="empty"),
    ],
)
def test_images_are_found_where_a_dockerfile_names_them(tmp_path: Path, text: str, images: list[str]) -> None:
    (tmp_path / "Dockerfile").write_text(text)
    request = request_of({"context": str(tmp_path), "build_arg": ["GIVEN=given.test/x", "UNSET"]})
    assert list(filter(None, named_images(request))) == images


def test_a_named_context_may_be_an_image(tmp_path: Path) -> None:
    request = request_of({"context": str(tmp_path), "build_context": ["x=docker-image://a.test/x:1", "y=../y"]})
    assert named_images(request) == ("a.test/x:1",)


def test_the_dockerfile_that_is_given_is_read(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM a.test/x\n")
    (tmp_path / "other").write_text("FROM b.test/y\n")
    context = {"context": str(tmp_path)}
    assert named_images(request_of({**context, "file": str(tmp_path / "other")})) == ("b.test/y",)
    flags = ("-f", str(tmp_path / "other"))
    assert named_images(request_of({**context, "buildx_flags": flags})) == ("b.test/y",)


@pytest.mark.parametrize("asked", [{"context": "-"}, {"file": "-"}, {"context": "https://git.test/x.git"}], ids=repr)
def test_of_what_is_not_here_nothing_is_known(asked: dict[str, object]) -> None:
    assert named_images(request_of(asked)) == ()


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("ARG A=" + "a" * 500_000 + "\nFROM " + "$A" * 250_000, id="expansion"),
        pytest.param("RUN " + "--mount=" * 125_000, id="options"),
        pytest.param("FROM " + "${a:-" * 200_000, id="variables"),
        pytest.param("ARG A=b\n" + "ARG A=$A$A\n" * 80_000 + "FROM $A", id="doubling"),
    ],
)
def test_a_hostile_dockerfile_names_no_image(tmp_path: Path, text: str) -> None:
    (tmp_path / "Dockerfile").write_text(text)
    assert [name for name in named_images(BuildRequest(context=str(tmp_path))) if "/" in name] == []


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "Dockerfile")
    assert named_images(BuildRequest(context=str(tmp_path))) == ()


STAGES = "FROM scratch AS base\nFROM base as Test\nRUN true\n"


@pytest.mark.parametrize(
    ("text", "asked", "hint"),
    [
        pytest.param(STAGES, {"target": "bsae"}, "did you mean 'base'?", id="near"),
        pytest.param(STAGES, {"target": "tset"}, "did you mean 'test'?", id="capitals"),
        pytest.param(STAGES, {"target": "x"}, "use one of: base, test", id="far"),
        pytest.param("FROM scratch\n", {"target": "x"}, "AS NAME", id="no-stage"),
        pytest.param(f"# syntax=docker/dockerfile:1\n{STAGES}", {"target": "x"}, "base, test", id="own-frontend"),
        pytest.param(STAGES, {"target": "base", "buildx_flags": ["--target=x"]}, "base, test", id="flag"),
        pytest.param(STAGES, {"target": "test"}, "", id="any-case"),
        pytest.param(STAGES, {}, "", id="none"),
        pytest.param(STAGES, {"target": "true"}, "", id="a-word"),
        pytest.param(STAGES, {"target": "0"}, "", id="a-number"),
        pytest.param("FROM scratch \\\n# x\n\n AS \\\n  x\n", {"target": "x"}, "", id="continued"),
        pytest.param("FROM scratch AS fi\\\n# x\nrst\n", {"target": "first"}, "", id="continued-word"),
        pytest.param("# escape=`\nFROM scratch AS fi`\nrst\n", {"target": "first"}, "", id="other-escape"),
        pytest.param(f"# syntax=a.test/other\n{STAGES}", {"target": "x"}, "", id="other-frontend"),
        pytest.param(STAGES, {"target": "x", "build_arg": ["BUILDKIT_SYNTAX=a.test/x"]}, "", id="argument"),
        pytest.param(STAGES, {"target": "x", "build_arg": ["BUILDKIT_SYNTAX"]}, "", id="argument-of-environment"),
        pytest.param('{"Target": 1}', {"target": "x"}, "", id="json"),
        pytest.param(STAGES, {"target": "x", "file": "-"}, "", id="stdin"),
        pytest.param(STAGES, {"target": "x", "context": "https://git.test/x.git"}, "", id="remote"),
        pytest.param("", {"target": "x"}, "", id="empty"),
    ],
)
def test_a_target_is_refused_only_where_it_can_be_no_stage(
    tmp_path: Path, text: str, asked: dict[str, object], hint: str
) -> None:
    (tmp_path / "Dockerfile").write_text(text)
    request = request_of({"context": str(tmp_path), **asked})
    if not hint:
        check_paths(request)
        return
    with pytest.raises(UsageError) as refused:
        check_paths(request)
    assert (refused.value.code, hint in refused.value.hint) == ("stage-absent", True), refused.value.hint


@pytest.mark.parametrize(
    ("text", "ignored", "is_noted"),
    [
        ("COPY . .\n", "", True),
        ("COPY --chown=1 ./ /src/\n", "", True),
        ('ADD [".", "/src"]\n', "", True),
        ("COPY a \\\n  . /src/\n", "node_modules\n", True),
        ("COPY . .\n", ".git\n", False),
        ("COPY . .\n", "*\n!src\n", False),
        ("COPY . .\n", ".git*\n", False),
        ("COPY --from=base . .\n", "", False),
        ("COPY --exclude=.git . .\n", "", False),
        ("COPY src /src\nWORKDIR .\n", "", False),
        ("RUN cp . .\n", "", False),
    ],
)
def test_history_that_is_copied_with_the_context_is_noted(
    tmp_path: Path, text: str, ignored: str, *, is_noted: bool
) -> None:
    (tmp_path / "Dockerfile").write_text(f"FROM scratch AS base\n{text}")
    (tmp_path / ".dockerignore").write_text(ignored)
    request = request_of({"context": str(tmp_path)})
    assert repository_notes(request, travels=True) == ()
    (tmp_path / ".git").mkdir()
    assert len(repository_notes(request, travels=False)) == is_noted


@pytest.mark.parametrize(
    ("text", "is_noted"),
    [
        ("RUN --mount=type=cache,target=/x make\n", True),
        ("RUN --mount=type=bind,target=/y --mount=target=/x,type=cache \\\n  make\n", True),
        ("run --network=none --mount=type=cache,target=/x make\n", True),
        ("RUN --mount=type=bind,target=/x make\n", False),
        ("RUN make --mount=type=cache\n", False),
        ("# RUN --mount=type=cache,target=/x make\n", False),
        ("RUN --mount=type=cachet,target=/x make\n", False),
    ],
)
def test_cache_mounts_are_noted_where_the_cache_travels(tmp_path: Path, text: str, *, is_noted: bool) -> None:
    (tmp_path / "Dockerfile").write_text(f"FROM scratch\n{text}")
    request = request_of({"context": str(tmp_path)})
    assert repository_notes(request, travels=False) == ()
    assert len(repository_notes(request, travels=True)) == is_noted
