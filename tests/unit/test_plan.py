# ruff: noqa: E501 -- a cache entry is one word, however long
"""What is asked, what the CI tells and what is there → the exact command lines, in the order in which they run."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from buildx_cache.caches import CacheKind, CacheMode, Compression
from buildx_cache.ci import CIContext
from buildx_cache.errors import EngineError, UsageError
from buildx_cache.plan import (
    Builder,
    BuildPlan,
    Facts,
    Node,
    Place,
    Store,
    TlsEndpoint,
    make_plan,
    needed_builder,
)
from buildx_cache.plan.render import command_line, shell_line
from buildx_cache.redaction import Secret
from buildx_cache.request import BuildRequest, Driver, Layer, Lazy, Progress, make_request
from buildx_cache.request.buildx_options import BuildxOptions

SHA = "83a20ec058e2fb00e7fa4558c4c6e81e2dcf253d"
APP = "registry.example.com/team/app"

# --- where a build runs ------------------------------------------------------------------------------------

LAPTOP = CIContext(
    provider="none",
    sha=SHA,
    branch="main",
    tag=None,
    pull_request=None,
    target_branch=None,
    default_branch="main",
    build=None,
)
CI_MAIN = replace(LAPTOP, provider="circleci", build="77")
CI_BRANCH = replace(CI_MAIN, branch="feature/login")
CI_PULL_REQUEST = replace(CI_BRANCH, pull_request="12", target_branch="release/2")
CI_FORK = replace(CI_PULL_REQUEST, is_fork=True)
CI_NOWHERE = replace(CI_MAIN, branch=None)
CI_TAG = replace(CI_MAIN, branch=None, tag="v1.2+rc1")
CI_SILENT = replace(CI_MAIN, branch=None, sha=None, default_branch=None, build=None)

# --- what is there -----------------------------------------------------------------------------------------

BUILDKIT = (0, 25, 0)
OLD_BUILDKIT = (0, 20, 2)


def builder(
    driver: str, *, status: str = "running", nodes: int = 1, buildkit: tuple[int, int, int] = BUILDKIT
) -> Builder:
    name = "default" if driver == "docker" else f"{driver}-builder"
    each = tuple(Node(name=f"{name}{index}", status=status, buildkit=buildkit) for index in range(nodes))
    return Builder(name=name, driver=driver, nodes=each)


CONTAINERD = Facts(
    docker="28.5.2",
    buildx=(0, 29, 1),
    store=Store.CONTAINERD,
    context="default",
    place=Place(project="app-1a2b3c4d", cache_dir="/cache/app", today="2025-11-24"),
    builder=builder("docker"),
)
CLASSIC = replace(CONTAINERD, store=Store.CLASSIC)
NO_BUILDER = replace(CONTAINERD, builder=None)
CONTAINER = replace(CLASSIC, builder=builder("docker-container"))
CONTAINER_STOPPED = replace(CLASSIC, builder=builder("docker-container", status="stopped"))
CONTAINER_OLD = replace(CLASSIC, builder=builder("docker-container", buildkit=OLD_BUILDKIT))
REMOTE = replace(CLASSIC, builder=builder("remote", nodes=2))
KUBERNETES = replace(CLASSIC, builder=builder("kubernetes"))
OWN_RUNNING = replace(CLASSIC, own_builder=builder("docker-container"))
OWN_STOPPED = replace(CLASSIC, own_builder=builder("docker-container", status="inactive"))
BUILDX_0_13 = replace(CLASSIC, buildx=(0, 13, 1), own_builder=builder("docker-container", buildkit=(0, 12, 5)))
ELSEWHERE = replace(CONTAINERD, context="elsewhere", builder=replace(builder("docker"), name="elsewhere"))
TLS = replace(CLASSIC, tls=TlsEndpoint(host="tcp://10.0.0.5:2376", cert_path="/certs"))
TLS_UNVERIFIED = replace(CLASSIC, tls=TlsEndpoint(host="tcp://10.0.0.5:2376", cert_path="/certs, mine", verify=False))
TLS_NAMED = replace(TLS, context="elsewhere")


@dataclass(frozen=True, kw_only=True)
class Case:
    id: str
    asked: Mapping[str, object]
    ci: CIContext = LAPTOP
    facts: Facts = CONTAINERD
    lines: str
    """Shell lines; a long one goes on after a backslash."""


def request_of(asked: Mapping[str, object]) -> BuildRequest:
    return make_request([Layer(where="--{name}", values=asked)])


def plan_of(asked: Mapping[str, object], ci: CIContext = LAPTOP, facts: Facts = CONTAINERD) -> BuildPlan:
    return make_plan(request_of(asked), ci, facts)


def lines_of(plan: BuildPlan) -> list[str]:
    return [shell_line(command_line(plan, step)) for _, step in plan.phases()]


TLS_CONTEXT = "buildx-cache-b4867651"

CASES = (
    # what is asked by default
    Case(
        id="nothing-asked",
        asked={},
        lines=r"""
docker buildx build --builder default --cache-from type=local,src=/cache/app \
    --cache-to type=local,dest=/cache/app,mode=max,ignore-error=true .
""",
    ),
    Case(
        id="no-cache-at-all",
        asked={"cache": "none"},
        lines=r"""
docker buildx build --builder default .
""",
    ),
    Case(
        id="another-context",
        asked={"cache": "none", "context": "sub/folder"},
        lines=r"""
docker buildx build --builder default sub/folder
""",
    ),
    Case(
        id="context-with-a-space",
        asked={"cache": "none", "context": "my app"},
        lines=r"""
docker buildx build --builder default 'my app'
""",
    ),
    # image
    Case(
        id="load",
        asked={"tag": ["app"], "load": True},
        lines=r"""
docker buildx build --builder default --tag app:latest --cache-from type=local,src=/cache/app \
    --cache-to type=local,dest=/cache/app,mode=max,ignore-error=true --load .
""",
    ),
    Case(
        id="push",
        asked={"tag": [f"{APP}:1"], "push": True},
        lines=r"""
docker buildx build --builder default --tag registry.example.com/team/app:1 \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-main \
    --cache-to type=registry,ref=registry.example.com/team/app:buildcache-main,mode=max,ignore-error=true \
    --push .
""",
    ),
    Case(
        id="push-and-load",
        asked={"tag": [f"{APP}:1"], "push": True, "load": True},
        facts=CONTAINER,
        lines=r"""
docker buildx build --builder docker-container-builder --tag registry.example.com/team/app:1 \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-main \
    --cache-to type=registry,ref=registry.example.com/team/app:buildcache-main,mode=max,ignore-error=true \
    --output type=docker --output type=image,push=true .
""",
    ),
    Case(
        id="push-and-load-on-the-engine",
        asked={"tag": [f"{APP}:1"], "push": True, "load": True},
        lines=r"""
docker buildx build --builder default --tag registry.example.com/team/app:1 \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-main \
    --cache-to type=registry,ref=registry.example.com/team/app:buildcache-main,mode=max,ignore-error=true \
    --push .
""",
    ),
    Case(
        id="several-tags",
        asked={"tag": [f"{APP}:1", f"{APP}:2", f"{APP}:1"], "push": True},
        lines=r"""
docker buildx build --builder default --tag registry.example.com/team/app:1 \
    --tag registry.example.com/team/app:2 \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-main \
    --cache-to type=registry,ref=registry.example.com/team/app:buildcache-main,mode=max,ignore-error=true \
    --push .
""",
    ),
    Case(
        id="tags-equal-once-filled-in",
        asked={"cache": "none", "tag": ["app:{short_sha}", "app:83a20ec"]},
        lines=r"""
docker buildx build --builder default --tag app:83a20ec .
""",
    ),
    Case(
        id="tag-without-a-tag",
        asked={"cache": "none", "tag": ["app", "org/app"]},
        lines=r"""
docker buildx build --builder default --tag app:latest --tag org/app:latest .
""",
    ),
    Case(
        id="templates",
        asked={
            "cache": "none",
            "tag": ["app:{sha}", "app:{short_sha}", "app:{branch}-{build}", "app:pr-{pr}", "app:{date}"],
        },
        ci=CI_PULL_REQUEST,
        lines=r"""
docker buildx build --builder default --tag app:83a20ec058e2fb00e7fa4558c4c6e81e2dcf253d --tag app:83a20ec \
    --tag app:feature-login-77 --tag app:pr-12 --tag app:2025-11-24 .
""",
    ),
    Case(
        id="template-of-a-tag",
        asked={"cache": "none", "tag": ["app:{tag}"]},
        ci=CI_TAG,
        lines=r"""
docker buildx build --builder default --tag app:v1.2-rc1-59c916fb .
""",
    ),
    Case(
        id="output",
        asked={"cache": "none", "output": ["type=local,dest=out"]},
        lines=r"""
docker buildx build --builder default --output type=local,dest=out .
""",
    ),
    Case(
        id="output-beside-push",
        asked={"tag": [f"{APP}:1"], "push": True, "cache": "none", "output": ["type=tar,dest=image.tar"]},
        lines=r"""
docker buildx build --builder default --tag registry.example.com/team/app:1 --output type=tar,dest=image.tar \
    --output type=image,push=true .
""",
    ),
    Case(
        id="output-beside-load",
        asked={"tag": ["app"], "load": True, "cache": "none", "output": ["type=local,dest=out"]},
        lines=r"""
docker buildx build --builder default --tag app:latest --output type=docker --output type=local,dest=out .
""",
    ),
    Case(
        id="output-beside-push-and-load",
        asked={"tag": [f"{APP}:1"], "push": True, "cache": "none", "load": True, "output": ["type=local,dest=out"]},
        facts=CONTAINER,
        lines=r"""
docker buildx build --builder docker-container-builder --tag registry.example.com/team/app:1 \
    --output type=docker --output type=local,dest=out --output type=image,push=true .
""",
    ),
    # build, as in docker buildx build
    Case(
        id="file",
        asked={"cache": "none", "file": "docker/Dockerfile.ci"},
        lines=r"""
docker buildx build --builder default --file docker/Dockerfile.ci .
""",
    ),
    Case(
        id="target",
        asked={"cache": "none", "target": "test"},
        lines=r"""
docker buildx build --builder default --target test .
""",
    ),
    Case(
        id="platform",
        asked={"cache": "none", "platform": ["linux/arm64"]},
        lines=r"""
docker buildx build --builder default --platform linux/arm64 .
""",
    ),
    Case(
        id="platforms-several",
        asked={"cache": "none", "platform": ["linux/amd64", "linux/arm64"]},
        lines=r"""
docker buildx build --builder default --platform linux/amd64,linux/arm64 .
""",
    ),
    Case(
        id="build-arg",
        asked={"cache": "none", "build_arg": ["VERSION=1.2", "HTTP_PROXY", "EMPTY="]},
        lines=r"""
docker buildx build --builder default --build-arg VERSION=1.2 --build-arg HTTP_PROXY --build-arg EMPTY= .
""",
    ),
    Case(
        id="build-context",
        asked={"cache": "none", "build_context": ["base=docker-image://alpine@sha256:abc", "src=../src"]},
        lines=r"""
docker buildx build --builder default --build-context base=docker-image://alpine@sha256:abc \
    --build-context src=../src .
""",
    ),
    Case(
        id="label",
        asked={"cache": "none", "label": ["org.example.team=a b"]},
        lines=r"""
docker buildx build --builder default --label 'org.example.team=a b' .
""",
    ),
    Case(
        id="annotation",
        asked={"cache": "none", "annotation": ["index:org.example.x=y"]},
        lines=r"""
docker buildx build --builder default --annotation index:org.example.x=y .
""",
    ),
    Case(
        id="secret",
        asked={"cache": "none", "secret": ["id=npm,env=NPM_TOKEN", "id=key,src=key.pem"]},
        lines=r"""
docker buildx build --builder default --secret id=npm,env=NPM_TOKEN --secret id=key,src=key.pem .
""",
    ),
    Case(
        id="ssh",
        asked={"cache": "none", "ssh": ["default"]},
        lines=r"""
docker buildx build --builder default --ssh default .
""",
    ),
    Case(
        id="pull",
        asked={"cache": "none", "pull": True},
        lines=r"""
docker buildx build --builder default --pull .
""",
    ),
    Case(
        id="no-cache",
        asked={"cache": "none", "no_cache": True},
        lines=r"""
docker buildx build --builder default --no-cache .
""",
    ),
    Case(
        id="no-cache-filter",
        asked={"cache": "none", "no_cache_filter": ["test", "lint"]},
        lines=r"""
docker buildx build --builder default --no-cache-filter test --no-cache-filter lint .
""",
    ),
    Case(
        id="network",
        asked={"cache": "none", "network": "none"},
        lines=r"""
docker buildx build --builder default --network none .
""",
    ),
    Case(
        id="add-host",
        asked={"cache": "none", "add_host": ["db:10.0.0.1"]},
        lines=r"""
docker buildx build --builder default --add-host db:10.0.0.1 .
""",
    ),
    Case(
        id="allow",
        asked={"cache": "none", "allow": ["network.host"]},
        lines=r"""
docker buildx build --builder default --allow network.host .
""",
    ),
    Case(
        id="attest",
        asked={"cache": "none", "attest": ["type=provenance,mode=max"]},
        lines=r"""
docker buildx build --builder default --attest type=provenance,mode=max .
""",
    ),
    Case(
        id="provenance",
        asked={"cache": "none", "provenance": "mode=max"},
        lines=r"""
docker buildx build --builder default --provenance mode=max .
""",
    ),
    Case(
        id="sbom",
        asked={"cache": "none", "sbom": "true"},
        lines=r"""
docker buildx build --builder default --sbom true .
""",
    ),
    Case(
        id="shm-size",
        asked={"cache": "none", "shm_size": "128m"},
        lines=r"""
docker buildx build --builder default --shm-size 128m .
""",
    ),
    Case(
        id="ulimit",
        asked={"cache": "none", "ulimit": ["nofile=1024:2048"]},
        lines=r"""
docker buildx build --builder default --ulimit nofile=1024:2048 .
""",
    ),
    Case(
        id="cgroup-parent",
        asked={"cache": "none", "cgroup_parent": "ci"},
        lines=r"""
docker buildx build --builder default --cgroup-parent ci .
""",
    ),
    Case(
        id="metadata-file",
        asked={"cache": "none", "metadata_file": "meta.json"},
        lines=r"""
docker buildx build --builder default --metadata-file meta.json .
""",
    ),
    Case(
        id="iidfile",
        asked={"cache": "none", "iidfile": "id.txt"},
        lines=r"""
docker buildx build --builder default --iidfile id.txt .
""",
    ),
    Case(
        id="buildx-flags-verbatim",
        asked={"cache": "none", "buildx_flags": ("--call", "check,format=json", "--policy=x")},
        lines=r"""
docker buildx build --builder default --call check,format=json --policy=x .
""",
    ),
    Case(
        id="all-at-once-in-order",
        asked={
            "tag": [f"{APP}:1"],
            "push": True,
            "buildx_flags": ("--debug",),
            "context": "app",
            "file": "app/F",
            "target": "t",
            "platform": ["linux/amd64"],
            "build_arg": ["A=1"],
            "label": ["l=1"],
            "pull": True,
            "no_cache": True,
            "cache_from": ["old"],
            "cache_to": ["type=local,dest=c"],
            "ssh": ["default"],
            "iidfile": "i",
        },
        lines=r"""
docker buildx build --builder default --tag registry.example.com/team/app:1 --platform linux/amd64 \
    --file app/F --target t --label l=1 --ssh default --iidfile i --pull --no-cache --build-arg A=1 \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-main-linux-amd64 \
    --cache-from type=registry,ref=old \
    --cache-to type=registry,ref=registry.example.com/team/app:buildcache-main-linux-amd64,mode=max,ignore-error=true \
    --cache-to type=local,dest=c,ignore-error=true --push --debug app
""",
    ),
    # secrets stay out of the command line
    Case(
        id="secret-build-arg",
        asked={"cache": "none", "build_arg": ["NPM_TOKEN=abc123", "VERSION=1", "DB_PASSWORD=a=b", "AUTHOR=me"]},
        lines=r"""
docker buildx build --builder default --build-arg NPM_TOKEN --build-arg VERSION=1 --build-arg DB_PASSWORD \
    --build-arg AUTHOR=me .
""",
    ),
    Case(
        id="secret-build-arg-from-the-environment",
        asked={"cache": "none", "build_arg": ["NPM_TOKEN"]},
        lines=r"""
docker buildx build --builder default --build-arg NPM_TOKEN .
""",
    ),
    Case(
        id="secret-build-arg-after-the-dashes",
        asked={
            "cache": "none",
            "buildx_flags": ("--build-arg", "NPM_TOKEN=abc123", "--build-arg=API_KEY=x", "--build-arg", "V=1"),
        },
        lines=r"""
docker buildx build --builder default --build-arg 'NPM_TOKEN=***' '--build-arg=API_KEY=***' --build-arg V=1 \
    .
""",
    ),
    Case(
        id="credentials-in-a-url",
        asked={
            "cache": "none",
            "build_arg": ["INDEX=https://me:abc123@example.com/simple", "SOURCE=ssh://git@example.com/app.git"],
            "label": ["source=https://me:abc123@example.com/app.git#main"],
        },
        lines=r"""
docker buildx build --builder default --label 'source=https://***@example.com/app.git#main' \
    --build-arg INDEX --build-arg SOURCE=ssh://git@example.com/app.git .
""",
    ),
    Case(
        id="secret-attributes-of-a-cache",
        asked={
            "cache": "none",
            "cache_from": ["type=s3,bucket=b,access_key_id=A,secret_access_key=abc123"],
            "cache_to": ['type=s3,bucket=b,"session_token=abc,123"'],
        },
        lines=r"""
docker buildx build --builder default \
    --cache-from 'type=s3,bucket=b,access_key_id=***,secret_access_key=***' \
    --cache-to 'type=s3,bucket=b,"session_token=***",ignore-error=true' .
""",
    ),
    Case(
        id="secret-driver-option",
        asked={"cache": "none", "driver_opt": ["env.AWS_SECRET_ACCESS_KEY=abc123", "network=host"]},
        lines=r"""
docker buildx create --name buildx-cache-app-1a2b3c4d-229a2f77 --driver docker-container \
    --driver-opt 'env.AWS_SECRET_ACCESS_KEY=***' --driver-opt network=host --bootstrap
docker buildx build --builder buildx-cache-app-1a2b3c4d-229a2f77 .
""",
    ),
    # cache -- kinds, by what becomes of the image
    Case(
        id="local-push",
        asked={"tag": [f"{APP}:1"], "push": True, "cache": "local"},
        facts=CONTAINER,
        lines=r"""
docker buildx build --builder docker-container-builder --tag registry.example.com/team/app:1 \
    --cache-from type=local,src=/cache/app --cache-to type=local,dest=/cache/app,mode=max,ignore-error=true \
    --push .
""",
    ),
    Case(
        id="local-load",
        asked={"tag": [f"{APP}:1"], "load": True, "cache": "local"},
        facts=CONTAINER,
        lines=r"""
docker buildx build --builder docker-container-builder --tag registry.example.com/team/app:1 \
    --cache-from type=local,src=/cache/app --cache-to type=local,dest=/cache/app,mode=max,ignore-error=true \
    --load .
""",
    ),
    Case(
        id="local-kept",
        asked={"tag": [f"{APP}:1"], "cache": "local"},
        facts=CONTAINER,
        lines=r"""
docker buildx build --builder docker-container-builder --tag registry.example.com/team/app:1 \
    --cache-from type=local,src=/cache/app --cache-to type=local,dest=/cache/app,mode=max,ignore-error=true \
    .
""",
    ),
    Case(
        id="registry-push",
        asked={"tag": [f"{APP}:1"], "push": True, "cache": "registry"},
        facts=CONTAINER,
        lines=r"""
docker buildx build --builder docker-container-builder --tag registry.example.com/team/app:1 \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-main \
    --cache-to type=registry,ref=registry.example.com/team/app:buildcache-main,mode=max,ignore-error=true \
    --push .
""",
    ),
    Case(
        id="registry-load",
        asked={"tag": [f"{APP}:1"], "load": True, "cache": "registry"},
        facts=CONTAINER,
        lines=r"""
docker buildx build --builder docker-container-builder --tag registry.example.com/team/app:1 \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-main \
    --cache-to type=registry,ref=registry.example.com/team/app:buildcache-main,mode=max,ignore-error=true \
    --load .
""",
    ),
    Case(
        id="registry-kept",
        asked={"tag": [f"{APP}:1"], "cache": "registry"},
        facts=CONTAINER,
        lines=r"""
docker buildx build --builder docker-container-builder --tag registry.example.com/team/app:1 \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-main \
    --cache-to type=registry,ref=registry.example.com/team/app:buildcache-main,mode=max,ignore-error=true .
""",
    ),
    Case(
        id="inline-push",
        asked={"tag": [f"{APP}:1"], "push": True, "cache": "inline"},
        facts=CONTAINER,
        lines=r"""
docker buildx build --builder docker-container-builder --tag registry.example.com/team/app:1 \
    --tag registry.example.com/team/app:buildcache-main \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-main --cache-to type=inline \
    --push .
""",
    ),
    Case(
        id="inline-load",
        asked={"tag": [f"{APP}:1"], "load": True, "cache": "inline"},
        facts=CONTAINER,
        lines=r"""
docker buildx build --builder docker-container-builder --tag registry.example.com/team/app:1 \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-main --load .
""",
    ),
    Case(
        id="inline-kept",
        asked={"tag": [f"{APP}:1"], "cache": "inline"},
        facts=CONTAINER,
        lines=r"""
docker buildx build --builder docker-container-builder --tag registry.example.com/team/app:1 \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-main .
""",
    ),
    Case(
        id="none-push",
        asked={"tag": [f"{APP}:1"], "push": True, "cache": "none"},
        facts=CONTAINER,
        lines=r"""
docker buildx build --builder docker-container-builder --tag registry.example.com/team/app:1 --push .
""",
    ),
    Case(
        id="none-load",
        asked={"tag": [f"{APP}:1"], "load": True, "cache": "none"},
        facts=CONTAINER,
        lines=r"""
docker buildx build --builder docker-container-builder --tag registry.example.com/team/app:1 --load .
""",
    ),
    Case(
        id="none-kept",
        asked={"tag": [f"{APP}:1"], "cache": "none"},
        facts=CONTAINER,
        lines=r"""
docker buildx build --builder docker-container-builder --tag registry.example.com/team/app:1 .
""",
    ),
    # cache -- auto
    Case(
        id="auto-push-in-ci",
        asked={"tag": [f"{APP}:1"], "push": True},
        ci=CI_BRANCH,
        facts=CONTAINER,
        lines=r"""
docker buildx build --builder docker-container-builder --tag registry.example.com/team/app:1 \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-feature-login-df7c7aeb3560d333 \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-main \
    --cache-to type=registry,ref=registry.example.com/team/app:buildcache-feature-login-df7c7aeb3560d333,mode=max,ignore-error=true \
    --push .
""",
    ),
    Case(
        id="auto-push-without-a-registry",
        asked={"tag": ["app:1"], "push": True},
        facts=CONTAINER,
        lines=r"""
docker buildx build --builder docker-container-builder --tag app:1 --cache-from type=local,src=/cache/app \
    --cache-to type=local,dest=/cache/app,mode=max,ignore-error=true --push .
""",
    ),
    Case(
        id="auto-push-to-a-namespace",
        asked={"tag": ["org/app:1"], "push": True},
        facts=CONTAINER,
        lines=r"""
docker buildx build --builder docker-container-builder --tag org/app:1 \
    --cache-from type=registry,ref=org/app:buildcache-main \
    --cache-to type=registry,ref=org/app:buildcache-main,mode=max,ignore-error=true --push .
""",
    ),
    Case(
        id="push-of-an-output",
        asked={
            "cache": "none",
            "push": True,
            "output": ["type=image,name=registry.example.com/x"],
            "cache_compression": "zstd",
        },
        facts=CONTAINER,
        lines=r"""
docker buildx build --builder docker-container-builder \
    --output type=image,name=registry.example.com/x,push=true,compression=zstd,oci-mediatypes=true .
""",
    ),
    Case(
        id="auto-with-a-reference",
        asked={"tag": ["app:1"], "push": True, "cache_ref": "registry.example.com/cache"},
        facts=CONTAINER,
        lines=r"""
docker buildx build --builder docker-container-builder --tag app:1 \
    --cache-from type=registry,ref=registry.example.com/cache:buildcache-main \
    --cache-to type=registry,ref=registry.example.com/cache:buildcache-main,mode=max,ignore-error=true \
    --push .
""",
    ),
    # cache -- its own options
    Case(
        id="cache-dir",
        asked={"cache_dir": ".cache/a,b"},
        lines=r"""
docker buildx build --builder default --cache-from 'type=local,"src=.cache/a,b"' \
    --cache-to 'type=local,"dest=.cache/a,b",mode=max,ignore-error=true' .
""",
    ),
    Case(
        id="cache-ref",
        asked={"tag": [f"{APP}:1"], "push": True, "cache_ref": "registry.example.com/cache"},
        ci=CI_BRANCH,
        lines=r"""
docker buildx build --builder default --tag registry.example.com/team/app:1 \
    --cache-from type=registry,ref=registry.example.com/cache:buildcache-feature-login-df7c7aeb3560d333 \
    --cache-from type=registry,ref=registry.example.com/cache:buildcache-main \
    --cache-to type=registry,ref=registry.example.com/cache:buildcache-feature-login-df7c7aeb3560d333,mode=max,ignore-error=true \
    --push .
""",
    ),
    Case(
        id="cache-ref-with-a-tag",
        asked={"tag": [f"{APP}:1"], "push": True, "cache_ref": "registry.example.com/cache:shared"},
        ci=CI_BRANCH,
        lines=r"""
docker buildx build --builder default --tag registry.example.com/team/app:1 \
    --cache-from type=registry,ref=registry.example.com/cache:shared \
    --cache-to type=registry,ref=registry.example.com/cache:shared,mode=max,ignore-error=true --push .
""",
    ),
    Case(
        id="cache-ref-of-inline",
        asked={"tag": [f"{APP}:1"], "push": True, "cache": "inline", "cache_ref": "registry.example.com/cache"},
        lines=r"""
docker buildx build --builder default --tag registry.example.com/team/app:1 \
    --tag registry.example.com/cache:buildcache-main \
    --cache-from type=registry,ref=registry.example.com/cache:buildcache-main --cache-to type=inline --push \
    .
""",
    ),
    Case(
        id="cache-scope",
        asked={"tag": [f"{APP}:1"], "push": True, "cache_scope": "Nightly #1"},
        ci=CI_BRANCH,
        lines=r"""
docker buildx build --builder default --tag registry.example.com/team/app:1 \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-Nightly-1-c483fe9b21b07f63 \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-main \
    --cache-to type=registry,ref=registry.example.com/team/app:buildcache-Nightly-1-c483fe9b21b07f63,mode=max,ignore-error=true \
    --push .
""",
    ),
    Case(
        id="cache-mode",
        asked={"cache_mode": "min"},
        lines=r"""
docker buildx build --builder default --cache-from type=local,src=/cache/app \
    --cache-to type=local,dest=/cache/app,mode=min,ignore-error=true .
""",
    ),
    Case(
        id="cache-compression",
        asked={"tag": [f"{APP}:1"], "push": True, "cache_compression": "zstd"},
        lines=r"""
docker buildx build --builder default --tag registry.example.com/team/app:1 \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-main \
    --cache-to type=registry,ref=registry.example.com/team/app:buildcache-main,mode=max,compression=zstd,ignore-error=true \
    --output type=image,push=true,compression=zstd,oci-mediatypes=true .
""",
    ),
    Case(
        id="cache-compression-with-load",
        asked={"tag": ["app"], "load": True, "cache_compression": "estargz"},
        lines=r"""
docker buildx build --builder default --tag app:latest --cache-from type=local,src=/cache/app \
    --cache-to type=local,dest=/cache/app,mode=max,compression=estargz,ignore-error=true --load .
""",
    ),
    Case(
        id="cache-from",
        asked={
            "cache_from": ["registry.example.com/old:cache", "type=local,src=seed", "registry.example.com/old:cache"]
        },
        lines=r"""
docker buildx build --builder default --cache-from type=local,src=/cache/app \
    --cache-from type=registry,ref=registry.example.com/old:cache --cache-from type=local,src=seed \
    --cache-to type=local,dest=/cache/app,mode=max,ignore-error=true .
""",
    ),
    Case(
        id="cache-to",
        asked={"cache_to": ["type=registry,ref=registry.example.com/x:c,mode=min"]},
        lines=r"""
docker buildx build --builder default --cache-from type=local,src=/cache/app \
    --cache-to type=registry,ref=registry.example.com/x:c,mode=min,ignore-error=true \
    --cache-to type=local,dest=/cache/app,mode=max,ignore-error=true .
""",
    ),
    Case(
        id="cache-to-that-may-fail-the-build",
        asked={"cache": "none", "cache_to": ["type=local,dest=c,ignore-error=false", "type=inline"]},
        lines=r"""
docker buildx build --builder default --cache-to type=inline --cache-to type=local,dest=c,ignore-error=false .
""",
    ),
    Case(
        id="cache-to-of-a-strict-call",
        asked={"cache": "none", "cache_to": ["type=local,dest=c"], "strict_cache": True},
        lines=r"""
docker buildx build --builder default --cache-to type=local,dest=c .
""",
    ),
    Case(
        id="cache-from-already-there",
        asked={"tag": [f"{APP}:1"], "push": True, "cache_from": [f"{APP}:buildcache-main"]},
        lines=r"""
docker buildx build --builder default --tag registry.example.com/team/app:1 \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-main \
    --cache-to type=registry,ref=registry.example.com/team/app:buildcache-main,mode=max,ignore-error=true \
    --push .
""",
    ),
    Case(
        id="strict-cache",
        asked={"strict_cache": True},
        lines=r"""
docker buildx build --builder default --cache-from type=local,src=/cache/app \
    --cache-to type=local,dest=/cache/app,mode=max .
""",
    ),
    Case(
        id="read-only",
        asked={"tag": [f"{APP}:1"], "push": True, "cache_read_only": True, "cache_to": ["type=local,dest=c"]},
        lines=r"""
docker buildx build --builder default --tag registry.example.com/team/app:1 \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-main --push .
""",
    ),
    Case(
        id="read-only-inline",
        asked={"tag": [f"{APP}:1"], "push": True, "cache": "inline", "cache_read_only": True},
        lines=r"""
docker buildx build --builder default --tag registry.example.com/team/app:1 \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-main --push .
""",
    ),
    # cache -- scopes
    Case(
        id="scope-of-a-branch",
        asked={"tag": [f"{APP}:1"], "push": True},
        ci=CI_BRANCH,
        lines=r"""
docker buildx build --builder default --tag registry.example.com/team/app:1 \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-feature-login-df7c7aeb3560d333 \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-main \
    --cache-to type=registry,ref=registry.example.com/team/app:buildcache-feature-login-df7c7aeb3560d333,mode=max,ignore-error=true \
    --push .
""",
    ),
    Case(
        id="scope-of-a-pull-request",
        asked={"tag": [f"{APP}:1"], "push": True},
        ci=CI_PULL_REQUEST,
        lines=r"""
docker buildx build --builder default --tag registry.example.com/team/app:1 \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-feature-login-df7c7aeb3560d333 \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-release-2-ad9e2e3861a8a51c \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-main \
    --cache-to type=registry,ref=registry.example.com/team/app:buildcache-feature-login-df7c7aeb3560d333,mode=max,ignore-error=true \
    --push .
""",
    ),
    Case(
        id="scope-of-a-fork",
        asked={"tag": [f"{APP}:1"], "push": True},
        ci=CI_FORK,
        lines=r"""
docker buildx build --builder default --tag registry.example.com/team/app:1 \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-feature-login-df7c7aeb3560d333 \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-release-2-ad9e2e3861a8a51c \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-main --push .
""",
    ),
    Case(
        id="ci-that-tells-neither-branch-nor-tag",
        asked={"tag": [f"{APP}:1"], "push": True, "cache_to": ["type=local,dest=c"]},
        ci=CI_NOWHERE,
        lines=r"""
docker buildx build --builder default --tag registry.example.com/team/app:1 \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-main \
    --cache-to type=local,dest=c,ignore-error=true --push .
""",
    ),
    Case(
        id="ci-that-tells-neither-branch-nor-tag-with-a-scope",
        asked={"tag": [f"{APP}:1"], "push": True, "cache_scope": "nightly"},
        ci=CI_NOWHERE,
        lines=r"""
docker buildx build --builder default --tag registry.example.com/team/app:1 \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-nightly \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-main \
    --cache-to type=registry,ref=registry.example.com/team/app:buildcache-nightly,mode=max,ignore-error=true \
    --push .
""",
    ),
    Case(
        id="fork-that-may-write",
        asked={"tag": [f"{APP}:1"], "push": True, "cache_read_only": False},
        ci=CI_FORK,
        lines=r"""
docker buildx build --builder default --tag registry.example.com/team/app:1 \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-feature-login-df7c7aeb3560d333 \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-release-2-ad9e2e3861a8a51c \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-main \
    --cache-to type=registry,ref=registry.example.com/team/app:buildcache-feature-login-df7c7aeb3560d333,mode=max,ignore-error=true \
    --push .
""",
    ),
    Case(
        id="scope-of-a-tag",
        asked={"tag": [f"{APP}:1"], "push": True},
        ci=CI_TAG,
        lines=r"""
docker buildx build --builder default --tag registry.example.com/team/app:1 \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-main \
    --cache-to type=registry,ref=registry.example.com/team/app:buildcache-main,mode=max,ignore-error=true \
    --push .
""",
    ),
    Case(
        id="scope-of-a-silent-ci",
        asked={"tag": [f"{APP}:1"], "push": True},
        ci=CI_SILENT,
        lines=r"""
docker buildx build --builder default --tag registry.example.com/team/app:1 \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-main --push .
""",
    ),
    Case(
        id="inline-scopes",
        asked={"tag": [f"{APP}:1"], "push": True, "cache": "inline"},
        ci=CI_PULL_REQUEST,
        lines=r"""
docker buildx build --builder default --tag registry.example.com/team/app:1 \
    --tag registry.example.com/team/app:buildcache-feature-login-df7c7aeb3560d333 \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-feature-login-df7c7aeb3560d333 \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-release-2-ad9e2e3861a8a51c \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-main --cache-to type=inline \
    --push .
""",
    ),
    Case(
        id="local-has-one-folder",
        asked={"tag": ["app"]},
        ci=CI_PULL_REQUEST,
        lines=r"""
docker buildx build --builder default --tag app:latest --cache-from type=local,src=/cache/app \
    --cache-to type=local,dest=/cache/app,mode=max,ignore-error=true .
""",
    ),
    # cache -- platforms
    Case(
        id="one-platform-of-several-jobs",
        asked={"tag": [f"{APP}:1"], "push": True, "platform": ["linux/arm64"]},
        ci=CI_BRANCH,
        lines=r"""
docker buildx build --builder default --tag registry.example.com/team/app:1 --platform linux/arm64 \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-feature-login-df7c7aeb3560d333-linux-arm64 \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-main-linux-arm64 \
    --cache-to type=registry,ref=registry.example.com/team/app:buildcache-feature-login-df7c7aeb3560d333-linux-arm64,mode=max,ignore-error=true \
    --push .
""",
    ),
    Case(
        id="one-platform-inline",
        asked={"tag": [f"{APP}:1"], "push": True, "cache": "inline", "platform": ["linux/arm64"]},
        lines=r"""
docker buildx build --builder default --tag registry.example.com/team/app:1 \
    --tag registry.example.com/team/app:buildcache-main-linux-arm64 --platform linux/arm64 \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-main-linux-arm64 \
    --cache-to type=inline --push .
""",
    ),
    Case(
        id="one-platform-local",
        asked={"platform": ["linux/arm64"]},
        lines=r"""
docker buildx build --builder default --platform linux/arm64 --cache-from type=local,src=/cache/app \
    --cache-to type=local,dest=/cache/app,mode=max,ignore-error=true .
""",
    ),
    Case(
        id="platforms-on-one-node",
        asked={"tag": [f"{APP}:1"], "push": True, "platform": ["linux/amd64,linux/arm64"]},
        facts=CONTAINER,
        lines=r"""
docker buildx build --builder docker-container-builder --tag registry.example.com/team/app:1 \
    --platform linux/amd64,linux/arm64 \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-main \
    --cache-to type=registry,ref=registry.example.com/team/app:buildcache-main,mode=max,ignore-error=true \
    --push .
""",
    ),
    Case(
        id="platforms-on-two-nodes",
        asked={
            "tag": [f"{APP}:1"],
            "push": True,
            "platform": ["linux/amd64", "linux/arm64"],
            "target": "t",
            "build_arg": ["A=1", "NPM_TOKEN=abc123"],
            "no_cache": True,
            "file": "F",
        },
        ci=CI_BRANCH,
        facts=REMOTE,
        lines=r"""
docker buildx build --builder remote-builder --tag registry.example.com/team/app:1 \
    --platform linux/amd64,linux/arm64 --file F --target t --no-cache --build-arg A=1 --build-arg NPM_TOKEN \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-feature-login-df7c7aeb3560d333-linux-amd64 \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-main-linux-amd64 \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-feature-login-df7c7aeb3560d333-linux-arm64 \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-main-linux-arm64 --push .
docker buildx build --builder remote-builder --platform linux/amd64 --file F --target t --build-arg A=1 \
    --build-arg NPM_TOKEN \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-feature-login-df7c7aeb3560d333-linux-amd64 \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-main-linux-amd64 \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-feature-login-df7c7aeb3560d333-linux-arm64 \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-main-linux-arm64 \
    --cache-to type=registry,ref=registry.example.com/team/app:buildcache-feature-login-df7c7aeb3560d333-linux-amd64,mode=max,ignore-error=true \
    --output type=cacheonly .
docker buildx build --builder remote-builder --platform linux/arm64 --file F --target t --build-arg A=1 \
    --build-arg NPM_TOKEN \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-feature-login-df7c7aeb3560d333-linux-amd64 \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-main-linux-amd64 \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-feature-login-df7c7aeb3560d333-linux-arm64 \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-main-linux-arm64 \
    --cache-to type=registry,ref=registry.example.com/team/app:buildcache-feature-login-df7c7aeb3560d333-linux-arm64,mode=max,ignore-error=true \
    --output type=cacheonly .
""",
    ),
    Case(
        id="platforms-on-two-nodes-local",
        asked={"platform": ["linux/amd64", "linux/arm64"], "cache": "local"},
        facts=REMOTE,
        lines=r"""
docker buildx build --builder remote-builder --platform linux/amd64,linux/arm64 \
    --cache-from type=local,src=/cache/app/linux-amd64 --cache-from type=local,src=/cache/app/linux-arm64 .
docker buildx build --builder remote-builder --platform linux/amd64 \
    --cache-from type=local,src=/cache/app/linux-amd64 --cache-from type=local,src=/cache/app/linux-arm64 \
    --cache-to type=local,dest=/cache/app/linux-amd64,mode=max,ignore-error=true --output type=cacheonly .
docker buildx build --builder remote-builder --platform linux/arm64 \
    --cache-from type=local,src=/cache/app/linux-amd64 --cache-from type=local,src=/cache/app/linux-arm64 \
    --cache-to type=local,dest=/cache/app/linux-arm64,mode=max,ignore-error=true --output type=cacheonly .
""",
    ),
    Case(
        id="platforms-on-two-nodes-inline",
        asked={"tag": [f"{APP}:1"], "push": True, "platform": ["linux/amd64", "linux/arm64"], "cache": "inline"},
        facts=REMOTE,
        lines=r"""
docker buildx build --builder remote-builder --tag registry.example.com/team/app:1 \
    --tag registry.example.com/team/app:buildcache-main --platform linux/amd64,linux/arm64 \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-main --cache-to type=inline \
    --push .
""",
    ),
    Case(
        id="platforms-on-two-nodes-read-only",
        asked={"tag": [f"{APP}:1"], "push": True, "platform": ["linux/amd64", "linux/arm64"]},
        ci=CI_FORK,
        facts=REMOTE,
        lines=r"""
docker buildx build --builder remote-builder --tag registry.example.com/team/app:1 \
    --platform linux/amd64,linux/arm64 \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-feature-login-df7c7aeb3560d333-linux-amd64 \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-release-2-ad9e2e3861a8a51c-linux-amd64 \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-main-linux-amd64 \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-feature-login-df7c7aeb3560d333-linux-arm64 \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-release-2-ad9e2e3861a8a51c-linux-arm64 \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-main-linux-arm64 --push .
""",
    ),
    Case(
        id="platforms-on-two-nodes-and-more",
        asked={
            "tag": [f"{APP}:1"],
            "push": True,
            "platform": ["linux/amd64", "linux/arm64"],
            "cache_to": ["type=local,dest=c"],
        },
        facts=REMOTE,
        lines=r"""
docker buildx build --builder remote-builder --tag registry.example.com/team/app:1 \
    --platform linux/amd64,linux/arm64 \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-main-linux-amd64 \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-main-linux-arm64 \
    --cache-to type=local,dest=c,ignore-error=true --push .
docker buildx build --builder remote-builder --platform linux/amd64 \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-main-linux-amd64 \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-main-linux-arm64 \
    --cache-to type=registry,ref=registry.example.com/team/app:buildcache-main-linux-amd64,mode=max,ignore-error=true \
    --output type=cacheonly .
docker buildx build --builder remote-builder --platform linux/arm64 \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-main-linux-amd64 \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-main-linux-arm64 \
    --cache-to type=registry,ref=registry.example.com/team/app:buildcache-main-linux-arm64,mode=max,ignore-error=true \
    --output type=cacheonly .
""",
    ),
    # cache -- what an older BuildKit needs
    Case(
        id="registry-of-an-old-buildkit",
        asked={"tag": [f"{APP}:1"], "push": True},
        facts=CONTAINER_OLD,
        lines=r"""
docker buildx build --builder docker-container-builder --tag registry.example.com/team/app:1 \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-main \
    --cache-to type=registry,ref=registry.example.com/team/app:buildcache-main,image-manifest=true,oci-mediatypes=true,mode=max,ignore-error=true \
    --push .
""",
    ),
    Case(
        id="registry-of-an-unknown-buildkit",
        asked={"tag": [f"{APP}:1"], "push": True},
        facts=CLASSIC,
        lines=r"""
docker buildx create --name buildx-cache-app-1a2b3c4d-0859c8cb --driver docker-container --bootstrap
docker buildx build --builder buildx-cache-app-1a2b3c4d-0859c8cb --tag registry.example.com/team/app:1 \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-main \
    --cache-to type=registry,ref=registry.example.com/team/app:buildcache-main,image-manifest=true,oci-mediatypes=true,mode=max,ignore-error=true \
    --push .
""",
    ),
    # builder -- the one that is there
    Case(
        id="remote-in-use",
        asked={"tag": [f"{APP}:1"], "push": True},
        facts=REMOTE,
        lines=r"""
docker buildx build --builder remote-builder --tag registry.example.com/team/app:1 \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-main \
    --cache-to type=registry,ref=registry.example.com/team/app:buildcache-main,mode=max,ignore-error=true \
    --push .
""",
    ),
    Case(
        id="kubernetes-in-use",
        asked={"tag": [f"{APP}:1"], "push": True},
        facts=KUBERNETES,
        lines=r"""
docker buildx build --builder kubernetes-builder --tag registry.example.com/team/app:1 \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-main \
    --cache-to type=registry,ref=registry.example.com/team/app:buildcache-main,mode=max,ignore-error=true \
    --push .
""",
    ),
    Case(
        id="stopped-one-is-booted",
        asked={"tag": [f"{APP}:1"], "push": True},
        facts=CONTAINER_STOPPED,
        lines=r"""
docker buildx inspect --bootstrap docker-container-builder
docker buildx build --builder docker-container-builder --tag registry.example.com/team/app:1 \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-main \
    --cache-to type=registry,ref=registry.example.com/team/app:buildcache-main,mode=max,ignore-error=true \
    --push .
""",
    ),
    Case(
        id="named",
        asked={"builder": "docker-container-builder", "cache": "local"},
        facts=CONTAINER,
        lines=r"""
docker buildx build --builder docker-container-builder --cache-from type=local,src=/cache/app \
    --cache-to type=local,dest=/cache/app,mode=max,ignore-error=true .
""",
    ),
    Case(
        id="named-and-stopped",
        asked={"builder": "docker-container-builder", "cache": "local"},
        facts=CONTAINER_STOPPED,
        lines=r"""
docker buildx inspect --bootstrap docker-container-builder
docker buildx build --builder docker-container-builder --cache-from type=local,src=/cache/app \
    --cache-to type=local,dest=/cache/app,mode=max,ignore-error=true .
""",
    ),
    Case(
        id="named-engine-builder-keeps-what-it-can-pushed",
        asked={"tag": [f"{APP}:1"], "push": True, "builder": "default"},
        facts=CLASSIC,
        lines=r"""
docker buildx build --builder default --tag registry.example.com/team/app:1 \
    --tag registry.example.com/team/app:buildcache-main \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-main --cache-to type=inline \
    --push .
""",
    ),
    Case(
        id="named-engine-builder-keeps-what-it-can-loaded",
        asked={"tag": ["app"], "load": True, "builder": "default"},
        facts=CLASSIC,
        lines=r"""
docker buildx build --builder default --tag app:latest --load .
""",
    ),
    Case(
        id="driver-docker-on-classic",
        asked={"tag": [f"{APP}:1"], "push": True, "driver": "docker"},
        facts=CONTAINER,
        lines=r"""
docker buildx build --builder default --tag registry.example.com/team/app:1 \
    --tag registry.example.com/team/app:buildcache-main \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-main --cache-to type=inline \
    --push .
""",
    ),
    Case(
        id="driver-docker-on-classic-loaded",
        asked={"tag": ["app"], "load": True, "driver": "docker"},
        facts=CONTAINER,
        lines=r"""
docker buildx build --builder default --tag app:latest --load .
""",
    ),
    Case(
        id="driver-docker-on-containerd",
        asked={"tag": [f"{APP}:1"], "push": True, "driver": "docker"},
        lines=r"""
docker buildx build --builder default --tag registry.example.com/team/app:1 \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-main \
    --cache-to type=registry,ref=registry.example.com/team/app:buildcache-main,mode=max,ignore-error=true \
    --push .
""",
    ),
    Case(
        id="driver-docker-inline",
        asked={"tag": [f"{APP}:1"], "push": True, "driver": "docker", "cache": "inline"},
        facts=CLASSIC,
        lines=r"""
docker buildx build --builder default --tag registry.example.com/team/app:1 \
    --tag registry.example.com/team/app:buildcache-main \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-main --cache-to type=inline \
    --push .
""",
    ),
    # builder -- the project's own
    Case(
        id="classic-store-makes-one",
        asked={"tag": [f"{APP}:1"], "push": True},
        facts=CLASSIC,
        lines=r"""
docker buildx create --name buildx-cache-app-1a2b3c4d-0859c8cb --driver docker-container --bootstrap
docker buildx build --builder buildx-cache-app-1a2b3c4d-0859c8cb --tag registry.example.com/team/app:1 \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-main \
    --cache-to type=registry,ref=registry.example.com/team/app:buildcache-main,image-manifest=true,oci-mediatypes=true,mode=max,ignore-error=true \
    --push .
""",
    ),
    Case(
        id="classic-store-without-cache-makes-none",
        asked={"tag": ["app"], "load": True, "cache": "none"},
        facts=CLASSIC,
        lines=r"""
docker buildx build --builder default --tag app:latest --load .
""",
    ),
    Case(
        id="classic-store-inline-makes-none",
        asked={"tag": [f"{APP}:1"], "push": True, "cache": "inline"},
        facts=CLASSIC,
        lines=r"""
docker buildx build --builder default --tag registry.example.com/team/app:1 \
    --tag registry.example.com/team/app:buildcache-main \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-main --cache-to type=inline \
    --push .
""",
    ),
    Case(
        id="classic-store-several-platforms",
        asked={"tag": [f"{APP}:1"], "push": True, "cache": "none", "platform": ["linux/amd64", "linux/arm64"]},
        facts=CLASSIC,
        lines=r"""
docker buildx create --name buildx-cache-app-1a2b3c4d-0859c8cb --driver docker-container --bootstrap
docker buildx build --builder buildx-cache-app-1a2b3c4d-0859c8cb --tag registry.example.com/team/app:1 \
    --platform linux/amd64,linux/arm64 --push .
""",
    ),
    Case(
        id="classic-store-attestations",
        asked={"tag": [f"{APP}:1"], "push": True, "cache": "none", "sbom": "true"},
        facts=CLASSIC,
        lines=r"""
docker buildx create --name buildx-cache-app-1a2b3c4d-0859c8cb --driver docker-container --bootstrap
docker buildx build --builder buildx-cache-app-1a2b3c4d-0859c8cb --tag registry.example.com/team/app:1 \
    --sbom true --push .
""",
    ),
    Case(
        id="classic-store-refused-attestations",
        asked={"tag": [f"{APP}:1"], "push": True, "cache": "none", "sbom": "false", "provenance": "false"},
        facts=CLASSIC,
        lines=r"""
docker buildx build --builder default --tag registry.example.com/team/app:1 --provenance false --sbom false \
    --push .
""",
    ),
    Case(
        id="classic-store-two-outputs",
        asked={"tag": [f"{APP}:1"], "push": True, "cache": "none", "output": ["type=local,dest=o"]},
        facts=CLASSIC,
        lines=r"""
docker buildx create --name buildx-cache-app-1a2b3c4d-0859c8cb --driver docker-container --bootstrap
docker buildx build --builder buildx-cache-app-1a2b3c4d-0859c8cb --tag registry.example.com/team/app:1 \
    --output type=local,dest=o --output type=image,push=true .
""",
    ),
    Case(
        id="no-builder-at-all",
        asked={},
        facts=NO_BUILDER,
        lines=r"""
docker buildx create --name buildx-cache-app-1a2b3c4d-0859c8cb --driver docker-container --bootstrap
docker buildx build --builder buildx-cache-app-1a2b3c4d-0859c8cb --cache-from type=local,src=/cache/app \
    --cache-to type=local,dest=/cache/app,mode=max,ignore-error=true .
""",
    ),
    Case(
        id="own-one-running",
        asked={"tag": [f"{APP}:1"], "push": True},
        facts=OWN_RUNNING,
        lines=r"""
docker buildx build --builder buildx-cache-app-1a2b3c4d-0859c8cb --tag registry.example.com/team/app:1 \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-main \
    --cache-to type=registry,ref=registry.example.com/team/app:buildcache-main,mode=max,ignore-error=true \
    --push .
""",
    ),
    Case(
        id="own-one-stopped",
        asked={"tag": [f"{APP}:1"], "push": True},
        facts=OWN_STOPPED,
        lines=r"""
docker buildx inspect --bootstrap buildx-cache-app-1a2b3c4d-0859c8cb
docker buildx build --builder buildx-cache-app-1a2b3c4d-0859c8cb --tag registry.example.com/team/app:1 \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-main \
    --cache-to type=registry,ref=registry.example.com/team/app:buildcache-main,mode=max,ignore-error=true \
    --push .
""",
    ),
    Case(
        id="driver",
        asked={"cache": "none", "driver": "docker-container"},
        lines=r"""
docker buildx create --name buildx-cache-app-1a2b3c4d-0859c8cb --driver docker-container --bootstrap
docker buildx build --builder buildx-cache-app-1a2b3c4d-0859c8cb .
""",
    ),
    Case(
        id="driver-opt",
        asked={"cache": "none", "driver_opt": ["network=host", '"env.no_proxy=a,b"']},
        lines=r"""
docker buildx create --name buildx-cache-app-1a2b3c4d-f27c4cb3 --driver docker-container \
    --driver-opt network=host --driver-opt '"env.no_proxy=a,b"' --bootstrap
docker buildx build --builder buildx-cache-app-1a2b3c4d-f27c4cb3 .
""",
    ),
    Case(
        id="buildkit-image",
        asked={"cache": "none", "buildkit_image": "registry.example.com/buildkit:1"},
        lines=r"""
docker buildx create --name buildx-cache-app-1a2b3c4d-0c6946fa --driver docker-container \
    --driver-opt image=registry.example.com/buildkit:1 --bootstrap
docker buildx build --builder buildx-cache-app-1a2b3c4d-0c6946fa .
""",
    ),
    Case(
        id="buildkitd-config",
        asked={"cache": "none", "buildkitd_config": "buildkitd.toml"},
        lines=r"""
docker buildx create --name buildx-cache-app-1a2b3c4d-58f582c4 --driver docker-container \
    --buildkitd-config buildkitd.toml --bootstrap
docker buildx build --builder buildx-cache-app-1a2b3c4d-58f582c4 .
""",
    ),
    Case(
        id="buildkitd-config-old-buildx",
        asked={"cache": "none", "buildkitd_config": "buildkitd.toml"},
        facts=replace(BUILDX_0_13, own_builder=None),
        lines=r"""
docker buildx create --name buildx-cache-app-1a2b3c4d-58f582c4 --driver docker-container \
    --config buildkitd.toml --bootstrap
docker buildx build --builder buildx-cache-app-1a2b3c4d-58f582c4 .
""",
    ),
    Case(
        id="buildkitd-flags",
        asked={"cache": "none", "buildkitd_flags": "--debug --oci-worker=true"},
        lines=r"""
docker buildx create --name buildx-cache-app-1a2b3c4d-f739bdb1 --driver docker-container \
    --buildkitd-flags '--debug --oci-worker=true' --bootstrap
docker buildx build --builder buildx-cache-app-1a2b3c4d-f739bdb1 .
""",
    ),
    Case(
        id="rm-builder",
        asked={"tag": [f"{APP}:1"], "push": True, "rm_builder": True},
        ci=CI_MAIN,
        lines=r"""
docker buildx create --name buildx-cache-app-1a2b3c4d-0859c8cb --driver docker-container --bootstrap
docker buildx build --builder buildx-cache-app-1a2b3c4d-0859c8cb --tag registry.example.com/team/app:1 \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-main \
    --cache-to type=registry,ref=registry.example.com/team/app:buildcache-main,image-manifest=true,oci-mediatypes=true,mode=max,ignore-error=true \
    --push .
docker buildx rm buildx-cache-app-1a2b3c4d-0859c8cb
""",
    ),
    Case(
        id="rm-builder-that-was-there",
        asked={"cache": "none", "rm_builder": True},
        facts=OWN_RUNNING,
        lines=r"""
docker buildx build --builder buildx-cache-app-1a2b3c4d-0859c8cb .
docker buildx rm buildx-cache-app-1a2b3c4d-0859c8cb
""",
    ),
    # builder -- fleets
    Case(
        id="remote",
        asked={
            "cache": "none",
            "driver": "remote",
            "endpoint": ["tcp://a:1234,cacert=ca.pem,cert=c.pem,key=k.pem,servername=a"],
        },
        lines=r"""
docker buildx create --name buildx-cache-app-1a2b3c4d-5666032c --driver remote --driver-opt cacert=ca.pem \
    --driver-opt cert=c.pem --driver-opt key=k.pem --driver-opt servername=a --bootstrap tcp://a:1234
docker buildx build --builder buildx-cache-app-1a2b3c4d-5666032c .
""",
    ),
    Case(
        id="remote-nodes",
        asked={
            "tag": [f"{APP}:1"],
            "push": True,
            "driver": "remote",
            "endpoint": ["tcp://a:1,platform=linux/amd64,name=one", "tcp://b:1,platform=linux/arm64,name=two"],
            "platform": ["linux/amd64", "linux/arm64"],
        },
        ci=CI_MAIN,
        lines=r"""
docker buildx create --name buildx-cache-app-1a2b3c4d-216c5eda --driver remote --node one \
    --platform linux/amd64 tcp://a:1
docker buildx create --name buildx-cache-app-1a2b3c4d-216c5eda --append --node two --platform linux/arm64 \
    --bootstrap tcp://b:1
docker buildx build --builder buildx-cache-app-1a2b3c4d-216c5eda --tag registry.example.com/team/app:1 \
    --platform linux/amd64,linux/arm64 \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-main-linux-amd64 \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-main-linux-arm64 --push .
docker buildx build --builder buildx-cache-app-1a2b3c4d-216c5eda --platform linux/amd64 \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-main-linux-amd64 \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-main-linux-arm64 \
    --cache-to type=registry,ref=registry.example.com/team/app:buildcache-main-linux-amd64,image-manifest=true,oci-mediatypes=true,mode=max,ignore-error=true \
    --output type=cacheonly .
docker buildx build --builder buildx-cache-app-1a2b3c4d-216c5eda --platform linux/arm64 \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-main-linux-amd64 \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-main-linux-arm64 \
    --cache-to type=registry,ref=registry.example.com/team/app:buildcache-main-linux-arm64,image-manifest=true,oci-mediatypes=true,mode=max,ignore-error=true \
    --output type=cacheonly .
docker buildx prune --builder buildx-cache-app-1a2b3c4d-216c5eda --force --filter until=168h
""",
    ),
    Case(
        id="remote-nodes-with-tls",
        asked={
            "cache": "none",
            "driver": "remote",
            "endpoint": ['tcp://a:1,"cacert=my,ca.pem"', "tcp://b:1"],
            "driver_opt": ["default-load=true"],
        },
        lines=r"""
docker buildx create --name buildx-cache-app-1a2b3c4d-46b6bca0 --driver remote \
    --driver-opt default-load=true --driver-opt '"cacert=my,ca.pem"' tcp://a:1
docker buildx create --name buildx-cache-app-1a2b3c4d-46b6bca0 --append --driver-opt default-load=true \
    --bootstrap tcp://b:1
docker buildx build --builder buildx-cache-app-1a2b3c4d-46b6bca0 .
""",
    ),
    Case(
        id="container-nodes",
        asked={
            "cache": "none",
            "driver": "docker-container",
            "endpoint": ["ssh-a,platform=linux/amd64", "ssh-b,platform=linux/arm64"],
        },
        lines=r"""
docker buildx create --name buildx-cache-app-1a2b3c4d-ab010e9a --driver docker-container \
    --platform linux/amd64 ssh-a
docker buildx create --name buildx-cache-app-1a2b3c4d-ab010e9a --append --platform linux/arm64 --bootstrap \
    ssh-b
docker buildx build --builder buildx-cache-app-1a2b3c4d-ab010e9a .
""",
    ),
    Case(
        id="kubernetes",
        asked={
            "cache": "none",
            "driver": "kubernetes",
            "driver_opt": ["namespace=ci", "replicas=2"],
            "buildkit_image": "registry.example.com/buildkit:1",
        },
        lines=r"""
docker buildx create --name buildx-cache-app-1a2b3c4d-d7da8d8b --driver kubernetes \
    --driver-opt image=registry.example.com/buildkit:1 --driver-opt namespace=ci --driver-opt replicas=2 \
    --bootstrap
docker buildx build --builder buildx-cache-app-1a2b3c4d-d7da8d8b .
""",
    ),
    Case(
        id="kubernetes-in-a-context",
        asked={"cache": "none", "driver": "kubernetes", "docker_context": "elsewhere"},
        lines=r"""
docker --context elsewhere buildx create --name buildx-cache-app-1a2b3c4d-e6636e1a --driver kubernetes \
    --bootstrap
docker --context elsewhere buildx build --builder buildx-cache-app-1a2b3c4d-e6636e1a .
""",
    ),
    Case(
        id="kubernetes-nodes",
        asked={
            "cache": "none",
            "driver": "kubernetes",
            "endpoint": ["a,name=one,platform=linux/amd64", "b,name=two,platform=linux/arm64"],
        },
        lines=r"""
docker buildx create --name buildx-cache-app-1a2b3c4d-7c6a26a0 --driver kubernetes --node one \
    --platform linux/amd64
docker buildx create --name buildx-cache-app-1a2b3c4d-7c6a26a0 --append --node two --platform linux/arm64 \
    --bootstrap
docker buildx build --builder buildx-cache-app-1a2b3c4d-7c6a26a0 .
""",
    ),
    # Docker contexts
    Case(
        id="docker-context",
        asked={"cache": "none", "docker_context": "elsewhere"},
        facts=ELSEWHERE,
        lines=r"""
docker --context elsewhere buildx build --builder elsewhere .
""",
    ),
    Case(
        id="docker-context-with-a-builder",
        asked={
            "tag": [f"{APP}:1"],
            "push": True,
            "docker_context": "elsewhere",
            "rm_builder": True,
            "username": "me",
            "password_env": "P",
        },
        facts=replace(ELSEWHERE, store=Store.CLASSIC),
        lines=r"""
docker --context elsewhere buildx create --name buildx-cache-app-1a2b3c4d-5c23e4da --driver docker-container \
    --bootstrap elsewhere
docker --context elsewhere login --username me --password-stdin registry.example.com
docker --context elsewhere buildx build --builder buildx-cache-app-1a2b3c4d-5c23e4da \
    --tag registry.example.com/team/app:1 \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-main \
    --cache-to type=registry,ref=registry.example.com/team/app:buildcache-main,image-manifest=true,oci-mediatypes=true,mode=max,ignore-error=true \
    --push .
docker --context elsewhere buildx rm buildx-cache-app-1a2b3c4d-5c23e4da
""",
    ),
    Case(
        id="tls-from-the-environment",
        asked={"tag": [f"{APP}:1"], "push": True},
        ci=CI_MAIN,
        facts=TLS,
        lines=r"""
docker context create buildx-cache-b4867651 \
    --docker host=tcp://10.0.0.5:2376,ca=/certs/ca.pem,cert=/certs/cert.pem,key=/certs/key.pem \
    --description 'made by buildx-cache'
docker buildx create --name buildx-cache-app-1a2b3c4d-baaba426 --driver docker-container --bootstrap \
    buildx-cache-b4867651
docker buildx build --builder buildx-cache-app-1a2b3c4d-baaba426 --tag registry.example.com/team/app:1 \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-main \
    --cache-to type=registry,ref=registry.example.com/team/app:buildcache-main,image-manifest=true,oci-mediatypes=true,mode=max,ignore-error=true \
    --push .
docker buildx prune --builder buildx-cache-app-1a2b3c4d-baaba426 --force --filter until=168h
""",
    ),
    Case(
        id="tls-unverified",
        asked={"tag": [f"{APP}:1"], "push": True},
        facts=TLS_UNVERIFIED,
        lines=r"""
docker context create buildx-cache-10db213c \
    --docker 'host=tcp://10.0.0.5:2376,"ca=/certs, mine/ca.pem","cert=/certs, mine/cert.pem","key=/certs, mine/key.pem",skip-tls-verify=true' \
    --description 'made by buildx-cache'
docker buildx create --name buildx-cache-app-1a2b3c4d-baaba426 --driver docker-container --bootstrap \
    buildx-cache-10db213c
docker buildx build --builder buildx-cache-app-1a2b3c4d-baaba426 --tag registry.example.com/team/app:1 \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-main \
    --cache-to type=registry,ref=registry.example.com/team/app:buildcache-main,image-manifest=true,oci-mediatypes=true,mode=max,ignore-error=true \
    --push .
""",
    ),
    Case(
        id="tls-and-rm-builder",
        asked={"tag": [f"{APP}:1"], "push": True, "rm_builder": True},
        facts=TLS,
        lines=r"""
docker context create buildx-cache-app-1a2b3c4d-baaba426-b4867651 \
    --docker host=tcp://10.0.0.5:2376,ca=/certs/ca.pem,cert=/certs/cert.pem,key=/certs/key.pem \
    --description 'made by buildx-cache'
docker buildx create --name buildx-cache-app-1a2b3c4d-baaba426 --driver docker-container --bootstrap \
    buildx-cache-app-1a2b3c4d-baaba426-b4867651
docker buildx build --builder buildx-cache-app-1a2b3c4d-baaba426 --tag registry.example.com/team/app:1 \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-main \
    --cache-to type=registry,ref=registry.example.com/team/app:buildcache-main,image-manifest=true,oci-mediatypes=true,mode=max,ignore-error=true \
    --push .
docker buildx rm buildx-cache-app-1a2b3c4d-baaba426
docker context rm --force buildx-cache-app-1a2b3c4d-baaba426-b4867651
""",
    ),
    Case(
        id="tls-and-rm-builder-after-a-killed-call",
        asked={"tag": [f"{APP}:1"], "push": True, "rm_builder": True},
        facts=replace(TLS, contexts=("buildx-cache-app-1a2b3c4d-baaba426-b4867651",)),
        lines=r"""
docker buildx create --name buildx-cache-app-1a2b3c4d-baaba426 --driver docker-container --bootstrap \
    buildx-cache-app-1a2b3c4d-baaba426-b4867651
docker buildx build --builder buildx-cache-app-1a2b3c4d-baaba426 --tag registry.example.com/team/app:1 \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-main \
    --cache-to type=registry,ref=registry.example.com/team/app:buildcache-main,image-manifest=true,oci-mediatypes=true,mode=max,ignore-error=true \
    --push .
docker buildx rm buildx-cache-app-1a2b3c4d-baaba426
docker context rm --force buildx-cache-app-1a2b3c4d-baaba426-b4867651
""",
    ),
    Case(
        id="tls-context-there-already",
        asked={"tag": [f"{APP}:1"], "push": True},
        facts=replace(TLS, contexts=("default", TLS_CONTEXT)),
        lines=r"""
docker buildx create --name buildx-cache-app-1a2b3c4d-baaba426 --driver docker-container --bootstrap \
    buildx-cache-b4867651
docker buildx build --builder buildx-cache-app-1a2b3c4d-baaba426 --tag registry.example.com/team/app:1 \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-main \
    --cache-to type=registry,ref=registry.example.com/team/app:buildcache-main,image-manifest=true,oci-mediatypes=true,mode=max,ignore-error=true \
    --push .
""",
    ),
    Case(
        id="tls-and-own-builder-there",
        asked={"tag": [f"{APP}:1"], "push": True},
        facts=replace(TLS, own_builder=builder("docker-container")),
        lines=r"""
docker buildx build --builder buildx-cache-app-1a2b3c4d-baaba426 --tag registry.example.com/team/app:1 \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-main \
    --cache-to type=registry,ref=registry.example.com/team/app:buildcache-main,mode=max,ignore-error=true \
    --push .
""",
    ),
    Case(
        id="tls-but-a-named-context",
        asked={"tag": [f"{APP}:1"], "push": True},
        facts=TLS_NAMED,
        lines=r"""
docker buildx create --name buildx-cache-app-1a2b3c4d-d6fc1dd3 --driver docker-container --bootstrap
docker buildx build --builder buildx-cache-app-1a2b3c4d-d6fc1dd3 --tag registry.example.com/team/app:1 \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-main \
    --cache-to type=registry,ref=registry.example.com/team/app:buildcache-main,image-manifest=true,oci-mediatypes=true,mode=max,ignore-error=true \
    --push .
""",
    ),
    Case(
        id="tls-without-a-new-builder",
        asked={"tag": ["app"], "load": True, "cache": "none"},
        facts=TLS,
        lines=r"""
docker buildx build --builder default --tag app:latest --load .
""",
    ),
    Case(
        id="tls-and-kubernetes",
        asked={"cache": "none", "driver": "kubernetes"},
        facts=TLS,
        lines=r"""
docker buildx create --name buildx-cache-app-1a2b3c4d-6223bb24 --driver kubernetes --bootstrap
docker buildx build --builder buildx-cache-app-1a2b3c4d-6223bb24 .
""",
    ),
    Case(
        id="tls-and-remote",
        asked={"cache": "none", "driver": "remote", "endpoint": ["tcp://a:1"]},
        facts=TLS,
        lines=r"""
docker buildx create --name buildx-cache-app-1a2b3c4d-753a2ce8 --driver remote --bootstrap tcp://a:1
docker buildx build --builder buildx-cache-app-1a2b3c4d-753a2ce8 .
""",
    ),
    # login
    Case(
        id="login-where-the-tag-goes",
        asked={"tag": [f"{APP}:1"], "push": True, "cache": "none", "username": "me", "password_env": "PASSWORD"},
        lines=r"""
docker login --username me --password-stdin registry.example.com
docker buildx build --builder default --tag registry.example.com/team/app:1 --push .
""",
    ),
    Case(
        id="login-by-stdin",
        asked={"tag": [f"{APP}:1"], "push": True, "cache": "none", "username": "me", "password_stdin": True},
        lines=r"""
docker login --username me --password-stdin registry.example.com
docker buildx build --builder default --tag registry.example.com/team/app:1 --push .
""",
    ),
    Case(
        id="login-elsewhere",
        asked={
            "tag": [f"{APP}:1"],
            "push": True,
            "cache": "none",
            "registry": "other.example.com",
            "username": "me",
            "password_env": "P",
        },
        lines=r"""
docker login --username me --password-stdin other.example.com
docker buildx build --builder default --tag registry.example.com/team/app:1 --push .
""",
    ),
    Case(
        id="login-to-the-default-registry",
        asked={"tag": ["org/app"], "push": True, "cache": "none", "username": "me", "password_env": "P"},
        lines=r"""
docker login --username me --password-stdin
docker buildx build --builder default --tag org/app:latest --push .
""",
    ),
    Case(
        id="login-for-the-cache",
        asked={"cache": "registry", "cache_ref": "registry.example.com/c", "username": "me", "password_env": "P"},
        lines=r"""
docker login --username me --password-stdin registry.example.com
docker buildx build --builder default --cache-from type=registry,ref=registry.example.com/c:buildcache-main \
    --cache-to type=registry,ref=registry.example.com/c:buildcache-main,mode=max,ignore-error=true .
""",
    ),
    # prune
    Case(
        id="pruned-in-ci",
        asked={"tag": [f"{APP}:1"], "push": True},
        ci=CI_MAIN,
        facts=OWN_RUNNING,
        lines=r"""
docker buildx build --builder buildx-cache-app-1a2b3c4d-0859c8cb --tag registry.example.com/team/app:1 \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-main \
    --cache-to type=registry,ref=registry.example.com/team/app:buildcache-main,mode=max,ignore-error=true \
    --push .
docker buildx prune --builder buildx-cache-app-1a2b3c4d-0859c8cb --force --filter until=168h
""",
    ),
    Case(
        id="not-pruned-on-a-laptop",
        asked={"tag": [f"{APP}:1"], "push": True},
        facts=OWN_RUNNING,
        lines=r"""
docker buildx build --builder buildx-cache-app-1a2b3c4d-0859c8cb --tag registry.example.com/team/app:1 \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-main \
    --cache-to type=registry,ref=registry.example.com/team/app:buildcache-main,mode=max,ignore-error=true \
    --push .
""",
    ),
    Case(
        id="not-pruned-in-ci-when-not-ours",
        asked={"tag": [f"{APP}:1"], "push": True},
        ci=CI_MAIN,
        facts=CONTAINER,
        lines=r"""
docker buildx build --builder docker-container-builder --tag registry.example.com/team/app:1 \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-main \
    --cache-to type=registry,ref=registry.example.com/team/app:buildcache-main,mode=max,ignore-error=true \
    --push .
""",
    ),
    Case(
        id="not-pruned-when-refused",
        asked={"tag": [f"{APP}:1"], "push": True, "prune": False},
        ci=CI_MAIN,
        facts=OWN_RUNNING,
        lines=r"""
docker buildx build --builder buildx-cache-app-1a2b3c4d-0859c8cb --tag registry.example.com/team/app:1 \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-main \
    --cache-to type=registry,ref=registry.example.com/team/app:buildcache-main,mode=max,ignore-error=true \
    --push .
""",
    ),
    Case(
        id="pruned-when-asked",
        asked={"tag": [f"{APP}:1"], "push": True, "prune": True},
        facts=CONTAINER,
        lines=r"""
docker buildx build --builder docker-container-builder --tag registry.example.com/team/app:1 \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-main \
    --cache-to type=registry,ref=registry.example.com/team/app:buildcache-main,mode=max,ignore-error=true \
    --push .
docker buildx prune --builder docker-container-builder --force --filter until=168h
""",
    ),
    Case(
        id="prune-by-size",
        asked={"cache": "none", "prune": True, "prune_keep": "10GB"},
        facts=CONTAINER,
        lines=r"""
docker buildx build --builder docker-container-builder .
docker buildx prune --builder docker-container-builder --force --max-used-space 10GB
""",
    ),
    Case(
        id="prune-by-age",
        asked={"cache": "none", "prune": True, "prune_older_than": "3d"},
        facts=CONTAINER,
        lines=r"""
docker buildx build --builder docker-container-builder .
docker buildx prune --builder docker-container-builder --force --filter until=72h
""",
    ),
    Case(
        id="prune-by-both",
        asked={"cache": "none", "prune": True, "prune_older_than": "90m", "prune_keep": "512MB"},
        facts=CONTAINER,
        lines=r"""
docker buildx build --builder docker-container-builder .
docker buildx prune --builder docker-container-builder --force --max-used-space 512MB --filter until=90m
""",
    ),
    Case(
        id="prune-by-size-buildx-0.17",
        asked={"cache": "none", "prune": True, "prune_keep": "10GB"},
        facts=replace(CONTAINER, buildx=(0, 17, 1)),
        lines=r"""
docker buildx build --builder docker-container-builder .
docker buildx prune --builder docker-container-builder --force --keep-storage 10GB
""",
    ),
    Case(
        id="prune-by-size-buildx-0.18",
        asked={"cache": "none", "prune": True, "prune_keep": "10GB"},
        facts=replace(CONTAINER, buildx=(0, 18, 0)),
        lines=r"""
docker buildx build --builder docker-container-builder .
docker buildx prune --builder docker-container-builder --force --max-used-space 10GB
""",
    ),
    Case(
        id="old-engine-in-ci",
        asked={"tag": [f"{APP}:1"], "push": True},
        ci=CI_MAIN,
        facts=BUILDX_0_13,
        lines=r"""
docker buildx build --builder buildx-cache-app-1a2b3c4d-0859c8cb --tag registry.example.com/team/app:1 \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-main \
    --cache-to type=registry,ref=registry.example.com/team/app:buildcache-main,image-manifest=true,oci-mediatypes=true,mode=max,ignore-error=true \
    --push .
docker buildx prune --builder buildx-cache-app-1a2b3c4d-0859c8cb --force --filter until=168h
""",
    ),
    Case(
        id="no-prune-of-a-builder-to-be-removed",
        asked={"tag": [f"{APP}:1"], "push": True, "prune": True, "rm_builder": True},
        facts=OWN_RUNNING,
        lines=r"""
docker buildx build --builder buildx-cache-app-1a2b3c4d-0859c8cb --tag registry.example.com/team/app:1 \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-main \
    --cache-to type=registry,ref=registry.example.com/team/app:buildcache-main,mode=max,ignore-error=true \
    --push .
docker buildx rm buildx-cache-app-1a2b3c4d-0859c8cb
""",
    ),
)


def expected(case: Case) -> list[str]:
    return case.lines.strip("\n").replace(" \\\n    ", " ").splitlines()


@pytest.mark.parametrize("case", CASES, ids=[f"{number:03d}-{case.id}" for number, case in enumerate(CASES, 1)])
def test_a_plan_is_exactly_these_command_lines(case: Case) -> None:
    assert lines_of(plan_of(case.asked, case.ci, case.facts)) == expected(case)


def test_every_case_has_a_name_of_its_own() -> None:
    assert len({case.id for case in CASES}) == len(CASES)


# --- the build that writes lost caches again ---------------------------------------------------------------

REWRITES: tuple[Case, ...] = (
    Case(
        id="local",
        asked={"tag": ["app"], "load": True},
        lines=r"""
docker buildx build --builder default --cache-from type=local,src=/cache/app \
    --cache-to type=local,dest=/cache/app,mode=max,ignore-error=true --output type=cacheonly .
""",
    ),
    Case(
        id="registry-of-one-platform-and-a-folder",
        asked={
            "tag": [f"{APP}:1"],
            "push": True,
            "platform": ["linux/amd64"],
            "cache_to": ["type=local,dest=c"],
            "cache_from": ["old"],
            "cache_compression": "zstd",
        },
        ci=CI_MAIN,
        lines=r"""
docker buildx build --builder default --platform linux/amd64 \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-main-linux-amd64 \
    --cache-from type=registry,ref=old \
    --cache-to type=registry,ref=registry.example.com/team/app:buildcache-main-linux-amd64,mode=max,compression=zstd,ignore-error=true \
    --cache-to type=local,dest=c,ignore-error=true --output type=cacheonly .
""",
    ),
    Case(
        id="several-platforms-on-one-node",
        asked={"tag": [f"{APP}:1"], "push": True, "platform": ["linux/amd64", "linux/arm64"]},
        lines=r"""
docker buildx build --builder default --platform linux/amd64,linux/arm64 \
    --cache-from type=registry,ref=registry.example.com/team/app:buildcache-main \
    --cache-to type=registry,ref=registry.example.com/team/app:buildcache-main,mode=max,ignore-error=true \
    --output type=cacheonly .
""",
    ),
    Case(
        id="all-that-decides-the-steps-and-nothing-else",
        asked={
            "file": "D", "target": "t", "build_context": ["x=y"], "label": ["a=b"], "secret": ["id=s,env=S"],
            "ssh": ["default"], "network": "host", "add_host": ["h:1.2.3.4"], "allow": ["network.host"],
            "shm_size": "1g", "ulimit": ["nofile=1"], "cgroup_parent": "/g",
            "build_arg": ["NPM_TOKEN=abc123", "V=1"],
            "annotation": ["k=v"], "attest": ["type=sbom"], "provenance": "mode=max", "sbom": "true", "pull": True,
            "no_cache": True, "no_cache_filter": ["t"], "metadata_file": "m", "iidfile": "i", "output": ["out"],
            "context": "app",
        },
        facts=CONTAINER,
        lines=r"""
docker buildx build --builder docker-container-builder --file D --target t --build-context x=y --label a=b \
    --secret id=s,env=S --ssh default --network host --add-host h:1.2.3.4 --allow network.host --shm-size 1g \
    --ulimit nofile=1 --cgroup-parent /g --build-arg NPM_TOKEN --build-arg V=1 \
    --cache-from type=local,src=/cache/app --cache-to type=local,dest=/cache/app,mode=max,ignore-error=true \
    --output type=cacheonly app
""",
    ),
)  # fmt: skip


@pytest.mark.parametrize("case", REWRITES, ids=[case.id for case in REWRITES])
def test_caches_that_were_lost_are_written_by_exactly_this_command(case: Case) -> None:
    command = plan_of(case.asked, case.ci, case.facts).target.cache_build
    assert command is not None
    assert [shell_line(("docker", *command.argv))] == expected(case)


def test_the_command_that_writes_caches_again_has_the_secrets_of_the_build_in_its_environment() -> None:
    plan = plan_of({"build_arg": ["NPM_TOKEN=abc123"], "load": True})
    assert plan.target.cache_build is not None
    assert plan.target.cache_build.secrets == plan.target.build.secrets == (("NPM_TOKEN", Secret("abc123")),)


@pytest.mark.parametrize(
    ("asked", "facts"),
    [
        ({"cache": "none", "load": True}, CONTAINERD),
        ({"cache_read_only": True, "load": True}, CONTAINERD),
        ({"tag": [f"{APP}:1"], "push": True, "platform": ["linux/amd64", "linux/arm64"]}, REMOTE),
        ({"tag": [f"{APP}:1"], "push": True, "cache": "inline"}, CONTAINERD),
        ({"load": True, "buildx_flags": ["--build-arg", "V=1"]}, CONTAINERD),
    ],
    ids=["no-cache", "only-read", "a-cache-a-node", "a-part-of-the-image", "flags-that-are-not-understood"],
)
def test_where_the_build_writes_no_cache_none_is_written_again(asked: dict[str, object], facts: Facts) -> None:
    assert plan_of(asked, facts=facts).target.cache_build is None


def test_writing_caches_again_is_no_part_of_what_is_going_to_run() -> None:
    plan = plan_of({"load": True})
    assert plan.target.cache_build not in [command for _, command in plan.phases()]


# --- going on without some caches --------------------------------------------------------------------------


BOTH = {"tag": [f"{APP}:1"], "push": True, "cache_to": ["type=local,dest=c"], "cache_from": ["type=local,src=c"]}


def test_a_plan_without_an_import_is_the_same_but_for_that() -> None:
    plan = plan_of(BOTH)
    registry, local = plan.cache.imports
    left = plan.without(imports=[local])
    assert left.cache == replace(plan.cache, imports=(registry,))
    assert plan.target.cache_build is not None
    expected_plan = replace(
        plan,
        cache=left.cache,
        targets=(
            replace(
                plan.target,
                build=plan.target.build.without(imports=[local]),
                cache_build=plan.target.cache_build.without(imports=[local]),
            ),
        ),
    )
    assert left == expected_plan
    assert str(local) not in shell_line(left.target.build.argv)
    assert str(registry) in shell_line(left.target.build.argv)


def test_a_plan_without_an_export_is_the_same_but_for_that() -> None:
    plan = plan_of(BOTH)
    registry, local = plan.cache.exports
    left = plan.without(exports=[registry])
    assert (left.cache.exports, left.cache.imports) == ((local,), plan.cache.imports)
    for command in (left.target.build, left.target.cache_build):
        assert command is not None
        assert f"--cache-to {local}" in " ".join(command.argv)
        assert f"--cache-to {registry}" not in " ".join(command.argv)


def test_a_plan_without_its_exports_writes_none_again() -> None:
    plan = plan_of(BOTH)
    left = plan.without(exports=plan.cache.exports)
    assert (left.cache.exports, left.target.cache_build) == ((), None)
    assert "--cache-to" not in left.target.build.argv


def test_a_plan_without_the_export_of_a_node_has_no_command_for_it() -> None:
    plan = plan_of({"tag": [f"{APP}:1"], "push": True, "platform": ["linux/amd64", "linux/arm64"]}, facts=REMOTE)
    first, second = plan.cache.node_exports
    left = plan.without(imports=plan.cache.imports, exports=[first[1]])
    assert left.cache.node_exports == (second,)
    (command,) = left.target.node_exports
    assert str(second[1]) in command.argv
    assert "--cache-from" not in (*command.argv, *left.target.build.argv)


def test_a_plan_without_nothing_is_the_same() -> None:
    plan = plan_of(BOTH)
    assert plan.without() == plan


# --- local folders -----------------------------------------------------------------------------------------


def test_every_export_is_among_the_written_ones() -> None:
    asked = {
        "tag": [f"{APP}:1"],
        "push": True,
        "platform": ["linux/amd64", "linux/arm64"],
        "cache_to": ["type=local,dest=c"],
    }
    cache = plan_of(asked, facts=REMOTE).cache
    assert [entry.place for entry in cache.written] == [
        "c",
        f"{APP}:buildcache-main-linux-amd64",
        f"{APP}:buildcache-main-linux-arm64",
    ]


def test_a_bound_of_a_local_folder_is_planned_in_bytes() -> None:
    assert plan_of({"load": True, "cache_max_size": "1.5GB"}).cache.max_size == 3 * 512 * 1024**2
    assert plan_of({"load": True}).cache.max_size is None


NO_FOLDER = "--cache-max-size bounds a local cache's folder, and this build writes none"


@pytest.mark.parametrize(
    ("asked", "noted"),
    [
        ({"load": True, "cache_max_size": "1GB"}, False),
        ({"load": True, "cache_max_size": "1GB", "cache_read_only": True}, True),
        ({"load": True, "cache_max_size": "0", "cache": "none"}, True),
        ({"tag": [f"{APP}:1"], "push": True, "cache_max_size": "1GB"}, True),
        ({"tag": [f"{APP}:1"], "push": True, "cache_max_size": "1GB", "cache_to": ["type=local,dest=c"]}, False),
        ({"load": True, "cache": "none"}, False),
    ],
)
def test_a_bound_without_a_local_folder_is_noted(asked: dict[str, object], noted: bool) -> None:  # noqa: FBT001 -- a table
    assert (NO_FOLDER in plan_of(asked).notes) is noted


@pytest.mark.parametrize(
    ("asked", "folders"),
    [
        ({"load": True, "cache_to": ["type=local,dest=c", "type=registry,ref=r"]}, ("/cache/app", "c")),
        ({"load": True, "cache_read_only": True}, ()),
        ({"tag": [f"{APP}:1"], "push": True}, ()),
        (
            {"cache": "local", "platform": ["linux/amd64", "linux/arm64"]},
            ("/cache/app/linux-amd64", "/cache/app/linux-arm64"),
        ),
    ],
    ids=["two", "only-read", "registry", "a-folder-a-node"],
)
def test_a_plan_knows_the_folders_it_writes(asked: dict[str, object], folders: tuple[str, ...]) -> None:
    assert plan_of(asked, facts=REMOTE).cache.written_folders == folders


ODD_FOLDERS: Mapping[str, tuple[Mapping[str, object], str]] = {
    "default": ({"load": True}, "/home/zoë/app"),
    "written": ({"load": True, "cache_dir": "größe"}, "größe"),
    "read": ({"load": True, "cache_dir": "c", "cache_from": ["type=local,src=größe"]}, "größe"),
    "added": ({"load": True, "cache_dir": "c", "cache_to": ["type=local,dest=a\tb"]}, "a\tb"),
}


@pytest.mark.parametrize("name", ODD_FOLDERS)
def test_a_folder_that_buildx_cannot_name_to_buildkit_is_noted(name: str) -> None:
    asked, folder = ODD_FOLDERS[name]
    facts = replace(CONTAINERD, place=replace(CONTAINERD.place, cache_dir="/home/zoë/app"))
    assert plan_of(asked, facts=facts).notes == (
        f"the cache folder {folder!r} is not used: Buildx takes only printable ASCII in its path; give another folder",
    )
    with pytest.raises(UsageError) as refused:
        plan_of({**asked, "strict_cache": True}, facts=facts)
    assert refused.value.message == (
        f"the cache folder {folder!r} cannot be used: Buildx takes only printable ASCII in its path"
    )
    assert refused.value.hint == "give another folder, or drop --strict-cache"


def test_only_folders_have_to_be_ascii() -> None:
    asked = {"load": True, "cache_dir": "a, ~b", "cache_from": ["type=gha,scope=größe"], "strict_cache": True}
    assert plan_of(asked).notes == ()


# --- the table is complete ---------------------------------------------------------------------------------

# How a build is shown and reported is no part of the command lines; the password's own variable is a shell's matter.
# A local folder is bounded by this program.
NOT_IN_ARGV = {
    "lazy",  # plans name folders
    "timeout", "progress", "report", "report_html", "report_junit", "report_md", "dotenv", "verbose", "quiet", "no_color", "password_env", "password_stdin", "cache_max_size", "config", "trust_config",
}  # fmt: skip
FIELDS = {each.name: each.default for each in dataclasses.fields(BuildRequest) if each.name != "ambient"}


def replaced(request: BuildRequest, name: str, value: Any) -> BuildRequest:  # noqa: ANN401 -- of any field
    return replace(request, **{name: value})


def lines_without(case: Case, name: str) -> list[str]:
    """What a case comes to if one thing were not asked, other checks aside."""
    try:
        return lines_of(make_plan(replaced(request_of(case.asked), name, FIELDS[name]), case.ci, case.facts))
    except (UsageError, EngineError):
        return []


@pytest.mark.parametrize("name", sorted(set(FIELDS) - NOT_IN_ARGV))
def test_every_option_that_decides_a_command_line_is_in_the_table(name: str) -> None:
    asking = [case for case in CASES if name in case.asked]
    assert any(lines_without(case, name) != expected(case) for case in asking)


SHOWN: Mapping[str, object] = {
    "config": "x.toml",
    "trust_config": True,
    "timeout": "10m",
    "progress": Progress.QUIET,
    "report": "report.json",
    "report_html": "report.html",
    "report_junit": "report.xml",
    "report_md": "report.md",
    "dotenv": "build.env",
    "verbose": True,
    "quiet": True,
    "no_color": True,
    "password_env": "OTHER",
    "password_stdin": True,
    "cache_max_size": "1GB",
    "lazy": Lazy.OFF,
}


@pytest.mark.parametrize("name", sorted(NOT_IN_ARGV))
def test_other_options_change_no_command_line(name: str) -> None:
    asked = {"tag": [f"{APP}:1"], "push": True, "username": "me", "password_env": "PASSWORD"}
    plain = request_of(asked)
    assert lines_of(make_plan(replaced(plain, name, SHOWN[name]), LAPTOP, CONTAINERD)) == lines_of(plan_of(asked))


@pytest.mark.parametrize("kind", [kind.value for kind in CacheKind])
def test_every_kind_of_cache_is_in_the_table(kind: str) -> None:
    assert any(case.asked.get("cache", "auto") == kind for case in CASES)


@pytest.mark.parametrize("kind", list(Driver))
def test_every_driver_is_in_the_table(kind: Driver) -> None:
    plans = [plan_of(case.asked, case.ci, case.facts).builder for case in CASES]
    assert {kind} <= {plan.driver for plan in plans}


# --- secrets -----------------------------------------------------------------------------------------------


def words_of(plan: BuildPlan) -> Iterator[str]:
    for _, command in plan.phases():
        yield from command.argv


def test_a_secret_build_argument_goes_by_the_environment() -> None:
    plan = plan_of(
        {
            "cache": "none",
            "build_arg": ["NPM_TOKEN=abc123", "DB_PASSWORD=a=b", "V=1", "API_KEY", "X_SECRET=", "P=http://me:abc123@p"],
        }
    )
    assert plan.target.build.argv == (
        *("buildx", "build", "--builder", "default"),
        *("--build-arg", "NPM_TOKEN", "--build-arg", "DB_PASSWORD", "--build-arg", "V=1"),
        *("--build-arg", "API_KEY", "--build-arg", "X_SECRET", "--build-arg", "P", "."),
    )
    assert plan.target.build.secrets == (
        ("NPM_TOKEN", Secret("abc123")),
        ("DB_PASSWORD", Secret("a=b")),
        ("X_SECRET", Secret("")),
        ("P", Secret("http://me:abc123@p")),
    )
    assert "abc123" not in repr(plan)


def test_the_builds_that_write_caches_by_platform_have_the_secrets_too() -> None:
    asked = {"cache": "local", "platform": ["linux/amd64", "linux/arm64"], "build_arg": ["NPM_TOKEN=abc123"]}
    plan = plan_of(asked, facts=REMOTE)
    assert [command.secrets for command in plan.target.node_exports] == [(("NPM_TOKEN", Secret("abc123")),)] * 2
    assert not any("abc123" in word for word in words_of(plan))


# --- values that look like options -------------------------------------------------------------------------

VALUED = [each.name for each in dataclasses.fields(BuildxOptions) if each.default is not False]
OPTIONS = ("--iidfile", "--metadata-file", "--load", "--push", "--cache-from", "--output", "-")


@pytest.mark.parametrize("name", [*VALUED, "build_arg", "output"])
def test_no_value_is_a_word_that_is_an_option(name: str) -> None:
    is_list = isinstance(FIELDS[name], tuple)
    for option in OPTIONS:
        if (name, option) in {("file", "-"), ("output", "-")}:
            continue
        plan = plan_of({"cache": "none", name: [option] if is_list else option})
        assert option not in plan.target.build.argv
        assert [word for word in plan.target.build.argv if word.endswith(f"={option}")] != []


def test_stdin_is_read_for_a_dockerfile_alone() -> None:
    assert "-" in plan_of({"cache": "none", "file": "-"}).target.build.argv
    assert "-" not in plan_of({"cache": "none", "output": ["-"]}).target.build.argv


# --- what a fork's build does not push ---------------------------------------------------------------------

FOLLOWS_FORK = replace(CI_MAIN, is_fork=True)


@pytest.mark.parametrize("pushing", [{"push": True}, {"output": ["type=registry"]}, {"buildx_flags": ("--push",)}])
@pytest.mark.parametrize(
    ("ci", "field"),
    [(CI_FORK, "branch"), *((replace(FOLLOWS_FORK, tag="v1"), each) for each in ("branch", "tag", "sha", "short_sha"))],
)
def test_a_fork_takes_no_tag_of_another_build(ci: CIContext, field: str, pushing: dict[str, Any]) -> None:
    asked = {"tag": [f"{APP}:1", f"{APP}:x-{{{field}}}"], "cache": "none"}
    with pytest.raises(UsageError):
        plan_of({**asked, **pushing}, ci=ci)
    assert plan_of({**asked, "load": True, "buildx_flags": ("--add-host", "registry:1.2.3.4")}, ci=ci).target.image.tags
    assert plan_of({**asked, **pushing}, ci=replace(ci, is_fork=False)).target.image.tags


@pytest.mark.parametrize("branch", ["pull/7", "pull/7/head", "them:main"])
def test_a_fork_whose_branch_the_ci_names_has_that_for_a_tag(branch: str) -> None:
    ci = replace(CI_FORK, branch=branch)
    assert plan_of({"tag": [f"{APP}:{{branch}}"], "push": True}, ci=ci).target.image.tags != (f"{APP}:main",)


@pytest.mark.parametrize("field", ["pr", "sha", "short_sha", "date", "build"])
def test_a_fork_has_tags_of_its_own(field: str) -> None:
    assert plan_of({"tag": [f"{APP}:{{{field}}}"], "push": True}, ci=CI_FORK).target.image.tags


# --- what is refused ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "ci", "facts", "message", "hint"),
    [
        pytest.param(
            {"tag": ["app:{branch}"]},
            CI_TAG,
            CONTAINERD,
            "the tag 'app:{branch}' needs {branch}, which this build has none of",
            "a detached checkout or a tag's build has no branch: use {short_sha} or {tag}",
            id="template-branch",
        ),
        pytest.param(
            {"tag": ["app:{tag}"]},
            LAPTOP,
            CONTAINERD,
            "the tag 'app:{tag}' needs {tag}, which this build has none of",
            "only a tag's build has one: use {short_sha} for the others",
            id="template-tag",
        ),
        pytest.param(
            {"tag": ["app:{pr}"]},
            CI_MAIN,
            CONTAINERD,
            "the tag 'app:{pr}' needs {pr}, which this build has none of",
            "only a pull request's build has one: use {branch} for the others",
            id="template-pull-request",
        ),
        pytest.param(
            {"tag": ["app:{build}"]},
            LAPTOP,
            CONTAINERD,
            "the tag 'app:{build}' needs {build}, which this build has none of",
            "only a CI numbers its builds: use {short_sha} elsewhere",
            id="template-build",
        ),
        pytest.param(
            {"tag": ["app:{short_sha}"]},
            CI_SILENT,
            CONTAINERD,
            "the tag 'app:{short_sha}' needs {short_sha}, which this build has none of",
            "build inside a git work tree with a commit, or in a CI",
            id="template-short-sha",
        ),
        pytest.param(
            {"tag": ["app:{sha}"]},
            CI_SILENT,
            CONTAINERD,
            "the tag 'app:{sha}' needs {sha}, which this build has none of",
            "build inside a git work tree with a commit, or in a CI",
            id="template-sha",
        ),
        *(
            pytest.param(
                {"tag": [f"app:{template}"]},
                replace(CI_MAIN, branch=branch, tag=branch),
                CONTAINERD,
                f"the tag 'app:{template}' makes {tag!r} here: tags that begin with buildcache- are caches",
                "rename the branch or tag, or write something before the field: REPOSITORY:branch-{branch}",
                id=f"template-a-caches-tag-{template}",
            )
            for template, branch, tag in (
                ("{branch}", "buildcache-main", "buildcache-main"),
                ("{tag}", "buildcache-main", "buildcache-main"),
                ("{branch}-{tag}", "buildcache-", "buildcache--buildcache-"),
                ("build{branch}", "cache/main", "buildcache-main"),
            )
        ),
        pytest.param(
            {"tag": ["app:{brnch}"]},
            LAPTOP,
            CONTAINERD,
            "the tag 'app:{brnch}' has an unknown field {brnch}",
            "did you mean 'branch'?",
            id="template-misspelt",
        ),
        pytest.param(
            {"tag": ["app:{}"]},
            LAPTOP,
            CONTAINERD,
            "the tag 'app:{}' has an unknown field {}",
            "use one of: sha, short_sha, branch, tag, pr, build, date",
            id="template-empty",
        ),
        pytest.param(
            {"tag": ["registry.example.com/App:1"]},
            LAPTOP,
            CONTAINERD,
            "'registry.example.com/App:1' is not an image reference",
            "write the repository's name in lower case",
            id="tag-in-upper-case",
        ),
        pytest.param(
            {"tag": ["app@sha256:" + "0" * 64]},
            LAPTOP,
            CONTAINERD,
            f"the tag 'app@sha256:{'0' * 64}' holds a digest",
            "a digest is the build's result: leave it out",
            id="tag-with-a-digest",
        ),
        pytest.param(
            {"cache": "registry"},
            LAPTOP,
            CONTAINERD,
            "--cache registry has no repository to keep the cache in",
            "give -t REGISTRY/REPOSITORY:TAG, or --cache-ref REGISTRY/REPOSITORY",
            id="registry-without-a-repository",
        ),
        pytest.param(
            {"cache": "registry", "cache_ref": "https://registry.example.com/c"},
            LAPTOP,
            CONTAINERD,
            "'https://registry.example.com/c' is not an image reference",
            "leave out the scheme: HOST/REPOSITORY:TAG",
            id="cache-ref-with-a-scheme",
        ),
        pytest.param(
            {"load": True, "platform": ["linux/amd64", "linux/arm64"]},
            LAPTOP,
            CLASSIC,
            "--load of several platforms needs an engine with the containerd image store",
            "load one platform, or --push, or turn the engine's containerd image store on",
            id="load-of-several-platforms",
        ),
        pytest.param(
            {"builder": "default", "cache": "registry", "tag": [f"{APP}:1"]},
            LAPTOP,
            CLASSIC,
            "the builder 'default' (driver docker, classic image store) cannot export such a cache",
            "leave out --builder to have a docker-container builder made",
            id="classic-builder-cannot-export",
        ),
        *(
            pytest.param(
                {"driver": "docker", "cache": "none", "tag": ["app"], **asked},
                LAPTOP,
                CLASSIC,
                f"--driver docker on the classic image store {reason}",
                "use --driver docker-container, or turn on the engine's containerd image store",
                id=f"classic-driver-{next(iter(asked))}",
            )
            for asked, reason in (
                ({"cache_dir": "c", "cache": "local"}, "cannot export such a cache"),
                ({"platform": ["linux/amd64", "linux/arm64"]}, "cannot build several platforms"),
                ({"attest": ["type=sbom"]}, "cannot write attestations"),
                ({"sbom": "true"}, "cannot write an SBOM"),
                ({"provenance": "mode=max"}, "cannot write provenance"),
                ({"cache_compression": "zstd"}, "cannot choose the compression"),
                ({"output": ["type=oci,dest=o.tar"]}, "cannot write an OCI archive"),
                ({"push": True, "output": ["type=local,dest=o"]}, "has only one output a build"),
            )
        ),
    ],
)
def test_what_cannot_work_here_is_refused(
    asked: Mapping[str, object], ci: CIContext, facts: Facts, message: str, hint: str
) -> None:
    with pytest.raises(UsageError) as refused:
        plan_of(asked, ci, facts)
    assert (refused.value.message, refused.value.hint) == (message, hint)


def test_a_builder_asked_for_by_name_must_exist() -> None:
    with pytest.raises(EngineError) as refused:
        plan_of({"builder": "mine"}, facts=NO_BUILDER)
    assert refused.value.message == "there is no builder named 'mine'"
    assert refused.value.hint == "`docker buildx ls` lists those there are; leave out --builder to have one made"


# --- what is said beside -----------------------------------------------------------------------------------

NOWHERE = "the image stays in the builder's cache: add --push or --load to keep it"


@pytest.mark.parametrize(
    ("asked", "ci", "facts", "notes"),
    [
        pytest.param({"tag": [f"{APP}:1"], "push": True}, CI_MAIN, OWN_RUNNING, [], id="nothing-to-say"),
        pytest.param({}, LAPTOP, CONTAINERD, [], id="the-engine-keeps-its-images"),
        pytest.param({}, LAPTOP, CONTAINER, [NOWHERE], id="image-goes-nowhere"),
        pytest.param({"output": ["out"]}, LAPTOP, CONTAINER, [], id="image-goes-to-a-folder"),
        pytest.param(
            {"tag": ["app"], "load": True, "cache": "inline"},
            LAPTOP,
            CONTAINER,
            ["an inline cache is part of the pushed image: without --push nothing is written"],
            id="inline-without-push",
        ),
        pytest.param(
            {"tag": [f"{APP}:1"], "load": True, "cache": "registry"},
            LAPTOP,
            CONTAINER,
            ["the cache is pushed to its registry although the image is not"],
            id="registry-without-push",
        ),
        pytest.param(
            {"tag": [f"{APP}:1"], "load": True, "cache": "registry"},
            CI_FORK,
            OWN_RUNNING,
            ["the build is of a fork, or may be: the cache is only read"],
            id="fork",
        ),
        pytest.param(
            {"tag": ["app"], "load": True, "cache_read_only": True}, CI_FORK, OWN_RUNNING, [], id="read-only-as-asked"
        ),
        pytest.param(
            {"tag": ["app"], "load": True, "build_arg": ["NPM_TOKEN=x"]},
            LAPTOP,
            CONTAINER,
            ["build arguments are kept in the image's history and provenance: hand secrets over with --secret"],
            id="secret-build-argument",
        ),
        pytest.param(
            {"tag": ["app"], "load": True},
            CI_MAIN,
            CONTAINER,
            ["the builder 'docker-container-builder' is not this project's own: it is not pruned"],
            id="not-pruned",
        ),
        pytest.param({"tag": ["app"], "load": True, "prune": False}, CI_MAIN, CONTAINER, [], id="not-pruned-as-asked"),
        pytest.param(
            {"load": True, "tag": ["app"], "cache_from": ["type=s3,bucket=b,brand_new=1"]},
            LAPTOP,
            CONTAINER,
            ["the attribute 'brand_new' of a cache of type=s3 is not known here: BuildKit may ignore it"],
            id="unknown-attribute",
        ),
    ],
)
def test_notes_tell_what_a_user_should_know(
    asked: Mapping[str, object], ci: CIContext, facts: Facts, notes: list[str]
) -> None:
    assert list(plan_of(asked, ci, facts).notes) == notes


@pytest.mark.parametrize(
    ("asked", "facts", "kind", "why"),
    [
        ({}, CONTAINERD, CacheKind.LOCAL, "the image is not pushed"),
        (
            {"tag": ["app"], "push": True},
            CONTAINERD,
            CacheKind.LOCAL,
            "no tag names a registry or namespace to keep a cache in",
        ),
        (
            {"tag": ["org/app"], "push": True},
            CONTAINERD,
            CacheKind.REGISTRY,
            "the image is pushed, and its cache beside it",
        ),
        ({"cache": "none"}, CONTAINERD, CacheKind.NONE, "--cache none"),
        ({"builder": "default"}, CLASSIC, CacheKind.NONE, "the builder 'default' cannot export such a cache"),
        (
            {"tag": ["org/app"], "push": True, "builder": "default"},
            CLASSIC,
            CacheKind.INLINE,
            "the builder 'default' cannot export such a cache",
        ),
    ],
)
def test_a_plan_says_why_this_cache(asked: Mapping[str, object], facts: Facts, kind: CacheKind, why: str) -> None:
    cache = plan_of(asked, facts=facts).cache
    assert (cache.kind, cache.why) == (kind, why)


@pytest.mark.parametrize(
    ("asked", "facts", "owned", "why"),
    [
        ({}, CONTAINERD, False, "the current builder can do all that is asked"),
        ({"builder": "x"}, CONTAINER, False, "asked for"),
        ({"driver": "docker"}, CONTAINERD, False, "--driver docker: the engine's own builder"),
        ({}, CLASSIC, True, "made for this project: the engine's builder cannot export such a cache"),
        ({}, OWN_RUNNING, True, "this project's own, made earlier: the engine's builder cannot export such a cache"),
        ({"driver": "docker-container"}, CONTAINERD, True, "made for this project: --driver docker-container"),
        ({"driver_opt": ["network=host"]}, CONTAINERD, True, "made for this project, as the builder options ask"),
        (
            {"cache": "none", "provenance": "true"},
            CLASSIC,
            True,
            "made for this project: the engine's builder cannot write provenance",
        ),
    ],
)
def test_a_plan_says_why_this_builder(asked: Mapping[str, object], facts: Facts, owned: bool, why: str) -> None:  # noqa: FBT001 -- a table
    plan = plan_of(asked, facts=facts).builder
    assert (plan.owned, plan.why) == (owned, why)


# --- the project's own builder -----------------------------------------------------------------------------

OWN_NAME = re.compile(r"buildx-cache-app-1a2b3c4d-[0-9a-f]{8}")


@dataclass(frozen=True, kw_only=True)
class Naming:
    id: str
    asked: Mapping[str, object] = field(default_factory=dict)
    facts: Facts = CLASSIC


OTHER_BUILDERS = (
    Naming(id="driver", asked={"driver": "kubernetes"}),
    Naming(id="driver-opt", asked={"driver_opt": ["network=host"]}),
    Naming(id="image", asked={"buildkit_image": "x"}),
    Naming(id="config", asked={"buildkitd_config": "x"}),
    Naming(id="flags", asked={"buildkitd_flags": "x"}),
    Naming(id="endpoint", asked={"endpoint": ["tcp://a:1"]}),
    Naming(id="context", asked={"docker_context": "x"}),
    Naming(id="current-context", facts=replace(CLASSIC, context="y")),
    Naming(id="host", facts=TLS),
    Naming(id="project", facts=replace(CLASSIC, place=replace(CLASSIC.place, project="app-1a2b3c4e"))),
)


def test_another_configuration_is_another_builder() -> None:
    names = [
        needed_builder(request_of(each.asked), LAPTOP, each.facts) for each in (Naming(id="plain"), *OTHER_BUILDERS)
    ]
    assert len(set(names)) == len(names)


def test_what_is_built_does_not_change_the_builder() -> None:
    asked: tuple[Mapping[str, object], ...] = (
        {},
        {"tag": ["app"], "load": True},
        {"target": "x", "driver": "docker-container"},
        {"rm_builder": True},
    )
    names = {needed_builder(request_of(each), ci, CLASSIC) for each in asked for ci in (LAPTOP, CI_PULL_REQUEST)}
    assert len(names) == 1
    assert OWN_NAME.fullmatch(names.pop())


@pytest.mark.parametrize("case", CASES, ids=[case.id for case in CASES])
def test_the_builder_to_look_for_is_the_one_that_will_be_used(case: Case) -> None:
    plan = plan_of(case.asked, case.ci, case.facts)
    assert needed_builder(request_of(case.asked), case.ci, case.facts) == (
        plan.builder.name if plan.builder.owned else ""
    )


def test_phases_come_in_the_order_of_the_work() -> None:
    asked = {
        "tag": [f"{APP}:1"],
        "push": True,
        "rm_builder": True,
        "username": "me",
        "password_env": "P",
        "platform": ["linux/amd64", "linux/arm64"],
        "driver": "docker-container",
    }
    plan = plan_of(asked, CI_MAIN, TLS)
    assert [phase for phase, _ in plan.phases()] == ["context", "builder", "login", "build", "remove", "remove"]


def test_a_plan_is_a_value() -> None:
    asked = {"tag": [f"{APP}:{{branch}}"], "push": True, "build_arg": ["A=1"]}
    assert plan_of(asked, CI_BRANCH, CLASSIC) == plan_of(asked, CI_BRANCH, CLASSIC)
    assert hash(plan_of(asked, CI_BRANCH, CLASSIC)) == hash(plan_of(asked, CI_BRANCH, CLASSIC))


def test_compression_is_the_same_in_image_and_cache() -> None:
    plan = plan_of({"tag": [f"{APP}:1"], "push": True, "cache_compression": "zstd", "cache_mode": "min"})
    assert plan.cache.exports[0].get("compression") == Compression.ZSTD
    assert plan.cache.exports[0].get("mode") == CacheMode.MIN
    assert "type=image,push=true,compression=zstd,oci-mediatypes=true" in plan.target.build.argv
