"""Declare the parameters of ``build`` and ``plan``: one function for both, so that the two cannot differ.

The name and help of an option are in its row of :mod:`buildx_cache.request.options`. An option that is not given is
None, so that the environment or the configuration file can set it. Names and meanings of the *Build* group are those of
``docker buildx build``.
"""

from collections.abc import Callable, Mapping
from enum import StrEnum
from functools import partial
from typing import Annotated, Any

import typer

from buildx_cache.cli import completion
from buildx_cache.errors import UsageError
from buildx_cache.request.build_request import Driver
from buildx_cache.request.options import KINDS, OPTIONS, chosen

BUILD_HELP = """Build an image: builder, login, cache, build, tag, push and prune in one call.

Results go to stdout: one line per pushed tag, with its digest."""
PLAN_HELP = """Print what `build` would run, and touch nothing.

The lines can be pasted into a shell and do the same. Takes every option of `build`."""
BUILD_EXAMPLES = """[bold]Examples[/]

buildx-cache build -t registry.example.com/team/app:{short_sha} --push .

buildx-cache build -t app --load --cache local --cache-dir ~/.cache/app .

buildx-cache build -t org/app:1 --push --platform linux/amd64,linux/arm64 .

buildx-cache build -t registry.example.com/team/app:{sha} --push auto --report-html report.html .

buildx-cache build -t app --load . -- --call check"""

Words = list[str] | None
Text = str | None
Switch = bool | None


class PlanFormat(StrEnum):
    """The format of ``plan``."""

    SHELL = "shell"
    JSON = "json"


def choice(kind: type[StrEnum], name: str, **how: Any) -> Any:  # noqa: ANN401 -- what typer.Option takes and returns
    """Declare an option with a choice of words, parsed by ``chosen``, which has a better error than Typer."""
    parser = partial(chosen, kind, where=name)
    return typer.Option(name, parser=parser, autocompletion=_completion(kind), **how)


def _completion(words: type[StrEnum]) -> Callable[[str], list[str]]:
    def complete(incomplete: str) -> list[str]:
        return [word for word in words if word.startswith(incomplete)]

    return complete


_COMPLETED: Mapping[str, Callable[..., list[str]]] = {
    "builder": completion.builders,
    "docker_context": completion.contexts,
    "network": completion.networks,
    "target": completion.stages,
}
"""The functions that complete values of options, except those of enumerations."""


def _option(name: str) -> Any:  # noqa: ANN401 -- what typer.Option returns
    """Declare an option of the table; a choice is validated later, together with the other sources."""
    option, kind = OPTIONS[name], KINDS[name]
    return typer.Option(
        *option.flags(name),
        help=option.help,
        metavar=option.metavar,
        rich_help_panel=option.panel,
        show_default=False,
        autocompletion=_completion(kind) if issubclass(kind, StrEnum) else _COMPLETED.get(name),
    )


_plan = partial(choice, rich_help_panel="Only for plan", show_default=False)
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
    tag: Annotated[Words, _option("tag")] = None,
    push: Annotated[Switch, _option("push")] = None,
    push_auto: Annotated[Switch, _option("push_auto")] = None,
    load: Annotated[Switch, _option("load")] = None,
    output: Annotated[Words, _option("output")] = None,
    file: Annotated[Text, _option("file")] = None,
    target: Annotated[Text, _option("target")] = None,
    platform: Annotated[Words, _option("platform")] = None,
    build_arg: Annotated[Words, _option("build_arg")] = None,
    build_context: Annotated[Words, _option("build_context")] = None,
    label: Annotated[Words, _option("label")] = None,
    annotation: Annotated[Words, _option("annotation")] = None,
    secret: Annotated[Words, _option("secret")] = None,
    ssh: Annotated[Words, _option("ssh")] = None,
    pull: Annotated[Switch, _option("pull")] = None,
    no_cache: Annotated[Switch, _option("no_cache")] = None,
    no_cache_filter: Annotated[Words, _option("no_cache_filter")] = None,
    network: Annotated[Text, _option("network")] = None,
    add_host: Annotated[Words, _option("add_host")] = None,
    allow: Annotated[Words, _option("allow")] = None,
    attest: Annotated[Words, _option("attest")] = None,
    provenance: Annotated[Text, _option("provenance")] = None,
    sbom: Annotated[Text, _option("sbom")] = None,
    shm_size: Annotated[Text, _option("shm_size")] = None,
    ulimit: Annotated[Words, _option("ulimit")] = None,
    cgroup_parent: Annotated[Text, _option("cgroup_parent")] = None,
    metadata_file: Annotated[Text, _option("metadata_file")] = None,
    iidfile: Annotated[Text, _option("iidfile")] = None,
    cache: Annotated[Text, _option("cache")] = None,
    cache_dir: Annotated[Text, _option("cache_dir")] = None,
    cache_ref: Annotated[Text, _option("cache_ref")] = None,
    cache_scope: Annotated[Text, _option("cache_scope")] = None,
    default_branch: Annotated[Text, _option("default_branch")] = None,
    cache_mode: Annotated[Text, _option("cache_mode")] = None,
    cache_compression: Annotated[Text, _option("cache_compression")] = None,
    cache_from: Annotated[Words, _option("cache_from")] = None,
    cache_to: Annotated[Words, _option("cache_to")] = None,
    cache_read_only: Annotated[Switch, _option("cache_read_only")] = None,
    cache_max_size: Annotated[Text, _option("cache_max_size")] = None,
    lazy: Annotated[Text, _option("lazy")] = None,
    strict_cache: Annotated[Switch, _option("strict_cache")] = None,
    builder: Annotated[Text, _option("builder")] = None,
    driver: Annotated[Text, _option("driver")] = None,
    endpoint: Annotated[Words, _option("endpoint")] = None,
    driver_opt: Annotated[Words, _option("driver_opt")] = None,
    buildkit_image: Annotated[Text, _option("buildkit_image")] = None,
    buildkitd_config: Annotated[Text, _option("buildkitd_config")] = None,
    buildkitd_flags: Annotated[Text, _option("buildkitd_flags")] = None,
    docker_context: Annotated[Text, _option("docker_context")] = None,
    no_wait: Annotated[Switch, _option("no_wait")] = None,
    no_push_check: Annotated[Switch, _option("no_push_check")] = None,
    rm_builder: Annotated[Switch, _option("rm_builder")] = None,
    registry: Annotated[Text, _option("registry")] = None,
    username: Annotated[Text, _option("username")] = None,
    password_stdin: Annotated[Switch, _option("password_stdin")] = None,
    password_env: Annotated[Text, _option("password_env")] = None,
    prune: Annotated[Switch, _option("prune")] = None,
    prune_keep: Annotated[Text, _option("prune_keep")] = None,
    prune_older_than: Annotated[Text, _option("prune_older_than")] = None,
    config: Annotated[Text, _option("config")] = None,
    trust_config: Annotated[Switch, _option("trust_config")] = None,
    timeout: Annotated[Text, _option("timeout")] = None,
    progress: Annotated[Text, _option("progress")] = None,
    report: Annotated[Text, _option("report")] = None,
    report_html: Annotated[Text, _option("report_html")] = None,
    report_junit: Annotated[Text, _option("report_junit")] = None,
    report_md: Annotated[Text, _option("report_md")] = None,
    dotenv: Annotated[Text, _option("dotenv")] = None,
    output_prefix: Annotated[Text, _option("output_prefix")] = None,
    one_line: Annotated[Switch, _option("one_line")] = None,
    verbose: Annotated[Switch, _option("verbose")] = None,
    quiet: Annotated[Switch, _option("quiet")] = None,
    no_color: Annotated[Switch, _option("no_color")] = None,
    output_format: Annotated[
        PlanFormat | None, _plan(PlanFormat, "--format", metavar="FORMAT", help="shell or json. Default: shell.")
    ] = None,
    assume_driver: Annotated[
        Driver | None,
        _plan(Driver, "--assume-driver", metavar="DRIVER", help="Ask no Docker: plan for this driver."),
    ] = None,
) -> None:
    """Run ``build`` or ``plan`` with the given options."""
    values = ((name, value) for name, value in ctx.params.items() if name not in _PLAN_ONLY)
    given = {name: value for name, value in values if value not in (None, [], ())}
    if ctx.info_name == "plan":
        from buildx_cache.cli.planning import plan  # noqa: PLC0415 -- 200 ms that --help does not need

        plan(given, assume_driver, as_json=output_format is PlanFormat.JSON)
    elif output_format or assume_driver:
        raise UsageError(
            "only `plan` takes --format and --assume-driver",
            code="option-not-applicable",
            hint="run `buildx-cache plan`, or drop them",
        )
    else:
        from buildx_cache.cli.building import build  # noqa: PLC0415 -- 220 ms that --help does not need

        build(given)
