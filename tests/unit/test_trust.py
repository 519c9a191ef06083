"""What a configuration file may set, by whose it is."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from buildx_cache.cli.reading import Asked, read_request
from buildx_cache.errors import UsageError
from buildx_cache.plan.builder_choice import own_builder_name
from buildx_cache.plan.facts import Registries
from buildx_cache.request.build_request import option_key
from buildx_cache.request.options import CONFIG_FIELDS
from buildx_cache.request.trust import PERMISSIONS
from tests.unit.test_plan import CLASSIC, LAPTOP

NOT_A_FORK = {"CIRCLECI": "true", "CIRCLE_BRANCH": "topic", "CIRCLE_SHA1": "f" * 40}
FORK = {**NOT_A_FORK, "CIRCLE_PR_NUMBER": "7"}
OUTSIDE = ("../x", "/etc/x", "~/x", ".git/x", "link/x", "sub/../../x")
BELOW = ("out/x", "sub/../x", "./x")


@dataclass(frozen=True, kw_only=True)
class Case:
    """Values of one option: ``left`` are set even in a fork, ``own`` only elsewhere, ``never`` by no found file."""

    left: tuple[object, ...] = ()
    own: tuple[object, ...] = ()
    never: tuple[object, ...] = ()
    beside: Mapping[str, Any] = field(default_factory=dict)
    """What the command line says beside it, so that the call makes sense."""


TAGGED = {"tag": ["app:1"]}
FILES = Case(left=BELOW, never=(*OUTSIDE, "-"))
KEPT_OUTPUTS = ("type=image", "type=cacheonly")
EXPORTS = (
    *("out", "type=local,dest=out", "type=tar,dest=out.tar", "type=oci,dest=o,tar=false"),
    *("type=oci,dest=o.tar,name=app:2", '"type=local","dest=a,b"', "TYPE=local,DEST=out"),
)
NAMED_OUTPUTS = ("type=image,name=app:2", "type=image,push=false,name=a", "type=docker,name=a")
PUSHED = (
    "type=registry,name=a",
    "type=image,push=true,name=a",
    "type=image,push=",
    "type=registry",
    "type=image,push=1",
    "TYPE=image,PUSH=t",
)
BAD_OUTPUTS = (
    *("-", "type=tar,dest=-", "type=local,dest=.", "type=local,dest=nested", ".", "../x", "type=local,dest=link"),
    *("type=oci,dest=/x", "type=docker,context=other", "type=image,registry.insecure=true", "type=other,dest=x"),
    *("type=tar,\x1fdest=a", "type=oci,dest\x1c=a", "type=local,dest=a\u2028", "type=oci,\xa0tar=false,dest=a"),
    *("type=tar", "type=oci", "TYPE=oci,dest=", "type=tar,name=a", "type=oci,tar=true"),
    *("type=local,DEST=/x", "type=local, dest =/x", "type=tar,type=local,dest=sub", "type=oci,tar=false,dest=linked"),
    *(
        'type=local,"dest=/x',
        "type=local,dest=in,dest=/x",
        "dest=/x",
        '"type=local","dest=../x"',
        "type=local,dest=~/x",
    ),
)
CACHES = ("type=registry,ref=r.example/a", "type=local,{}=sub/cache", "r.example/a:b")
BAD_CACHES = (
    *("gha", "type=gha", "type=s3,bucket=b,region=r", "type=azblob,name=n,account_url=u", "type=local,{}=../x"),
    *("type=registry,ref=a,registry.insecure=true", "type=local,{}=sub,{}=/x", "type=local,{}=linked"),
    *("type=registry,ref=a,brand_new=1", "type=registry,ref=a,Registry.Insecure=true"),
)
# Docker's frontend, which BuildKit looks for among named contexts first (``frontend/gateway/gateway.go``).
FRONTENDS = (
    *("docker/dockerfile:1", "docker/dockerfile", "docker.io/docker/dockerfile:1.7-labs"),
    *("index.docker.io/docker/dockerfile:1", "docker/dockerfile-upstream:master"),
    *(f"docker/dockerfile:1@sha256:{'1' * 64}", f"docker/dockerfile@sha512:{'1' * 128}"),
)
# What BuildKit and Buildx run themselves: the engine's own builder takes a frontend from the engine's store, and Buildx
# a builder's image where it cannot be pulled.
TOOLS = (
    *FRONTENDS[:5],
    *("moby/buildkit:buildx-stable-1", "docker.io/moby/buildkit", "docker/buildkit-syft-scanner:stable-1"),
    *("docker/dockerfile:{branch}", "docker/{branch}:1", "{branch}/buildkit", "docker/docker{branch}{tag}"),
)
# Tags are written in lower case, where they name a host.
CAPITALS = ("docker.io/Docker/Dockerfile:1", "docker.io/moby/BuildKit:buildx-stable-1", "index.docker.io/MOBY/{sha}")
KEYS: Mapping[str, Case] = {
    "tag": Case(
        own=(["app:1"], ["x/docker/dockerfile:1"], ["r.example/docker/dockerfile"], ["dockerfile"], ["{branch}/app:1"]),
        never=(*([tool] for tool in (*TOOLS, *CAPITALS)), ["app:1", "moby/buildkit:1"]),
    ),
    "push": Case(left=(False, "auto"), own=(True,), beside=TAGGED),
    "no_wait": Case(left=(True, False)),
    "no_push_check": Case(left=(True, False)),
    "push_auto": Case(left=(True, False), beside=TAGGED),
    "load": Case(left=(False,), own=(True,), beside=TAGGED),
    "output": Case(
        left=tuple([each] for each in KEPT_OUTPUTS),
        own=tuple([each] for each in ("type=docker", *EXPORTS, *PUSHED, *NAMED_OUTPUTS)),
        never=(
            *([each] for each in BAD_OUTPUTS),
            ["type=cacheonly"] * 101,
            *([f"type=image,name={tool}"] for tool in TOOLS),
            ['type=docker,"name=app:1,moby/buildkit:1"'],
        ),
        beside={"tag": ["r.example/app:1"]},
    ),
    "file": Case(
        left=("Dockerfile", "sub/Dockerfile", "https://x.example/Dockerfile"),
        never=(*OUTSIDE, "-", "file:///../../x"),
    ),
    "target": Case(left=("stage", "--push", "../x")),
    "platform": Case(left=(["linux/arm64"],)),
    "build_arg": Case(
        left=(["A=b"], ["A="], ["A=b=c", "B=../x"], "A=b"),
        never=(
            *(["AWS_SECRET_ACCESS_KEY"], ["A=b", "DOCKER_PASSWORD"], "A=b\nC"),
            *(["DOCKER_HOST=tcp://a:b@evil.example:1"], ["LD_PRELOAD=/w/x.so http://a:b@h"], ["NPM_TOKEN=x"]),
            ["BUILDKIT_SYNTAX=evil/x"],
        ),
    ),
    "build_context": Case(
        left=(
            *(["a=sub"], ["a=docker-image://alpine"], ["a=https://x.example/y.git"], ["a=oci-layout://sub:tag"]),
            *(["a=git@x.example:y/z.git"], ["a=."]),
        ),
        never=(
            *(["a=../x"], ["a=/etc"], ["a=~"], ["a=link"], ["a=oci-layout:///x"], ["a=oci-layout://../x@sha256:1"]),
            *(["a=.git"], ["a=sub", "b=/etc"], ["a=git@x.example:a/../../../y"], ["a=oci-layout://linked:tag"]),
            *(
                ["a=oci-layout://a:b/../../x:tag"],
                ["a=oci-layout://a@b/../../x"],
                [f"a=oci-layout://linked@sha256:{'1' * 64}"],
            ),
            *([f"{frontend}=docker-image://evil/x"] for frontend in FRONTENDS),
        ),
    ),
    "label": Case(left=(["a=b"],)),
    "annotation": Case(
        left=(["a=b"], ["manifest-descriptor:a=b"]),
        own=(["manifest-descriptor:io.containerd.image.name=app:1"], ["index:org.opencontainers.image.ref.name=1"]),
        never=(
            *([f"manifest:io.containerd.image.name={tool}"] for tool in FRONTENDS),
            ["index:org.opencontainers.image.ref.name=moby/buildkit:1"],
        ),
    ),
    "secret": Case(never=(["id=x,env=HOME"], ["id=x,src=sub/x"], [])),
    "ssh": Case(never=(["default"],)),
    "pull": Case(left=(True,)),
    "no_cache": Case(left=(True,)),
    "no_cache_filter": Case(left=(["stage"],)),
    "network": Case(left=("none", "default"), never=("host", "HOST", "other")),
    "add_host": Case(left=(["a:1.2.3.4"],)),
    "allow": Case(never=(["network.host"],)),
    "attest": Case(left=(["type=sbom"],)),
    "provenance": Case(left=("mode=max",)),
    "sbom": Case(left=("true",)),
    "shm_size": Case(left=("1g",)),
    "ulimit": Case(left=(["nofile=1"],)),
    "cgroup_parent": Case(never=("x",)),
    "metadata_file": FILES,
    "iidfile": FILES,
    "report": FILES,
    "report_html": FILES,
    "report_junit": FILES,
    "report_md": FILES,
    "dotenv": FILES,
    "cache": Case(left=("none",), own=("local", "registry", "auto")),
    "cache_dir": Case(own=("sub/cache", "new"), never=(*OUTSIDE, "-", "linked", "keyed")),
    "cache_ref": Case(own=("r.example/a",)),
    "cache_scope": Case(own=("main",)),
    "default_branch": Case(never=("main",)),
    "output_prefix": Case(never=("api",)),
    "one_line": Case(never=(True, False)),
    "cache_mode": Case(own=("min",)),
    "cache_compression": Case(own=("zstd",)),
    "cache_from": Case(
        own=tuple([each.format("src")] for each in CACHES),
        never=(*([each.format("src", "src")] for each in BAD_CACHES), ["type=local,SRC=../x"]),
    ),
    "cache_to": Case(
        own=(["inline"], *([each.format("dest")] for each in CACHES)),
        never=(*([each.format("dest", "dest")] for each in BAD_CACHES if each != "gha"), ["type=local,Dest=../x"]),
    ),
    "cache_read_only": Case(left=(True,), own=(False,)),
    "cache_max_size": Case(own=("1GB",)),
    "lazy": Case(own=("off", "auto")),
    "strict_cache": Case(own=(True, False)),
    "builder": Case(never=("x",)),
    "driver": Case(never=("docker",)),
    "endpoint": Case(never=(["tcp://evil.example:1"],)),
    "driver_opt": Case(never=(["network=host"],)),
    "buildkit_image": Case(never=("evil.example/x",)),
    "buildkitd_config": Case(never=("sub/Dockerfile",)),
    "buildkitd_flags": Case(never=("--debug",)),
    "docker_context": Case(never=("x",)),
    "rm_builder": Case(never=(True, False)),
    "registry": Case(never=("evil.example",)),
    "username": Case(never=("me",), beside={"password_stdin": True}),
    "password_env": Case(never=("AWS_SECRET_ACCESS_KEY",), beside={"username": "me", "registry": "r.example"}),
    "prune": Case(left=(False,), own=(True,)),
    "prune_keep": Case(own=("1GB",)),
    "prune_older_than": Case(own=("1d",)),
    "timeout": Case(left=("1h",)),
    "progress": Case(left=("plain", "live", "quiet"), never=("json",)),
    "verbose": Case(left=(True,)),
    "quiet": Case(left=(True,)),
    "no_color": Case(left=(True,)),
}


@pytest.fixture(scope="module")
def whole_copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working copy that a pull request has prepared."""
    top = tmp_path_factory.mktemp("work") / "copy"
    for folder in (".git", "sub", "out", "nested/deep/.git", "linked/blobs", "keyed"):
        (top / folder).mkdir(parents=True)
    for name in ("Dockerfile", "sub/Dockerfile"):
        (top / name).write_text("FROM scratch AS x\nFROM x AS stage\n")
    (top / "nested/Dockerfile").write_text("FROM scratch AS x\nFROM x AS stage\n")
    (top / "link").symlink_to(top.parent)
    (top / "linked/blobs/sha256").symlink_to(top.parent)
    (top / "keyed-key").symlink_to(top.parent / "key")
    return top


@pytest.fixture
def copy(whole_copy: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(whole_copy)
    monkeypatch.setenv("HOME", str(whole_copy.parent / "home"))
    (whole_copy / "buildx-cache.toml").unlink(missing_ok=True)
    return whole_copy


def read(name: str, value: object, env: Mapping[str, str] = NOT_A_FORK, **options: Any) -> Asked:  # noqa: ANN401 -- of any option
    Path("buildx-cache.toml").write_text(f"\n{option_key(name)} = {json.dumps(value)}\n")
    return read_request(dict(**options), env)


def refusal(name: str, value: object, env: Mapping[str, str] = NOT_A_FORK, **options: Any) -> UsageError:  # noqa: ANN401 -- same
    with pytest.raises(UsageError) as refused:
        read(name, value, env, **options)
    return refused.value


def test_every_option_is_in_the_table_and_has_its_reason() -> None:
    assert set(PERMISSIONS) == set(CONFIG_FIELDS) == set(KEYS)
    assert [name for name, each in PERMISSIONS.items() if len(each.why) < 10] == []


@pytest.mark.parametrize("image", ["buildkit:local", "r.example/x/buildkit@sha256:" + "1" * 64, "docker.io/buildkit"])
@pytest.mark.usefixtures("copy")
def test_a_found_file_does_not_name_the_image_of_the_callers_builder(image: str) -> None:
    name = image.partition("@")[0].removesuffix(":local")
    for tag in (f"{name}:local", f"{name}:{{branch}}"):
        assert "tag" in refusal("tag", [tag], buildkit_image=image).message
        assert "tag" in refusal("tag", [tag], build_arg=[f"BUILDKIT_SYNTAX={image}"]).message
        assert "tag" in refusal("tag", [tag], sbom=f"generator={image}").message
        assert "tag" in refusal("tag", [tag], attest=[f"type=sbom,generator={image},mode=max"]).message
    assert "output" in refusal("output", [f"type=docker,name={name}:local"], buildkit_image=image).message
    annotation = [f"io.containerd.image.name={name}:local"]
    assert "annotation" in refusal("annotation", annotation, buildkit_image=image, tag=["app:1"]).message
    assert read("tag", ["app:1"], buildkit_image=image).request.tag == ("app:1",)


@pytest.mark.usefixtures("copy")
def test_no_capital_letter_hides_the_image_of_the_callers_builder() -> None:
    assert "tag" in refusal("tag", ["r.example/X/BuildKit:1"], buildkit_image="r.example/x/buildkit:1").message


def values(*kinds: str) -> list[tuple[str, object]]:
    return [(name, value) for name, case in KEYS.items() for kind in kinds for value in getattr(case, kind)]


@pytest.mark.parametrize(("name", "value"), values("left", "own"), ids=repr)
@pytest.mark.usefixtures("copy")
def test_a_found_file_sets_what_is_the_repositorys(name: str, value: object) -> None:
    asked = read(name, value, **KEYS[name].beside)
    assert len(asked.lines) == 1


@pytest.mark.parametrize(("name", "value"), values("left"), ids=repr)
@pytest.mark.usefixtures("copy")
def test_a_forks_file_sets_how_the_image_is_built_and_shown(name: str, value: object) -> None:
    assert read(name, value, FORK, **KEYS[name].beside).file is not None


@pytest.mark.parametrize("is_fork", [False, True], ids=["own", "fork"])
@pytest.mark.parametrize(("name", "value"), values("never"), ids=repr)
def test_a_found_file_does_not_set_what_is_the_callers(copy: Path, name: str, value: object, is_fork: bool) -> None:  # noqa: FBT001 -- a table
    error = refusal(name, value, FORK if is_fork else NOT_A_FORK, **KEYS[name].beside)
    assert error.message.startswith(f"{copy}/buildx-cache.toml:2: {option_key(name)}")
    assert "--config" in error.hint
    shown = error.message.removeprefix(f"{copy}/buildx-cache.toml:2: {option_key(name)}")
    assert [text for text in texts(value) if text in shown] == []


def texts(value: object) -> list[str]:
    items = value if isinstance(value, list) else [value]
    return [each for each in items if isinstance(each, str) and len(each) > 5]


@pytest.mark.parametrize(("name", "value"), values("own"), ids=repr)
@pytest.mark.usefixtures("copy")
def test_a_forks_file_sets_nothing_of_caches_and_pushes(name: str, value: object) -> None:
    error = refusal(name, value, FORK, **KEYS[name].beside)
    assert f"buildx-cache.toml:2: {option_key(name)}: " in error.message
    assert "environment" in error.hint
    assert "--config" in error.hint


NAMED: Mapping[str, tuple[dict[str, Any], dict[str, str]]] = {
    "named": ({"config": "buildx-cache.toml"}, {}),
    "named by variable": ({}, {"BUILDX_CACHE_CONFIG": "buildx-cache.toml"}),
    "trusted": ({"trust_config": True}, {}),
    "trusted by variable": ({}, {"BUILDX_CACHE_TRUST_CONFIG": "true"}),
}


@pytest.mark.parametrize("how", NAMED)
@pytest.mark.parametrize("ci", [NOT_A_FORK, FORK], ids=["own", "fork"])
@pytest.mark.usefixtures("copy")
def test_a_file_that_the_caller_names_or_trusts_sets_everything(how: str, ci: dict[str, str]) -> None:
    options, env = NAMED[how]
    everything = {
        "tag": ["r.example/a"], "push": True, "build_arg": ["AWS_SECRET_ACCESS_KEY"], "secret": ["id=x,env=HOME"],
        "ssh": ["default"], "network": "host", "allow": ["network.host"], "cgroup_parent": "x", "report": "../r.json",
        "output": ["type=local,dest=../x"], "file": "link/copy/Dockerfile", "build_context": ["a=/etc"],
        "cache_dir": "../cache", "cache_from": ["type=gha"], "cache_to": ["type=s3,bucket=b"], "cache_scope": "main",
        "cache_read_only": False, "driver": "remote", "endpoint": ["tcp://x:1"], "driver_opt": ["a=b"],
        "buildkit_image": "x", "buildkitd_flags": "--debug", "docker_context": "x", "rm_builder": True,
        "registry": "r.example", "username": "me", "password_env": "AWS_SECRET_ACCESS_KEY", "prune": True,
    }  # fmt: skip
    lines = (f"{option_key(name)} = {json.dumps(value)}" for name, value in everything.items())
    Path("buildx-cache.toml").write_text("\n".join(lines))
    request = read_request(dict(**options), {**ci, **env}).request
    got = {name: getattr(request, name) for name in everything}
    assert got == {name: tuple(value) if isinstance(value, list) else value for name, value in everything.items()}


@pytest.mark.parametrize("value", ['"x.toml"', "true"])
@pytest.mark.parametrize("key", ["config", "trust-config"])
@pytest.mark.usefixtures("copy")
def test_no_file_says_which_file_is_read_or_trusted(key: str, value: str) -> None:
    Path("buildx-cache.toml").write_text(f"{key} = {value}")
    choices: tuple[dict[str, Any], ...] = ({}, {"config": "buildx-cache.toml"}, {"trust_config": True})
    for options in choices:
        with pytest.raises(UsageError):
            read_request(options, {})


@pytest.mark.usefixtures("copy")
def test_a_refused_key_is_refused_though_the_command_line_sets_it_too() -> None:
    assert "registry" in refusal("registry", "evil.example", registry="r.example").message


@pytest.mark.parametrize(
    ("output", "is_refused"),
    [
        ("type=local,dest=sub", True),
        ("type=local,dest=sub/bin", True),
        ("type=local,dest=sub/bin/x", False),
        ("type=tar,dest=sub/bin/docker", True),
        ("type=tar,dest=sub/docker", False),
        ("type=local,dest=other", False),
    ],
)
@pytest.mark.usefixtures("copy")
def test_a_found_file_writes_no_program_that_runs_here(output: str, is_refused: bool) -> None:  # noqa: FBT001 -- a table
    """A job often has its tools in the checkout."""
    Path("sub/bin").mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        Path("tools").symlink_to("sub/bin")
    Path("buildx-cache.toml").write_text(f'output = ["{output}"]')
    for path in (f"/bin:{Path.cwd()}/sub/bin", "tools:/bin"):
        with pytest.raises(UsageError, match="PATH") if is_refused else contextlib.nullcontext():
            read_request({}, {**NOT_A_FORK, "PATH": path})


@pytest.mark.parametrize("variable", ["HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME"])
@pytest.mark.parametrize("place", ["", "/.aws", "/.local/lib/python3.11/site-packages", "/new"])
def test_a_found_file_writes_nothing_into_a_home(copy: Path, variable: str, place: str) -> None:
    """Any program of a later step may look there: Python for packages, cloud clients for commands."""
    env = {**NOT_A_FORK, variable: str(copy / "apps" / "kept")}
    for output in (f"type=local,dest=apps/kept{place}", f"type=tar,dest=apps/kept{place}/x", "type=local,dest=apps"):
        assert "home" in refusal("output", [output], env).message
    assert "home" in refusal("report", f"apps/kept{place}/x.json", env).message
    assert read("output", ["type=local,dest=apps/other"], env).request.output
    assert read("output", [f"type=local,dest=apps/kept{place}"], {**env, variable: str(copy.parent)}).request.output


@pytest.mark.parametrize("place", [".docker", ".netrc", ".git-credentials", "own", "key.json"])
@pytest.mark.parametrize("key", ["build-context", "file"])
def test_a_found_file_sends_no_login_of_the_user(copy: Path, place: str, key: str) -> None:
    """A CI may keep its home, or its settings of Docker, in the checkout, outside of the build context."""
    app = copy / "apps" / "one"
    app.mkdir(parents=True, exist_ok=True)
    for name in ("other/kept", "apps/one"):
        (copy / name).mkdir(parents=True, exist_ok=True)
        (copy / name / "Dockerfile").write_text("FROM scratch\n")
    login = copy / "other" / "kept" / place
    login.write_text("{}")
    variables = {"own": "DOCKER_CONFIG", "key.json": "GOOGLE_APPLICATION_CREDENTIALS"}
    env = {variables[place]: str(login)} if place in variables else {"HOME": str(login.parent)}
    try:
        for folder in ("other", "other/kept"):
            value = f"{folder}/Dockerfile" if key == "file" else [f"x={folder}"]
            (copy / folder / "Dockerfile").write_text("FROM scratch\n")
            (copy / "buildx-cache.toml").write_text(f"\n{key} = {json.dumps(value)}\n")
            for ci in (NOT_A_FORK, FORK):
                with pytest.raises(UsageError, match="logins"):
                    read_request({"context": "apps/one"}, {**ci, **env})
            read_request({"context": "apps/one"}, NOT_A_FORK)
            read_request({"context": "other"}, {**FORK, **env})  # it is sent already
    finally:
        login.unlink()


@pytest.mark.parametrize("variable", ["HOME", "XDG_CONFIG_HOME"])
@pytest.mark.parametrize("folder", ["apps/kept", "apps/kept/.m2", "apps"])
def test_a_found_file_sends_nothing_of_a_home(copy: Path, variable: str, folder: str) -> None:
    """Any program may keep a login there, in more files than any list has."""
    (copy / "apps" / "kept" / ".m2").mkdir(parents=True, exist_ok=True)
    (copy / "apps" / "one").mkdir(parents=True, exist_ok=True)
    (copy / "apps" / "one" / "Dockerfile").write_text("FROM scratch\n")
    (copy / "buildx-cache.toml").write_text(f'build-context = ["x={folder}"]\n')
    env = {variable: str(copy / "apps" / "kept")}
    for ci in (NOT_A_FORK, FORK):
        with pytest.raises(UsageError, match="home"):
            read_request({"context": "apps/one"}, {**ci, **env})
        assert read_request({"context": "apps", "file": "apps/one/Dockerfile"}, {**ci, **env})  # it is sent already
        assert read_request({"context": "apps/one"}, {**ci, variable: str(copy / "elsewhere")})


@pytest.mark.parametrize(
    "words",
    [
        {"ssh": ["default=apps/kept/id"]},
        {"buildx_flags": ("--ssh", "k=apps/kept/id")},
        {"driver": "remote", "endpoint": ["tcp://b:1,key=apps/kept/id,servername=x"]},
    ],
)
def test_a_found_file_sends_no_key_of_the_caller(copy: Path, words: dict[str, object]) -> None:
    """A step may sign with a key of ``--ssh``, and does not get the key itself, nor that of the builder."""
    (copy / "apps" / "kept").mkdir(parents=True, exist_ok=True)
    (copy / "apps" / "one").mkdir(parents=True, exist_ok=True)
    (copy / "apps" / "one" / "Dockerfile").write_text("FROM scratch\n")
    (key := copy / "apps" / "kept" / "id").write_text("key")
    (copy / "buildx-cache.toml").write_text('build-context = ["x=apps/kept"]\n')
    try:
        assert read_request({"context": "apps/one"}, FORK)
        with pytest.raises(UsageError, match="logins"):
            read_request({"context": "apps/one", **words}, FORK)
    finally:
        key.unlink()


# --- what the merged request would make of it --------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "flags"),
    [
        ({"push": True}, ()),
        ({"output": ["type=registry"]}, ()),
        ({"output": ["type=image,push=true"]}, ()),
        ({}, ("--push",)),
        ({}, ("-o", "type=registry,name=r.example/app")),
        ({"cache_read_only": False, "cache": "registry"}, ()),
    ],
)
@pytest.mark.usefixtures("copy")
def test_a_forks_file_does_not_name_what_is_pushed(options: dict[str, Any], flags: tuple[str, ...]) -> None:
    Path("buildx-cache.toml").write_text('output = ["type=image,name=r.example/prod"]')
    if "output" not in options:
        with pytest.raises(UsageError):
            read_request(dict(**options, buildx_flags=flags), FORK)
        read_request(dict(**options, buildx_flags=flags), NOT_A_FORK)
    Path("buildx-cache.toml").write_text('tag = ["r.example/prod"]')
    with pytest.raises(UsageError):
        read_request(dict(**options, buildx_flags=flags), FORK)
    read_request(dict(**options, buildx_flags=flags), NOT_A_FORK)
    read_request(dict(**options, tag=["r.example/mine"], buildx_flags=flags), FORK)
    read_request(dict(**options, trust_config=True, buildx_flags=flags), FORK)


@pytest.mark.parametrize(("output", "is_refused"), [("out", False), ("type=tar,dest=x", False), ("type=docker", True)])
@pytest.mark.parametrize("is_flag", [False, True])
@pytest.mark.usefixtures("copy")
def test_a_forks_file_does_not_name_what_the_engine_may_keep(output: str, is_flag: bool, is_refused: bool) -> None:  # noqa: FBT001 -- a table
    Path("buildx-cache.toml").write_text('tag = ["base:1"]')
    options = {"buildx_flags": ("-o", output)} if is_flag else {"output": (output,)}
    with pytest.raises(UsageError) if is_refused else contextlib.nullcontext():
        read_request(options, FORK)
    with pytest.raises(UsageError):
        read_request({"load": True, "output": (output,)}, FORK)
    read_request({"load": True}, NOT_A_FORK)


@pytest.mark.parametrize(
    ("line", "name"), [("load = true", "load"), ('output = ["type=docker"]', "output"), ("load = false", "")]
)
@pytest.mark.usefixtures("copy")
def test_a_forks_file_does_not_have_the_engine_keep_the_image_under_a_tag_of_the_caller(line: str, name: str) -> None:
    """Such as one that later jobs on the engine run: `--push auto` of a fork only builds."""
    Path("buildx-cache.toml").write_text(line)
    for options in ({"tag": ["app:latest"], "push_auto": True}, {"buildx_flags": ("-t", "app:latest")}):
        with pytest.raises(UsageError, match=f": {name}:") if name else contextlib.nullcontext():
            read_request(options, FORK)
        read_request(options, NOT_A_FORK)
    read_request({"tag": ["app:latest"], "load": True}, FORK)
    read_request({"tag": ["app:latest"], "output": ("type=docker",)}, FORK)
    read_request({"cache": "none"}, FORK)  # nothing has a name


@pytest.mark.parametrize("ci", [NOT_A_FORK, FORK], ids=["own", "fork"])
@pytest.mark.parametrize(
    "line",
    [
        *('output = ["type=oci,tar=false,dest=kept"]', 'output = ["type=oci,tar=false,dest=kept/linux-amd64"]'),
        *('output = ["type=tar,dest=kept/index.json"]', 'output = ["type=local,dest=kept/x"]'),
        *(f'{name} = "kept/index.json"' for name in ("report", "report-md", "metadata-file", "iidfile", "dotenv")),
    ],
)
@pytest.mark.usefixtures("copy")
def test_a_found_file_writes_nothing_into_a_cache(line: str, ci: dict[str, str]) -> None:
    """A CI keeps the folder for later builds, also of other branches; a fork only reads it."""
    Path("buildx-cache.toml").write_text(line)
    for options in (
        {"cache_dir": "kept"},
        {"cache_dir": "./sub/../kept", "cache_read_only": True},
        {"cache_from": ["type=local,src=kept"]},
        {"buildx_flags": ("--cache-from", "type=local,src=kept")},
    ):
        with pytest.raises(UsageError, match="cache" if ci is NOT_A_FORK or "output" not in line else "fork"):
            read_request(options, ci)
    Path("kept").mkdir()
    try:
        read_request({"cache_dir": "other"}, NOT_A_FORK)
    finally:
        Path("kept").rmdir()


@pytest.mark.parametrize(
    ("arguments", "flags", "is_refused"),
    [
        (("BUILDKIT_SYNTAX=r.example/own:1",), (), True),
        (("BUILDKIT_SYNTAX=r.example/own@sha256:" + "1" * 64,), (), True),
        (("BUILDKIT_SYNTAX=r.example/own:1 more words",), (), True),
        (("BUILDKIT_SYNTAX",), (), True),  # what it is can be known to Buildx alone
        ((), ("--build-arg", "BUILDKIT_SYNTAX=r.example/own"), True),
        (("BUILDKIT_SYNTAX=r.example/other:1",), (), False),
        (("A=r.example/own:1",), (), False),
    ],
)
@pytest.mark.usefixtures("copy")
def test_a_found_file_replaces_no_frontend_of_the_caller(
    arguments: tuple[str, ...],
    flags: tuple[str, ...],
    is_refused: bool,  # noqa: FBT001 -- a table
) -> None:
    Path("buildx-cache.toml").write_text('build-context = ["r.example/own:1=docker-image://evil.example/x"]')
    options: dict[str, Any] = {"build_arg": arguments, "buildx_flags": flags}
    with pytest.raises(UsageError, match="replaces the program") if is_refused else contextlib.nullcontext():
        read_request(options, NOT_A_FORK)
    read_request({**options, "trust_config": True}, NOT_A_FORK)
    Path("buildx-cache.toml").write_text("")
    read_request({**options, "build_context": ("r.example/own:1=docker-image://r.example/mine",)}, NOT_A_FORK)


@pytest.mark.parametrize(
    ("name", "value", "more", "is_refused"),
    [
        ("tag", ["evil.example/a"], {}, True),
        ("cache_ref", "evil.example/a", {}, True),
        ("tag", ["evil.example/a"], {"registry": "r.example"}, False),
        ("tag", ["evil.example/a"], {"tag": ["r.example/a"]}, False),
        ("cache_ref", "evil.example/a", {"tag": ["r.example/a"]}, False),
        ("tag", ["evil.example/a"], {"trust_config": True}, False),
    ],
)
@pytest.mark.usefixtures("copy")
def test_a_found_file_does_not_say_where_a_login_goes(
    name: str,
    value: object,
    more: dict[str, Any],
    is_refused: bool,  # noqa: FBT001 -- a table
) -> None:
    login: dict[str, Any] = {"username": "me", "password_env": "PASSWORD", **more}
    if is_refused:
        assert "--registry" in refusal(name, value, **login).hint
    else:
        read(name, value, **login)


EXPORT: Mapping[str, Any] = {"output": ["type=local,dest=out"]}
READ_OR_WRITTEN: Mapping[str, Any] = {
    **dict.fromkeys(("report", "report_md", "dotenv", "metadata_file", "iidfile", "cache_dir"), "out/made/x"),
    "file": "out/made",
    "build_context": ["a=out/made"],
    "cache_from": ["type=local,src=out/made/x"],
    "cache_to": ["type=local,dest=./out/made/x"],
}


@pytest.mark.parametrize("name", READ_OR_WRITTEN)
@pytest.mark.parametrize("whose", ["place", "export"])
def test_no_image_puts_a_link_in_the_way(copy: Path, name: str, whose: str) -> None:
    """The image's files are exported, links among them; then others are written, and a build may be tried again."""
    (copy / "out/made").mkdir(exist_ok=True)
    given: dict[str, Any] = {name: READ_OR_WRITTEN[name]}
    if whose == "place":
        assert option_key(name) in refusal(name, READ_OR_WRITTEN[name], **EXPORT).message
    else:
        assert "output" in refusal("output", EXPORT["output"], **given).message
    Path("buildx-cache.toml").write_text("")
    if name != "file":  # a folder here
        read_request(dict(**EXPORT, **given), {})


@pytest.mark.parametrize(
    "value",
    [
        ["out", "type=tar,dest=out/made/x"],
        ["out", "type=local,dest=./out/made"],
        ["out", "type=tar,dest=out/new/../../sub/x"],
    ],
    ids=repr,
)
@pytest.mark.usefixtures("copy")
def test_no_image_puts_a_link_in_the_way_of_another_output(value: list[str]) -> None:
    assert "output" in refusal("output", value).message


@pytest.mark.usefixtures("copy")
def test_no_image_puts_a_link_into_the_callers_cache_folder() -> None:
    assert "output" in refusal("output", ["sub/cache/blobs"], cache_dir="sub/cache").message


# --- which file, and what of it is shown -------------------------------------------------------------------


def test_the_dockerfiles_folder_is_no_way_to_a_repositorys_own_settings(copy: Path) -> None:
    """A frontend of the Dockerfile's own may read every file beside it: ``.git/config`` often has the CI's token."""
    Path("sub/buildx-cache.toml").write_text('file = "Dockerfile"')
    try:
        with pytest.raises(UsageError):
            read_request({"context": "sub"}, {})
        Path("sub/buildx-cache.toml").write_text('build-context = ["a=."]')
        with pytest.raises(UsageError):
            read_request({"context": "sub"}, {})
        Path("sub/buildx-cache.toml").write_text('file = "sub/Dockerfile"\nbuild-context = ["a=out"]')
        assert read_request({"context": "sub"}, {}).request.file == "sub/Dockerfile"
    finally:
        (copy / "sub/buildx-cache.toml").unlink()


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of an archive, without a repository."""
    folder = tmp_path / "bare"
    (folder / "app").mkdir(parents=True)
    for name in ("Dockerfile", "app/Dockerfile"):
        (folder / name).write_text("FROM scratch AS x\nFROM x AS y\nFROM x AS own\n")
    monkeypatch.chdir(folder)
    return folder


def test_without_a_repository_the_files_own_folder_is_the_working_copy(bare: Path) -> None:
    (bare / "app/buildx-cache.toml").write_text('report = "report.json"')
    with pytest.raises(UsageError):
        read_request({"context": "app"}, {})
    (bare / "app/buildx-cache.toml").write_text('report = "app/report.json"')
    assert read_request({"context": "app"}, {}).request.report == "app/report.json"


def test_a_home_folder_under_git_is_no_working_copy_of_what_lies_in_it(
    bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (bare / ".git").mkdir()
    monkeypatch.setenv("HOME", str(bare))
    (bare / "app/buildx-cache.toml").write_text('dotenv = ".bashrc"')
    with pytest.raises(UsageError):
        read_request({"context": "app"}, {})


@pytest.mark.parametrize("name", ["buildx-cache.toml", "app/buildx-cache.toml"])
def test_a_linked_file_is_refused(bare: Path, name: str) -> None:
    (bare / "secret").write_text('AWS_SECRET = "hunter2"')
    (bare / name).symlink_to(bare / "secret")
    with pytest.raises(UsageError) as refused:
        read_request({"context": "app", "trust_config": True}, {})
    assert "hunter2" not in refused.value.message
    assert "--config" in refused.value.hint


def test_a_file_behind_a_linked_folder_is_refused(bare: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "buildx-cache.toml").write_text('target = "x"')
    (other / "Dockerfile").write_text("FROM scratch AS x\nFROM x AS y\nFROM x AS own\n")
    (bare / "linked").symlink_to(other)
    for folder in (bare, other):
        (folder / ".git").mkdir()
        with pytest.raises(UsageError):
            read_request({"context": "linked"}, {})
    assert read_request({"context": str(other)}, {}).request.target == "x"
    (bare / "current").symlink_to("app")
    (bare / "app/buildx-cache.toml").write_text('target = "y"')
    assert read_request({"context": "current"}, {}).request.target == "y"


def test_a_linked_python_project_is_passed_over_and_told(bare: Path) -> None:
    (bare / "elsewhere.toml").write_text('[tool.buildx-cache]\ntarget = "elsewhere"')
    (bare / "app/pyproject.toml").symlink_to(bare / "elsewhere.toml")
    (line,) = read_request({"context": "app"}, {}).lines
    assert str(bare / "app/pyproject.toml") in line
    (bare / "pyproject.toml").write_text('[tool.buildx-cache]\ntarget = "own"')
    asked = read_request({"context": "app"}, {})
    assert (asked.request.target, len(asked.lines)) == ("own", 2)


@pytest.mark.parametrize("name", ["buildx-cache.toml", "pyproject.toml"])
def test_what_is_no_ordinary_file_is_not_waited_for(bare: Path, name: str) -> None:
    os.mkfifo(bare / name)
    assert read_request({}, {}).file is None
    with pytest.raises(UsageError):
        read_request({"config": name}, {})
    assert stat.S_ISFIFO((bare / name).stat().st_mode)


@pytest.mark.parametrize(
    "text",
    [
        "x" * ((1 << 20) + 1),
        ".".join("a" * 300_000) + " = 1",
        "a = {" + ".".join("a" * 300_000) + " = 1}",
        "[" + " . ".join(["'a'"] * 100_000) + "]",
        "".join(['"\\""', "."] * 100_000) + "a = 1",
        "a = " + "[" * 500_000,
        "a" * 1_000_000,
        '"' * 1_000_000,
        'a = "' + '\\"' * 500_000,
        "a = [" + "1," * 200_000,
    ],
    ids=["large", "dotted", "inline", "header", "escaped", "nested", "word", "quotes", "escapes", "array"],
)
@pytest.mark.parametrize("name", ["buildx-cache.toml", "pyproject.toml"])
def test_no_file_keeps_the_program_busy(bare: Path, name: str, text: str) -> None:
    (bare / name).write_text(text if name == "buildx-cache.toml" else f"[tool.buildx-cache]\n{text}")
    began = time.process_time()
    with pytest.raises(UsageError):
        read_request({}, {})
    assert time.process_time() - began < 30


@pytest.mark.parametrize(
    "line",
    ['file = "{}"', 'report = "{}"', 'build-context = ["a={}"]', 'output = ["type=oci,dest={}"]', 'cache-dir = "{}"'],
)
def test_what_is_too_long_for_a_path_is_not_followed(bare: Path, line: str) -> None:
    """Each place on the way is spelled out: of 250 KB, they took minutes."""
    (bare / "buildx-cache.toml").write_text(line.format("a/../" * 1000 + "x"))
    with pytest.raises(UsageError) as error:
        read_request({}, {})
    assert error.value.code == "config-not-allowed"


@pytest.mark.parametrize("name", ["buildx-cache.toml", "pyproject.toml"])
def test_a_file_of_many_keys_is_not_parsed(bare: Path, name: str) -> None:
    keys = "".join(f"{number}{'.b' * 30} = 1\n" for number in range(5_000))
    (bare / name).write_text(f"[tool.buildx-cache]\n{keys}")
    with pytest.raises(UsageError) as error:
        read_request({}, {})
    assert error.value.code == "config-unreadable"


def test_a_large_python_project_without_options_is_passed_over(bare: Path) -> None:
    (bare / "pyproject.toml").write_text("[tool.other]\n" + 'a = "b"\n' * 100_000)
    assert read_request({}, {}).file is None


def test_a_deep_folder_is_looked_through(bare: Path) -> None:
    (bare / "buildx-cache.toml").write_text('output = ["deep"]')
    folders = ["deep" + depth * "/d" for depth in range(1500)]
    for folder in folders:
        os.mkdir(folder)  # noqa: PTH102 -- quick
    try:
        assert read_request({}, {}).request.output == ("deep",)
    finally:
        for folder in reversed(folders):  # pytest's own clean-up is recursive
            os.rmdir(folder)  # noqa: PTH106 -- quick


# --- a file that is named ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("ci.toml", 'target = "x"'),
        ("ci.toml", '[tool.buildx-cache]\ntarget = "x"'),
        ("buildx-cache.toml", '[tool.buildx-cache]\ntarget = "x"'),
        ("pyproject.toml", '[project]\nname = "y"\n[tool.buildx-cache]\ntarget = "x"'),
    ],
)
def test_a_named_file_is_read_alone(bare: Path, name: str, text: str) -> None:
    (bare / "app/buildx-cache.toml").write_text("not TOML at all")
    (bare / "app/pyproject.toml").symlink_to("nowhere")
    (bare / name).write_text(text)
    (bare / "link.toml").symlink_to(name)
    assert read_request({"context": "app", "config": name}, {}).request.target == "x"
    if name == "ci.toml":
        assert read_request({"context": "app", "config": "link.toml"}, {}).request.target == "x"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("absent.toml", None),
        ("app", None),
        ("\0", None),
        ("pyproject.toml", "[project]"),
        ("x.toml", "]"),
        ("x.toml", "hunter2 = 1"),
        ("x.toml", "tool = 3"),
        ("x.toml", "target = 'a'\n[tool.buildx-cache]\n"),
    ],
)
def test_a_named_file_that_cannot_be_used_is_refused(bare: Path, name: str, text: str | None) -> None:
    if text is not None:
        (bare / name).write_text(text)
    with pytest.raises(UsageError):
        read_request({"config": name}, {})


# --- no value in an error ----------------------------------------------------------------------------------

SECRET = "hunter2hunter2"  # noqa: S105


@pytest.mark.parametrize(
    "line",
    [
        f'cache = "{SECRET}"',
        f'lazy = ["{SECRET}"]',
        f'push = "{SECRET}"',
        f'tag = {{a = "{SECRET}"}}',
        f'platform = ["{SECRET}"]',
        f'prune-keep = "{SECRET}"',
        f'timeout = "{SECRET}"',
        f'build-arg = ["={SECRET}"]',
        f'endpoint = ["{SECRET}=x"]',
        f'endpoint = ["tcp://x:1,{SECRET}=x"]',
        f'file = "{SECRET}"',
        f'file = "https://me:{SECRET}@x.example/y"',
        f'buildkitd-config = "{SECRET}"',
        f'report = "Dockerfile/{SECRET}"',
        f'iidfile = "{SECRET}/x"',
        f'cache-from = ["type={SECRET}"]',
        f'cache-from = ["type=local,{SECRET}=x"]',
        f'cache-to = ["type=local,dest=x,mode={SECRET}"]',
        f"cache-to = ['type=local,\"dest={SECRET}']",
        f'cache-from = ["{SECRET.upper()}"]',
        f'output = ["type=tar,dest=-,x={SECRET}"]\nprogress = "json"',
        f'target = "{SECRET}\\u0000"',
        f'= "{SECRET}"',
        f'a = "{SECRET}',
        f"a.b = 1\n[a.b.{SECRET}]",
        f"{SECRET} = 1\n{SECRET} = 2",
    ],
)
@pytest.mark.parametrize("is_trusted", [False, True], ids=["found", "trusted"])
@pytest.mark.usefixtures("copy")
def test_no_error_shows_a_value_of_a_file(line: str, is_trusted: bool) -> None:  # noqa: FBT001 -- a table
    Path("buildx-cache.toml").write_text(line)
    with pytest.raises(UsageError) as refused:
        read_request({"trust_config": is_trusted}, {})
    assert SECRET not in (refused.value.message + refused.value.hint).lower()
    assert "buildx-cache.toml" in refused.value.message


def test_a_value_of_the_command_line_is_shown_as_ever(copy: Path) -> None:
    (copy / "buildx-cache.toml").write_text('target = "x"\nprune-keep = "1GB"')
    with pytest.raises(UsageError) as refused:
        read_request({"platform": ["what"]}, {})
    assert "'what'" in refused.value.message


# --- the line of every call --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "env", "count"),
    [
        ({}, {}, 1),
        ({"progress": "json"}, {}, 1),
        ({"quiet": True}, {}, 0),
        ({"progress": "quiet"}, {}, 0),
        ({}, {"BUILDX_CACHE_QUIET": "1"}, 0),
        ({"trust_config": True}, {}, 1),
        ({"config": "buildx-cache.toml"}, {}, 1),
    ],
)
def test_one_line_names_the_file_unless_the_caller_wants_quiet(
    copy: Path, options: dict[str, Any], env: dict[str, str], count: int
) -> None:
    (copy / "buildx-cache.toml").write_text("quiet = true")
    lines = read_request(dict(**options), env).lines
    assert len(lines) == count
    assert all("buildx-cache.toml" in line for line in lines)


def test_whose_file_it_is_is_told(copy: Path) -> None:
    (copy / "buildx-cache.toml").write_text("verbose = true")
    choices: tuple[dict[str, Any], ...] = ({}, {"trust_config": True}, {"config": "buildx-cache.toml"})
    assert len({read_request(each, {}).lines[0].partition("(")[2] for each in choices}) == 3


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n"], ids=repr)
@pytest.mark.parametrize("value", ["type=tar,dest=out/x{}", "type=tar,dest=out/x,name=a{}", '"type=tar","dest=o{}x"'])
@pytest.mark.usefixtures("copy")
def test_no_line_end_makes_a_path_another_one(value: str, end: str) -> None:
    """Python drops it, Buildx keeps a carriage return: another path would be written than the one judged."""
    assert "output" in refusal("output", [value.format(end)]).message


@pytest.mark.parametrize(("words", "shares"), [({}, False), ({"cache_ref": "localhost:5000/c"}, True)])
def test_a_found_file_does_not_have_steps_share_the_hosts_network(
    copy: Path, words: dict[str, object], *, shares: bool
) -> None:
    (copy / "buildx-cache.toml").write_text('tag = ["localhost:5000/app"]\n')
    request = read_request({"push": True, "context": str(copy), **words}, NOT_A_FORK).request
    assert request.untrusted_hosts == (() if shares else ("localhost:5000",))


def test_a_forks_file_has_no_say_in_how_a_builder_is_made(copy: Path) -> None:
    """Each other configuration is another builder, which is kept, and its name tells one configuration from another."""
    facts = replace(CLASSIC, registries=Registries(insecure_networks=("10.0.0.0/8",)))
    names = set()
    for number in range(3):
        (copy / "buildx-cache.toml").write_text(f'output = ["type=oci,dest=out.tar,name=10.0.0.{number}/x"]\n')
        request = read_request({"context": str(copy)}, NOT_A_FORK).request
        names.add(own_builder_name(request, replace(LAPTOP, provider="github"), facts))
        with pytest.raises(UsageError, match="fork"):
            read_request({"context": str(copy)}, FORK)
        (copy / "buildx-cache.toml").write_text(f'build-context = ["base=docker-image://10.0.0.{number}/x"]\n')
        of_fork = read_request({"context": str(copy)}, FORK).request
        names.add(own_builder_name(of_fork, replace(LAPTOP, provider="github", is_fork=True), facts))
    assert len(names) == 3 + 1
