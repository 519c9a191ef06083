"""The commands: `up`, `env`, `job`, `status`, `down`."""

import argparse
import json
import os
import re
import shlex
from collections.abc import Callable, Mapping, Sequence

import existing
import job
import private
import state
from errors import EngineError
from processes import say
from state import EXISTING, RUN_ROOT, STORES, SUITES, Name, Places, State

NOT_RUNNING = 3
FAILED = 3


def main(argv: Sequence[str], env: Mapping[str, str]) -> int:
    """Run one command; an error is two lines on stderr."""
    options = _parser().parse_args(argv)
    commands: dict[str, Callable[[argparse.Namespace, Mapping[str, str]], int]] = {
        "up": _up,
        "env": _env,
        "job": _job,
        "status": _status,
        "down": _down,
    }
    try:
        return commands[options.command](options, env)
    except EngineError as error:
        say(f"error: {error.message}")
        say(f"hint: {error.hint}")
        return FAILED
    except OSError as error:
        say(f"error: {error.strerror}: {error.filename or 'of a process or socket'}")
        say("hint: see to the permissions and the free space there, then try again")
        return FAILED
    except KeyboardInterrupt:
        say("error: interrupted")
        say("hint: `down` removes what was started")
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="docker/engine", description=__doc__, allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True)
    texts = {
        "up": "have a Docker engine, two registries and the images for tests and demos",
        "env": 'print the variables that lead to it, for eval "$(python3 docker/engine env)"',
        "job": "have the image of a CI's job container in a private engine, and print its name",
        "status": "list the known engines; exit code 3 if the asked one does not run",
        "down": "stop it and leave nothing behind but its storage",
    }
    for name, text in texts.items():
        command = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        command.add_argument("--suite", choices=SUITES, help="Debian suite of a private engine's packages")
        command.add_argument("--store", choices=STORES, help="image store of a private engine")
        command.add_argument("--remote", action="store_true", help="one on another machine, reached by TLS only")
        if name == "env":
            command.add_argument("--format", choices=("shell", "json"), default="shell")
        if name == "down":
            command.add_argument("--all", action="store_true", help="every engine, not only the asked one")
            command.add_argument("--purge", action="store_true", help="delete its images and registry contents too")
    return parser


def _asked(options: argparse.Namespace, env: Mapping[str, str]) -> Name | None:
    """Return the private engine that was asked for: by option, or by an environment that already leads to one."""
    if options.suite or options.store or options.remote:
        return Name(suite=options.suite or SUITES[0], store=options.store or STORES[0], is_remote=options.remote)
    found = re.fullmatch(rf"unix://{RUN_ROOT}/(\w+)-(\w+)/docker\.sock", env.get("DOCKER_HOST", ""))
    return Name(suite=found[1], store=found[2]) if found and found[1] in SUITES and found[2] in STORES else None


def _up(options: argparse.Namespace, env: Mapping[str, str]) -> int:
    with state.locked(state.run_root(env)):
        name = _asked(options, env)
        if name is None and not private.current(Name()) and existing.answers(env):
            found = existing.up(env)
        else:
            found = private.up(Places(cache=state.cache_root(env), name=name or Name()), env)
    say(f"{found.name}: Docker {found.docker_version}, Buildx {found.buildx_version}, registry {found.registry}")
    return 0


def _env(options: argparse.Namespace, env: Mapping[str, str]) -> int:
    found = _find(options, env)
    if not found:
        say("error: the engine is not up")
        say("hint: start it with `python3 docker/engine up`")
        return 1
    values = variables(found, env)
    if options.format == "json":
        print(json.dumps(values, indent=1))
    else:
        print("\n".join(f"export {name}={shlex.quote(value)}" for name, value in values.items()))
    return 0


def variables(found: State, env: Mapping[str, str]) -> dict[str, str]:
    """Return the environment that leads a child process to the engine."""
    others = [part for part in env.get("PATH", "").split(":") if part and part != found.cli_folder]
    docker = {
        "DOCKER_HOST": found.docker_host,
        "DOCKER_CONFIG": found.docker_config,
        "DOCKER_CERT_PATH": found.certificates,
        "DOCKER_TLS_VERIFY": "1" if found.certificates else "",
        "PATH": ":".join([found.cli_folder, *others]) if found.cli_folder else "",
    }
    return {
        **{name: value for name, value in docker.items() if value},
        "ENGINE_KIND": found.kind,
        "ENGINE_NAME": found.name,
        "ENGINE_REGISTRY": found.registry,
        "ENGINE_AUTH_REGISTRY": found.auth_registry,
        "ENGINE_AUTH_USER": found.auth_user,
        "ENGINE_AUTH_PASSWORD": found.auth_password,
        "ENGINE_BUILDKIT_IMAGE": found.buildkit_image,
        "ENGINE_DRIVER_OPT": found.driver_opt,
        "ENGINE_BASE_IMAGE": found.base_image,
        "ENGINE_DOCKER_VERSION": found.docker_version,
        "ENGINE_BUILDX_VERSION": found.buildx_version,
    }


def _job(options: argparse.Namespace, env: Mapping[str, str]) -> int:
    name = _asked(options, env) or Name()
    with state.locked(state.run_root(env)):
        found = private.current(name)
        if not found:
            raise EngineError("the private engine is not up", "start it: `python3 docker/engine up --store containerd`")
        print(job.ensure(private.places_of(found, name), env))
    return 0


def _find(options: argparse.Namespace, env: Mapping[str, str]) -> State | None:
    """Return the running engine that was asked for; without a wish, the default one or else an existing Docker's."""
    name = _asked(options, env)
    found = private.current(name or Name())
    if found or name:
        return found
    known = state.load(state.run_root(env) / EXISTING)
    return known if known and existing.is_running(known) else None


def _status(options: argparse.Namespace, env: Mapping[str, str]) -> int:
    for name in _names():
        running = private.current(name)
        known = running or state.load(Places(cache=state.cache_root(env), name=name).home)
        if known:
            _print_line(known, is_running=running is not None)
    known = state.load(state.run_root(env) / EXISTING)
    if known:
        _print_line(known, is_running=existing.is_running(known))
    return 0 if _find(options, env) else NOT_RUNNING


def _print_line(known: State, *, is_running: bool) -> None:
    word = "running" if is_running else "stopped"
    versions = f"docker {known.docker_version or '?'}  buildx {known.buildx_version or '?'}"
    print(f"{known.name:<25} {word}  {versions}  {known.docker_host}  {known.registry} {known.auth_registry}")


def _down(options: argparse.Namespace, env: Mapping[str, str]) -> int:
    asked = _asked(options, env)
    root = state.run_root(env)
    with state.locked(root):
        if (options.all or asked is None) and (root / EXISTING / "state.json").exists():
            existing.down(env)
        for name in _names() if options.all else [asked or Name()]:
            if os.geteuid() != 0:
                break  # only root can have started a private engine
            known = state.load(RUN_ROOT / name.text)
            places = private.places_of(known, name) if known else Places(cache=state.cache_root(env), name=name)
            private.down(places, env, purge=options.purge)
    return 0


def _names() -> list[Name]:
    machines = (False, True)
    return [Name(suite=suite, store=store, is_remote=far) for far in machines for suite in SUITES for store in STORES]
