"""The options of ``build`` and ``plan``: one function takes them for both, so that the two cannot differ.

An option that is not given is None, so that the environment and the configuration file can speak. Names and
meanings of the *Build* group are those of ``docker buildx build``.
"""

from enum import StrEnum
from functools import partial
from typing import Annotated, Any

import typer

from buildx_cache.caches import CacheKind, CacheMode, Compression
from buildx_cache.errors import UsageError
from buildx_cache.request import Driver, Lazy, Progress

BUILD_HELP = """Build an image: builder, login, cache, build, tag, push and prune in one call.

Results go to stdout: one line a pushed tag, with its digest."""
PLAN_HELP = """Print what `build` would run, and touch nothing.

The lines can be pasted into a shell and do the same. Takes every option of `build`."""
BUILD_EXAMPLES = """[bold]Examples[/]

buildx-cache build -t registry.example.com/team/app:{short_sha} --push .

buildx-cache build -t app --load --cache local --cache-dir ~/.cache/app .

buildx-cache build -t org/app:1 --push --platform linux/amd64,linux/arm64 .

buildx-cache build -t app --load . -- --call check"""

Words = list[str] | None
Text = str | None
Switch = bool | None


class PlanFormat(StrEnum):
    """How ``plan`` prints."""

    SHELL = "shell"
    JSON = "json"


def _option(panel: str, *names: str, help: str, metavar: str = " ") -> Any:  # noqa: A002, ANN401
    """Declare one option; a switch has a blank for its metavar."""
    return typer.Option(*names, help=help, metavar=metavar, rich_help_panel=panel, show_default=False)


_image = partial(_option, "Image")
_build = partial(_option, "Build (as in docker buildx build)")
_cache = partial(_option, "Cache")
_builder = partial(_option, "Builder")
_login = partial(_option, "Login")
_prune = partial(_option, "Prune")
_config = partial(_option, "Configuration")
_output = partial(_option, "Output")
_plan = partial(_option, "Only for plan")

_PAIR = "KEY=VALUE"
_PLAN_ONLY = ("output_format", "assume_driver")


def build_or_plan(  # noqa: PLR0913 -- one parameter an option, as Typer reads them
    ctx: typer.Context,
    context: Annotated[
        Text,
        typer.Argument(metavar="CONTEXT", help="Build context: a folder, a URL, or - for stdin. Default: the folder ."),
    ] = None,
    buildx_flags: Annotated[
        Words,
        typer.Argument(metavar="-- BUILDX_FLAGS", help="Flags for docker buildx build, after CONTEXT and two dashes."),
    ] = None,
    *,
    tag: Annotated[
        Words,
        _image(
            "-t",
            "--tag",
            metavar="REF",
            help="Name of the image; {sha} {short_sha} {branch} {tag} {pr} {build} {date} are filled in. Repeatable.",
        ),
    ] = None,
    push: Annotated[Switch, _image("--push/--no-push", help="Push every tag.")] = None,
    load: Annotated[Switch, _image("--load/--no-load", help="Load the image into the engine.")] = None,
    output: Annotated[
        Words, _image("-o", "--output", metavar="SPEC", help="Another output, in Buildx syntax. Repeatable.")
    ] = None,
    file: Annotated[
        Text, _build("-f", "--file", metavar="FILE", help="Dockerfile. Default: CONTEXT/Dockerfile.")
    ] = None,
    target: Annotated[Text, _build("--target", metavar="STAGE", help="Stage to build.")] = None,
    platform: Annotated[Words, _build("--platform", metavar="OS/ARCH", help="Platforms to build for.")] = None,
    build_arg: Annotated[Words, _build("--build-arg", metavar=_PAIR, help="Build argument.")] = None,
    build_context: Annotated[Words, _build("--build-context", metavar="NAME=PATH", help="Named context.")] = None,
    label: Annotated[Words, _build("--label", metavar=_PAIR, help="Label of the image.")] = None,
    annotation: Annotated[Words, _build("--annotation", metavar=_PAIR, help="Annotation of the image.")] = None,
    secret: Annotated[Words, _build("--secret", metavar="SPEC", help="Secret for RUN --mount=type=secret.")] = None,
    ssh: Annotated[Words, _build("--ssh", metavar="SPEC", help="SSH agent or keys for the build.")] = None,
    pull: Annotated[Switch, _build("--pull/--no-pull", help="Always look for newer base images.")] = None,
    no_cache: Annotated[Switch, _build("--no-cache", help="Execute every step, cached or not.")] = None,
    no_cache_filter: Annotated[
        Words, _build("--no-cache-filter", metavar="STAGE", help="Execute these stages, cached or not.")
    ] = None,
    network: Annotated[Text, _build("--network", metavar="MODE", help="Network of RUN steps.")] = None,
    add_host: Annotated[Words, _build("--add-host", metavar="HOST:IP", help="Extra line for /etc/hosts.")] = None,
    allow: Annotated[Words, _build("--allow", metavar="NAME", help="Privilege to grant to the build.")] = None,
    attest: Annotated[Words, _build("--attest", metavar="SPEC", help="Attestation to attach.")] = None,
    provenance: Annotated[Text, _build("--provenance", metavar="SPEC", help="Provenance: true, false, mode=…")] = None,
    sbom: Annotated[Text, _build("--sbom", metavar="SPEC", help="SBOM: true, false, generator=…")] = None,
    shm_size: Annotated[Text, _build("--shm-size", metavar="SIZE", help="Size of /dev/shm.")] = None,
    ulimit: Annotated[Words, _build("--ulimit", metavar="SPEC", help="Limit for RUN steps.")] = None,
    cgroup_parent: Annotated[Text, _build("--cgroup-parent", metavar="NAME", help="Cgroup of RUN steps.")] = None,
    metadata_file: Annotated[Text, _build("--metadata-file", metavar="FILE", help="Write Buildx' metadata.")] = None,
    iidfile: Annotated[Text, _build("--iidfile", metavar="FILE", help="Write the image's ID.")] = None,
    cache: Annotated[
        CacheKind | None,
        _cache(
            "--cache",
            metavar="KIND",
            help="auto, local, registry, inline or none. Default: auto, which is registry with --push, else local.",
        ),
    ] = None,
    cache_dir: Annotated[
        Text, _cache("--cache-dir", metavar="DIR", help="Folder of a local cache, outside of CONTEXT.")
    ] = None,
    cache_ref: Annotated[
        Text,
        _cache("--cache-ref", metavar="REF", help="Reference of a registry cache. Default: IMAGE:buildcache-SCOPE."),
    ] = None,
    cache_scope: Annotated[
        Text, _cache("--cache-scope", metavar="NAME", help="Cache scope to write. Default: the branch.")
    ] = None,
    cache_mode: Annotated[
        CacheMode | None,
        _cache(
            "--cache-mode", metavar="MODE", help="min: layers of the image; max: layers of every stage. Default: max."
        ),
    ] = None,
    cache_compression: Annotated[
        Compression | None,
        _cache(
            "--cache-compression",
            metavar="KIND",
            help="Compression of cache and image: gzip, zstd, estargz or uncompressed. Default: gzip.",
        ),
    ] = None,
    cache_from: Annotated[
        Words, _cache("--cache-from", metavar="SPEC", help="Another cache to import, in Buildx syntax.")
    ] = None,
    cache_to: Annotated[
        Words, _cache("--cache-to", metavar="SPEC", help="Another cache to export, in Buildx syntax.")
    ] = None,
    cache_read_only: Annotated[
        Switch,
        _cache(
            "--cache-read-only/--no-cache-read-only",
            help="Import the cache, never export it. Default: in pull requests from forks.",
        ),
    ] = None,
    cache_max_size: Annotated[
        Text,
        _cache(
            "--cache-max-size", metavar="SIZE", help="Largest size of a local cache after the build. Default: none."
        ),
    ] = None,
    lazy: Annotated[
        Lazy | None,
        _cache("--lazy", metavar="WHEN", help="Import a local cache lazily: auto, on or off. Default: auto."),
    ] = None,
    strict_cache: Annotated[
        Switch, _cache("--strict-cache", help="Fail when a cache cannot be imported or exported.")
    ] = None,
    builder: Annotated[Text, _builder("--builder", metavar="NAME", help="Use this builder as it is.")] = None,
    driver: Annotated[
        Driver | None, _builder("--driver", metavar="DRIVER", help="docker, docker-container, remote or kubernetes.")
    ] = None,
    endpoint: Annotated[
        Words,
        _builder(
            "--endpoint", metavar="ADDRESS", help="Node of a builder; ,platform=… and ,name=… may follow. Repeatable."
        ),
    ] = None,
    driver_opt: Annotated[Words, _builder("--driver-opt", metavar=_PAIR, help="Option of the driver.")] = None,
    buildkit_image: Annotated[Text, _builder("--buildkit-image", metavar="REF", help="BuildKit's image.")] = None,
    buildkitd_config: Annotated[Text, _builder("--buildkitd-config", metavar="FILE", help="A buildkitd.toml.")] = None,
    buildkitd_flags: Annotated[Text, _builder("--buildkitd-flags", metavar="FLAGS", help="Flags of buildkitd.")] = None,
    docker_context: Annotated[Text, _builder("--docker-context", metavar="NAME", help="Docker context to use.")] = None,
    rm_builder: Annotated[
        Switch, _builder("--rm-builder/--keep-builder", help="Remove the builder after the build. Default: keep.")
    ] = None,
    registry: Annotated[
        Text, _login("--registry", metavar="HOST", help="Registry to log in to. Default: the host of the first tag.")
    ] = None,
    username: Annotated[Text, _login("--username", metavar="NAME", help="User name of the login.")] = None,
    password_stdin: Annotated[Switch, _login("--password-stdin", help="Read the password from stdin.")] = None,
    password_env: Annotated[
        Text, _login("--password-env", metavar="NAME", help="Environment variable that holds the password.")
    ] = None,
    prune: Annotated[
        Switch, _prune("--prune/--no-prune", help="Prune the builder's cache after the build. Default: in a CI.")
    ] = None,
    prune_keep: Annotated[Text, _prune("--prune-keep", metavar="SIZE", help="Keep at most this much.")] = None,
    prune_older_than: Annotated[
        Text, _prune("--prune-older-than", metavar="DURATION", help="Prune what no build used for so long, such as 7d.")
    ] = None,
    config: Annotated[
        Text,
        _config(
            "--config",
            metavar="FILE",
            help="Configuration file. Default: buildx-cache.toml or pyproject.toml of the repository.",
        ),
    ] = None,
    trust_config: Annotated[
        Switch,
        _config("--trust-config", help="Let the repository's file set every option, logins and builder included."),
    ] = None,
    timeout: Annotated[Text, _output("--timeout", metavar="DURATION", help="Stop the call after so long.")] = None,
    progress: Annotated[
        Progress | None,
        _output(
            "--progress",
            metavar="STYLE",
            help="auto, live, plain, json or quiet. Default: auto, which is live on a terminal, else plain.",
        ),
    ] = None,
    report: Annotated[Text, _output("--report", metavar="FILE.json", help="Write a report as JSON.")] = None,
    report_html: Annotated[
        Text,
        _output(
            "--report-html", metavar="FILE.html", help="Write the report as one HTML page with a timeline of the steps."
        ),
    ] = None,
    report_junit: Annotated[
        Text, _output("--report-junit", metavar="FILE.xml", help="Write the report as JUnit XML, one case a step.")
    ] = None,
    report_md: Annotated[Text, _output("--report-md", metavar="FILE.md", help="Write the report as Markdown.")] = None,
    dotenv: Annotated[
        Text, _output("--dotenv", metavar="FILE", help="Append digest, tags and cache figures as NAME=value lines.")
    ] = None,
    verbose: Annotated[Switch, _output("-v", "--verbose", help="Show the commands that run.")] = None,
    quiet: Annotated[Switch, _output("-q", "--quiet", help="Only warnings and errors.")] = None,
    no_color: Annotated[Switch, _output("--no-color", help="No colours (also NO_COLOR).")] = None,
    output_format: Annotated[
        PlanFormat | None, _plan("--format", metavar="FORMAT", help="shell or json. Default: shell.")
    ] = None,
    assume_driver: Annotated[
        Driver | None, _plan("--assume-driver", metavar="DRIVER", help="Ask no Docker: plan for this driver.")
    ] = None,
) -> None:
    """Run the command that is called, with the options that are given."""
    values = ((name, value) for name, value in ctx.params.items() if name not in _PLAN_ONLY)
    given = {name: value for name, value in values if value not in (None, [], ())}
    if ctx.info_name == "plan":
        from buildx_cache.cli.planning import plan  # noqa: PLC0415 -- 200 ms that --help does not need

        plan(given, assume_driver, as_json=output_format is PlanFormat.JSON)
    elif output_format or assume_driver:
        raise UsageError("only `plan` takes --format and --assume-driver", hint="run `buildx-cache plan`, or drop them")
    else:
        from buildx_cache.cli.building import build  # noqa: PLC0415 -- 220 ms that --help does not need

        build(given)
