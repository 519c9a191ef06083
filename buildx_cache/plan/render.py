"""Render a plan as shell lines to paste and as JSON, without secrets."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePath

from buildx_cache.caches.entry import redacted_entry
from buildx_cache.ci.capabilities import MARK, json_without_commands
from buildx_cache.formatting import is_printable, shell_comment, shell_word
from buildx_cache.plan.build_plan import BuildInvocation, BuildPlan, CachePlan, Container, ImagePlan, LoginPlan, Pods
from buildx_cache.plan.effects import CreateNode, Effect
from buildx_cache.plan.facts import show_version
from buildx_cache.redaction import HIDDEN, redact
from buildx_cache.secret_names import is_secret_name

SCHEMA = 1


def shell_lines(plan: BuildPlan) -> str:
    """Return the plan's commands as lines for POSIX shells, zsh and fish, with the reasons as comments."""
    lines = [
        _comment("builder", f"{plan.builder.name} ({plan.builder.driver}): {plan.builder.why}"),
        *(_comment("registries", line) for line in plan.builder.registries.lines),
        _comment("cache", f"{plan.cache.kind}: {plan.cache.why}"),
        *_served(plan.cache),
        *(_comment("fallbacks", line) for line in _superseding(plan.cache)),
        *(_comment("note", note) for note in plan.notes),
    ]
    for phase, effect in plan.phases():
        lines += [f"# {shell_comment(f'{name} is taken from the environment')}" for name in _environment(effect)]
        lines += _config_file(effect)
        source = _password(plan.login) if phase == "login" and plan.login else ""
        lines.append(source + shell_line(command_line(plan, effect)))
    return "\n".join(lines) + "\n"


def _served(cache: CachePlan) -> list[str]:
    """Return a comment if ``build`` serves a local folder to BuildKit, which the commands do not show."""
    said = f"BuildKit reads the folder through a registry in this program: {cache.serving.why}"
    return [_comment("lazy", said)] if cache.serving.is_on else []


def _superseding(cache: CachePlan) -> Iterator[str]:
    """Yield a comment's text for each group of imports: ``build`` may leave some out, the commands show all."""
    for own, *others in cache.fallbacks:
        what = f"{own.place}:{own.tag}" if own.folder else own.place
        names = ", ".join(other.tag if other.folder else other.place.rpartition(":")[2] for other in others)
        yield f"`build` imports {names} only if a step there is newer than those of {what}"


def _config_file(effect: Effect | BuildInvocation) -> list[str]:
    """Return the line that writes the planned configuration of a new builder, if there is one."""
    if not isinstance(effect, CreateNode) or not effect.config_lines:
        return []
    folder = shell_line(("mkdir", "-p", str(PurePath(effect.config).parent)))
    written = shell_line(("printf", "%s\\n", *effect.config_lines))
    return [f"{folder} && {written} > {_quoted(effect.config)}"]


def command_line(plan: BuildPlan, effect: Effect | BuildInvocation) -> tuple[str, ...]:
    """Return the whole command line of an effect of the plan, without secrets."""
    context = ("--context", plan.docker_context) if plan.docker_context else ()
    return ("docker", *redacted((*context, *effect.argv)))


def _environment(effect: Effect | BuildInvocation) -> tuple[str, ...]:
    """Return the variables from which an effect reads secrets."""
    return tuple(name for name, _ in effect.secrets) if isinstance(effect, BuildInvocation) else ()


def shell_line(words: Iterable[str]) -> str:
    """Return a command line, quoted for a shell."""
    return " ".join(map(_quoted, words))


def _comment(about: str, text: str) -> str:
    return f"# {about}: {shell_comment(MARK.sub('# ', text))}"


def _quoted(word: str) -> str:
    """Quote a word for a shell, also without sequences that a CI would obey."""
    return MARK.sub("#''", shell_word(word))


def redacted(words: Sequence[str]) -> tuple[str, ...]:
    """Return the words of a command line without secrets."""
    return tuple(_redacted(option, word) for option, word in zip(("", *words), words, strict=False))


# Options with NAME=VALUE: a value is hidden if its name looks secret. The plan's own build arguments of that kind have
# no value on the command line, but those that the user gave after `--` may.
_PAIRS = ("--build-arg", "--driver-opt")
_ENTRIES = ("--cache-from", "--cache-to")


def _redacted(option: str, word: str) -> str:
    if option in _ENTRIES:
        return redacted_entry(word)
    if option not in _PAIRS:
        option, equals, pair = word.partition("=")
        if option not in (*_PAIRS, *_ENTRIES) or not equals:
            return redact(word)
        return f"{option}={_redacted(option, pair)}"
    name, equals, _ = word.partition("=")
    return f"{name}={HIDDEN}" if equals and is_secret_name(name) else redact(word)


def _password(login: LoginPlan) -> str:
    return f'printf %s "${login.password_env}" | ' if login.password_env else ""


def plan_json(plan: BuildPlan) -> str:
    """Return the plan as one JSON document, version 1."""
    document = {
        "schema": SCHEMA,
        "builder": {
            "name": plan.builder.name,
            "driver": plan.builder.driver,
            "buildkit": show_version(plan.builder.buildkit),
            "nodes": plan.builder.nodes,
            "registries": {
                "insecure": list(plan.builder.registries.insecure),
                "mirrors": list(plan.builder.registries.mirrors),
                "certificates": [each.host for each in plan.builder.registries.certificates],
                "left_out": list(plan.builder.registries.left_out),
            },
            "config": next(map(_config, plan.builder.create), None),
            "owned": plan.builder.owned,
            "creates": bool(plan.builder.create),
            "why": plan.builder.why,
        },
        "cache": {
            "mode": plan.cache.kind.value,
            "why": plan.cache.why,
            "scope": plan.cache.scope,
            "read_only": plan.cache.read_only,
            "dir": plan.cache.directory or None,
            "max_size": plan.cache.max_size,
            "lazy": {
                "network": plan.cache.serving.network or None,
                "tunnels": [_end(each) for each in plan.cache.serving.tunnels],
                "why": plan.cache.serving.why,
            },
            "imports": [redacted_entry(str(entry)) for entry in plan.cache.imports],
            "fallbacks": [[redacted_entry(str(entry)) for entry in group] for group in plan.cache.fallbacks],
            "exports": [redacted_entry(str(entry)) for entry in plan.cache.written],
        },
        "images": {target.name: _image(target.image) for target in plan.targets},
        "login": {"registry": plan.login.registry, "username": plan.login.username} if plan.login else None,
        "notes": list(plan.notes),
        "commands": [
            {
                "phase": phase,
                "argv": list(command_line(plan, effect)),
                "environment": list(_environment(effect)),
            }
            for phase, effect in plan.phases()
        ],
    }
    text = json_without_commands(json.dumps(document, indent=2, ensure_ascii=False))
    return re.sub(r"[^ -~\n]", _escaped_unless_printable, text) + "\n"


def _end(end: Container | Pods) -> str:
    return end.name if isinstance(end, Container) else f"the pods of {end.builder}"


def _config(node: CreateNode) -> dict[str, object] | None:
    """Return the planned configuration file of a new builder; None if it has none, or uses the user's file."""
    return {"file": node.config, "lines": list(node.config_lines)} if node.config_lines else None


def _image(image: ImagePlan) -> dict[str, object]:
    return {
        "tags": list(image.tags),
        "push": image.push,
        "load": image.load,
        "loading": {"from_folder": image.loading.effect is not None, "why": image.loading.why},
        "platforms": list(image.platforms),
    }


def _escaped_unless_printable(match: re.Match[str]) -> str:
    return match[0] if is_printable(match[0]) else json.dumps(match[0])[1:-1]
