"""A local folder is served to BuildKit, which reads of it only what it needs: by every driver, and without a trace."""

from __future__ import annotations

import json
import re
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest

from buildx_cache import layout
from buildx_cache.buildkit.stream import StreamParser
from buildx_cache.buildkit.trace_builder import TraceBuilder
from tests.integration.conftest import Docker, Ran
from tests.integration.test_plan import record

LARGE = 2_000_000
_DOCKERFILE = "FROM scratch\nCOPY large /large\nCOPY small /small\n"
# What a served folder looks like to BuildKit: its address, and the secret name of a tag.
SERVED = re.compile(
    r"type=registry,ref=[0-9.]+:[0-9]+/buildx-cache:(?P<secret>[0-9a-f]{32})(,registry\.insecure=true)?"
)
SENT = re.compile(
    r"type=registry,ref=[0-9.]+:[0-9]+/buildx-cache/(?P<secret>[0-9a-f]{32}):cache(,registry\.insecure=true)?"
    r",mode=max,ignore-error=true"
)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A project that needs no base image, and so no registry that a builder on a network of its own cannot reach."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "Dockerfile").write_text(_DOCKERFILE)
    (folder / "large").write_bytes(bytes(range(256)) * (LARGE // 256))
    (folder / "small").write_text("one\n")
    return folder


def build(docker: Docker, source: Path, *words: str, **env: str) -> Ran:
    cache = source.parent / "cache"
    return docker.build("--cache", "local", "--cache-dir", str(cache), *words, str(source), env=env)


@pytest.mark.parametrize(
    ("driver", "why"),
    [
        ("engine", "the builder shares this host's network"),
        # The tests below have such a builder.
        pytest.param("host", "the builder shares this host's network", marks=pytest.mark.soak),
        ("bridge", "the builder reaches this host by Docker's network 'bridge'"),
    ],
)
def test_any_driver_on_this_host_reads_only_what_it_needs(docker: Docker, source: Path, driver: str, why: str) -> None:
    words = {
        "engine": ("--driver", "docker"),
        "host": docker.new_builder,
        "bridge": ("--driver", "docker-container", *docker.builder_image, "--rm-builder"),
    }[driver]
    if driver == "engine":
        (source / "small").write_text(f"{source}\n")  # the engine keeps what it built
    first = build(docker, source, *words)
    again = build(docker, source, *words)

    none_yet = {"used": False, "why": "there is no cache to read yet", "bytes": 0, "exported": True}
    assert first.report["cache"]["lazy"] == none_yet
    lazy = again.report["cache"]["lazy"]
    assert (lazy["used"], lazy["why"], lazy["exported"]) == (True, why, True)
    assert 0 < lazy["bytes"] < 10_000
    assert again.steps == (2, 2, 0)
    assert again.report["cache"]["imports"][0]["status"] == "hit"
    assert again.report["cache"]["exports"][0]["status"] == "unchanged"
    assert again.report["retries"] == []


@pytest.mark.soak  # tests/integration/test_loading.py builds without, too
def test_without_lazy_the_folder_itself_is_imported(docker: Docker, source: Path) -> None:
    build(docker, source, *docker.new_builder)
    again = build(docker, source, *docker.new_builder, "--lazy", "off")
    assert again.report["cache"]["lazy"] == {"used": False, "why": "--lazy off", "bytes": 0, "exported": False}
    assert again.steps == (2, 2, 0)


def test_a_builder_that_does_not_reach_this_host_is_asked_only_where_that_is_asked_for(
    docker: Docker, source: Path
) -> None:
    name = "lazy-elsewhere"
    image = f"image={docker.env['ENGINE_BUILDKIT_IMAGE']}"
    docker.docker(
        "buildx", "create", "--name", name, "--driver", "docker-container", "--driver-opt", image, "--bootstrap"
    )
    try:
        node = f"docker-container://buildx_buildkit_{name}0"
        words = ("--driver", "remote", "--endpoint", node, "--rm-builder")
        build(docker, source, *words)
        docker.docker("buildx", "prune", "--builder", name, "--all", "--force")
        known = build(docker, source, *words)
        docker.docker("buildx", "prune", "--builder", name, "--all", "--force")
        tried = build(docker, source, *words, "--lazy", "on")
    finally:
        docker.docker("buildx", "rm", "--force", name)

    elsewhere = {"used": False, "why": "a remote builder may be anywhere", "bytes": 0, "exported": False}
    assert known.report["cache"]["lazy"] == elsewhere
    assert known.report["retries"] == []
    assert tried.report["cache"]["lazy"]["used"] is False
    assert "connection refused" in tried.report["cache"]["lazy"]["why"]
    assert len(tried.report["retries"]) == 1
    assert known.steps == tried.steps == (2, 2, 0)


def test_nothing_of_the_server_is_left_in_what_is_built_exported_or_told(
    docker: Docker, source: Path, tmp_path: Path
) -> None:
    repository = docker.repository()
    cache_ref = f"{repository}:cache"
    words = (*docker.new_builder, "--cache-to", f"type=registry,ref={cache_ref}")
    build(docker, source, *words, "-t", f"{repository}:one", "--push")
    key = layout.cache_key(source.parent / "cache")
    env, log = record(docker, tmp_path / "recorder")
    ran = build(docker, source, *words, "-t", f"{repository}/other:two", "--push", "-v", **env)

    asked = SERVED.search(log.read_text())
    assert asked
    assert ran.report["cache"]["lazy"]["used"]
    assert layout.cache_key(source.parent / "cache") == key
    exported = [path.read_bytes() for path in (source.parent / "cache").rglob("*") if path.is_file()]
    pushed = [
        docker.docker("buildx", "imagetools", "inspect", "--raw", name).encode()
        for name in (f"{repository}/other:two", cache_ref)
    ]
    told = [ran.stdout.encode(), ran.stderr.encode(), json.dumps(ran.report).encode()]
    for text in (*exported, *pushed, *told):
        assert asked["secret"].encode() not in text
    for text in (*exported, pushed[0]):
        assert b"distribution.source" not in text


def test_a_build_runs_what_the_plan_prints_but_for_where_the_folder_is_served(
    docker: Docker, source: Path, tmp_path: Path
) -> None:
    words = ("--cache", "local", "--cache-dir", str(source.parent / "cache"), *docker.new_builder, str(source))
    docker.build(*words)
    env, log = record(docker, tmp_path / "recorder")
    planned = json.loads(docker.tool("plan", "--format", "json", *words, env=env).stdout)
    log.write_text("")
    ran = docker.build(*words, env=env)

    lines = [line.split("\0")[:-1] for line in log.read_text().splitlines()]
    build_line = next(line for line in lines if line[:2] == ["buildx", "build"])
    imports = [word for before, word in pairwise(build_line) if before == "--cache-from"]
    exports = [word for before, word in pairwise(build_line) if before == "--cache-to"]
    plan_line = next(each["argv"] for each in planned["commands"] if each["phase"] == "build")
    assert [bool(SERVED.fullmatch(word)) for word in imports] == [True]
    sent = SENT.fullmatch(exports[0])
    assert sent
    cache = source.parent / "cache"
    in_plan = {
        imports[0]: f"type=local,src={cache}",
        exports[0]: f"type=local,dest={cache},mode=max,ignore-error=true",
    }
    assert [in_plan.get(word, word) for word in build_line if word not in _listening(build_line)] == plan_line[1:]
    told = [ran.stdout, ran.stderr, json.dumps(ran.report)]
    assert not any(sent["secret"] in text for text in told)
    assert not any(sent["secret"].encode() in path.read_bytes() for path in cache.rglob("*") if path.is_file())
    assert plan_line in ran.report["commands"]
    why = "the builder shares this host's network"
    assert planned["cache"]["lazy"] == {"network": "host", "tunnels": [], "why": why}


def _listening(line: list[str]) -> list[str]:
    flags = ("--progress", "--metadata-file")
    return [word for flag in flags for word in line[line.index(flag) : line.index(flag) + 2]]


def test_a_builder_that_is_kept_goes_on_when_the_folder_is_gone(docker: Docker, source: Path) -> None:
    words = (*docker.container_builder,)
    build(docker, source, *words)
    ran = build(docker, source, *words)
    builder = ran.report["builder"]["name"]
    try:
        docker.docker("buildx", "prune", "--builder", builder, "--all", "--force")
        lazy = build(docker, source, *words)
        (source / "small").write_text("two\n")
        gone = docker.build("--cache", "none", "-t", "lazy:kept", "--load", *words, str(source))
    finally:
        docker.docker("buildx", "rm", "--force", builder)
    assert lazy.report["cache"]["lazy"]["used"]
    assert lazy.report["cache"]["lazy"]["bytes"] < 10_000
    assert gone.code == 0
    docker.docker("image", "rm", "--force", "lazy:kept")


@pytest.mark.soak  # BuildKit alone
def test_the_push_of_the_image_waits_for_no_export_of_the_cache(docker: Docker, source: Path, tmp_path: Path) -> None:
    """BuildKit exports the image first (``solver/llbsolver``); its own progress says when."""
    ran = subprocess.run(
        (
            *("docker", "buildx", "build", "--progress=rawjson", "--push", "-t", f"{docker.repository()}:1"),
            *("--cache-to", f"type=local,dest={tmp_path / 'cache'},mode=max", str(source)),
        ),
        env=docker.child_env(),
        capture_output=True,
        check=True,
    )
    parser, builder = StreamParser(), TraceBuilder()
    for event in (*parser.feed(ran.stderr), *parser.close()):
        builder.add(event)
    transfers = builder.trace().transfers
    pushed = [each.completed for each in transfers if each.kind == "image-export" and each.completed]
    cached = [each.started for each in transfers if each.kind == "cache-export" and each.started]
    assert max(pushed) <= min(cached)
