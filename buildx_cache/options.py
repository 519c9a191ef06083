"""The options of ``build`` and ``plan``, in the groups that ``--help`` shows.

An option that is not given is None, so that the environment and the configuration file can speak. Names and
meanings of the *Build* group are those of ``docker buildx build``. Types here are no text that would have to be
evaluated, one by one, for Typer.
"""

import dataclasses
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import typer

Words = list[str] | None
Text = str | None
Switch = bool | None


def _option(panel: str, *names: str, help: str, metavar: str = " ") -> Any:  # noqa: A002, ANN401
    """One option; a switch has a blank for its metavar."""
    return typer.Option(*names, help=help, metavar=metavar, rich_help_panel=panel, show_default=False)


_image = partial(_option, "Image")
_build = partial(_option, "Build (as in docker buildx build)")
_cache = partial(_option, "Cache")
_builder = partial(_option, "Builder")
_login = partial(_option, "Login")
_prune = partial(_option, "Prune")
_config = partial(_option, "Configuration")
_output = partial(_option, "Output")

_PAIR = "KEY=VALUE"


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the command line says, by the names of ``BuildRequest``."""

    context: Annotated[
        Text, typer.Argument(help="The build context: a folder, a URL, or - for stdin.", show_default=".")
    ] = None

    tag: Annotated[
        Words,
        _image("-t", "--tag", metavar="REF", help="Name of the image; {sha} {short_sha} {branch} {tag} {pr} {build} "
               "{date} are filled in. Repeatable."),
    ] = None  # fmt: skip
    push: Annotated[Switch, _image("--push/--no-push", help="Push every tag.")] = None
    load: Annotated[Switch, _image("--load/--no-load", help="Load the image into the engine.")] = None
    output: Annotated[Words, _image("-o", "--output", metavar="SPEC", help="Another result, in Buildx syntax.")] = None

    file: Annotated[Text, _build("-f", "--file", metavar="FILE", help="The Dockerfile (CONTEXT/Dockerfile).")] = None
    target: Annotated[Text, _build("--target", metavar="STAGE", help="Stage to build.")] = None
    platform: Annotated[Words, _build("--platform", metavar="OS/ARCH", help="Platforms to build for.")] = None
    build_arg: Annotated[Words, _build("--build-arg", metavar=_PAIR, help="Build argument.")] = None
    build_context: Annotated[Words, _build("--build-context", metavar="NAME=PATH", help="Named context.")] = None
    label: Annotated[Words, _build("--label", metavar=_PAIR, help="Label of the image.")] = None
    annotation: Annotated[Words, _build("--annotation", metavar=_PAIR, help="Annotation of the image.")] = None
    secret: Annotated[Words, _build("--secret", metavar="SPEC", help="Secret for RUN --mount=type=secret.")] = None
    ssh: Annotated[Words, _build("--ssh", metavar="SPEC", help="SSH agent or keys for the build.")] = None
    pull: Annotated[Switch, _build("--pull/--no-pull", help="Always look for newer base images.")] = None
    no_cache: Annotated[Switch, _build("--no-cache", help="Execute every step anew.")] = None
    no_cache_filter: Annotated[
        Words, _build("--no-cache-filter", metavar="STAGE", help="Execute these stages anew.")
    ] = None
    network: Annotated[Text, _build("--network", metavar="MODE", help="Network of RUN steps.")] = None
    add_host: Annotated[Words, _build("--add-host", metavar="HOST:IP", help="Extra line for /etc/hosts.")] = None
    allow: Annotated[Words, _build("--allow", metavar="NAME", help="Privilege to grant to the build.")] = None
    attest: Annotated[Words, _build("--attest", metavar="SPEC", help="Attestation to attach.")] = None
    provenance: Annotated[Text, _build("--provenance", metavar="SPEC", help="Provenance: true, false, mode=…")] = None
    sbom: Annotated[Text, _build("--sbom", metavar="SPEC", help="SBOM: true, false, generator=…")] = None
    shm_size: Annotated[Text, _build("--shm-size", metavar="SIZE", help="Size of /dev/shm.")] = None
    ulimit: Annotated[Words, _build("--ulimit", metavar="SPEC", help="Limit for RUN steps.")] = None
    cgroup_parent: Annotated[Text, _build("--cgroup-parent", metavar="NAME", help="Cgroup of RUN steps.")] = None
    metadata_file: Annotated[Text, _build("--metadata-file", metavar="FILE", help="Write Buildx' metadata.")] = None
    iidfile: Annotated[Text, _build("--iidfile", metavar="FILE", help="Write the image's ID.")] = None

    cache: Annotated[
        Text,
        _cache(
            "--cache", metavar="KIND", help="local, registry, inline, none; auto: registry when pushing, else local."
        ),
    ] = None
    cache_dir: Annotated[
        Text, _cache("--cache-dir", metavar="DIR", help="Folder of a local cache, outside of CONTEXT.")
    ] = None
    cache_ref: Annotated[
        Text,
        _cache("--cache-ref", metavar="REF", help="Reference of a registry cache; default IMAGE:buildcache-SCOPE."),
    ] = None
    cache_scope: Annotated[Text, _cache("--cache-scope", metavar="NAME", help="Whose cache is written (branch).")] = (
        None
    )
    cache_mode: Annotated[
        Text,
        _cache("--cache-mode", metavar="MODE", help="min: the image's layers; max: all stages' (max)."),
    ] = None
    cache_compression: Annotated[
        Text,
        _cache("--cache-compression", metavar="KIND", help="gzip, zstd, estargz or uncompressed, of cache and image."),
    ] = None
    cache_from: Annotated[Words, _cache("--cache-from", metavar="SPEC", help="Another source, Buildx syntax.")] = None
    cache_to: Annotated[Words, _cache("--cache-to", metavar="SPEC", help="Another target, Buildx syntax.")] = None
    cache_read_only: Annotated[
        Switch, _cache("--cache-read-only/--no-cache-read-only", help="Only import (default for forks' pull requests).")
    ] = None
    cache_max_size: Annotated[
        Text, _cache("--cache-max-size", metavar="SIZE", help="Upper bound of a local cache's folder after the build.")
    ] = None
    lazy: Annotated[
        Text,
        _cache("--lazy", metavar="WHEN", help="Hand BuildKit only what it needs of a local folder: auto, on or off."),
    ] = None
    strict_cache: Annotated[
        Switch, _cache("--strict-cache", help="A cache that cannot be read or written fails the call.")
    ] = None

    builder: Annotated[Text, _builder("--builder", metavar="NAME", help="Use this builder as it is.")] = None
    driver: Annotated[
        Text, _builder("--driver", metavar="DRIVER", help="docker, docker-container, remote or kubernetes.")
    ] = None
    endpoint: Annotated[
        Words,
        _builder("--endpoint", metavar="ADDRESS", help="A node: ADDRESS[,platform=…][,name=…]. Repeatable."),
    ] = None
    driver_opt: Annotated[Words, _builder("--driver-opt", metavar=_PAIR, help="Option of the driver.")] = None
    buildkit_image: Annotated[Text, _builder("--buildkit-image", metavar="REF", help="BuildKit's image.")] = None
    buildkitd_config: Annotated[Text, _builder("--buildkitd-config", metavar="FILE", help="A buildkitd.toml.")] = None
    buildkitd_flags: Annotated[Text, _builder("--buildkitd-flags", metavar="FLAGS", help="Flags of buildkitd.")] = None
    docker_context: Annotated[Text, _builder("--docker-context", metavar="NAME", help="Docker context to use.")] = None
    rm_builder: Annotated[
        Switch, _builder("--rm-builder/--keep-builder", help="Remove the builder afterwards (default: keep).")
    ] = None

    registry: Annotated[Text, _login("--registry", metavar="HOST", help="Where to log in (the first tag's host).")] = (
        None
    )
    username: Annotated[Text, _login("--username", metavar="NAME", help="Who logs in.")] = None
    password_stdin: Annotated[Switch, _login("--password-stdin", help="Read the password from stdin.")] = None
    password_env: Annotated[Text, _login("--password-env", metavar="NAME", help="Variable holding the password.")] = (
        None
    )

    prune: Annotated[Switch, _prune("--prune/--no-prune", help="Prune the builder's cache (default in CI).")] = None
    prune_keep: Annotated[Text, _prune("--prune-keep", metavar="SIZE", help="Keep at most this much.")] = None
    prune_older_than: Annotated[
        Text, _prune("--prune-older-than", metavar="DURATION", help="Drop what was not used for this long (7d).")
    ] = None

    config: Annotated[
        Text,
        _config("--config", metavar="FILE", help="Configuration file. Default: the repository's, if there is one."),
    ] = None
    trust_config: Annotated[
        Switch,
        _config("--trust-config", help="Let the repository's file set every option, logins and builder included."),
    ] = None

    timeout: Annotated[
        Text, _output("--timeout", metavar="DURATION", help="Stop the call, as SIGTERM would, after so long.")
    ] = None
    progress: Annotated[
        Text, _output("--progress", metavar="STYLE", help="live, plain, json or quiet; auto: live on a terminal.")
    ] = None
    report: Annotated[Text, _output("--report", metavar="FILE.json", help="Write what was done as JSON.")] = None
    report_html: Annotated[
        Text, _output("--report-html", metavar="FILE.html", help="The same as one page, with a timeline of the steps.")
    ] = None
    report_junit: Annotated[
        Text, _output("--report-junit", metavar="FILE.xml", help="The same as JUnit XML, one case a step.")
    ] = None
    report_md: Annotated[
        Text, _output("--report-md", metavar="FILE.md", help="The same as Markdown (GitHub's job summary gets it).")
    ] = None
    dotenv: Annotated[
        Text, _output("--dotenv", metavar="FILE", help="Append digest, tags and cache figures as NAME=value lines.")
    ] = None
    verbose: Annotated[Switch, _output("-v", "--verbose", help="Show the commands that run.")] = None
    quiet: Annotated[Switch, _output("-q", "--quiet", help="Only warnings and errors.")] = None
    no_color: Annotated[Switch, _output("--no-color", help="No colours (also NO_COLOR).")] = None

    def given(self) -> dict[str, object]:
        """The options that were given, by name."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: value for name, value in values.items() if value not in (None, [], ())}


def takes_options(command: Callable[..., None], *more: inspect.Parameter) -> Callable[..., None]:
    """Give a Typer command one parameter an option, and hand them to ``command`` as one ``Options`` value.

    ``more`` are further parameters, passed on by name. Typer reads a function's signature; this makes one from the
    fields of ``Options``, so that ``build`` and ``plan`` cannot differ.
    """
    fields = dataclasses.fields(Options)
    names = {field.name for field in fields}

    def callback(**values: object) -> None:
        chosen: dict[str, Any] = {name: values.pop(name) for name in names}
        command(Options(**chosen), **values)

    keyword = inspect.Parameter.KEYWORD_ONLY
    own = [inspect.Parameter(each.name, keyword, default=None, annotation=each.type) for each in fields]
    parameters = [*own, *more]
    callback.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    callback.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    callback.__doc__ = command.__doc__
    return callback
