"""The packages for single CIs: valid, complete, and their scripts do what they say on the real engine."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ruamel.yaml import YAML

from buildx_cache.cli.plugin_settings import plugin_variables
from docker.packages.circleci.pack import PARTS, pack
from tests.integration.conftest import PROJECT, Docker, write_project

PACKAGES = PROJECT / "docker" / "packages"
ORB = PACKAGES / "circleci" / "src"
SCRIPTS = (
    PROJECT / "docker" / "install.sh",
    *sorted(PACKAGES.glob("**/*.sh")),
    *sorted((PACKAGES / "buildkite" / "hooks").iterdir()),
)
SNAKE = re.compile(r"[a-z][a-z0-9_]*")


def load(path: Path) -> Any:  # noqa: ANN401 -- YAML
    return YAML(typ="safe").load(path)


def check_schema(name: str, folder: Path, *documents: object) -> None:
    """Validate against a schema that check-jsonschema carries."""
    files = [folder / f"{number}.json" for number in range(len(documents))]
    for file, document in zip(files, documents, strict=True):
        file.write_text(json.dumps(document))
    words = (sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{name}", *map(str, files))
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def walk(node: object) -> Iterator[Mapping[str, Any]]:
    if isinstance(node, dict):
        yield node
    for each in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from walk(each)


def test_the_scripts_are_clean() -> None:
    done = subprocess.run(("shellcheck", *map(str, SCRIPTS)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.fixture(scope="module")
def orb() -> dict[str, Any]:
    return pack(ORB)


@pytest.fixture(scope="module")
def action() -> dict[str, Any]:
    loaded: dict[str, Any] = load(PACKAGES / "github" / "action.yml")
    return loaded


@pytest.fixture(scope="module")
def component() -> tuple[dict[str, Any], str]:
    """The component's inputs, and its job as text."""
    header, _, job = (PACKAGES / "gitlab" / "templates" / "build.yml").read_text().partition("\n---\n")
    return YAML(typ="safe").load(header)["spec"]["inputs"], job


# CircleCI: an orb is a configuration but for its examples, each of which is one, too.


def components(orb: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for part in ("commands", "jobs", "executors"):
        yield from orb[part].values()


def test_the_orb_is_valid(orb: dict[str, Any], tmp_path: Path) -> None:
    inline = {part: orb[part] for part in ("commands", "jobs", "executors")}
    usages = (example["usage"] for example in orb["examples"].values())
    check_schema("circle-ci", tmp_path, *({**usage, "orbs": {"buildx-cache": inline}} for usage in usages))


def test_the_orb_keeps_the_rules_of_review(orb: dict[str, Any]) -> None:
    """RC001 to RC012, by number, but for 006: whether the addresses answer."""
    assert orb["display"]["source_url"]  # 001
    for part in PARTS:
        for name, each in orb[part].items():
            assert each["description"], name  # 002
            assert SNAKE.fullmatch(name)  # 010
    assert orb["examples"]  # 003
    assert "example" not in orb["examples"]  # 004
    assert len(orb["description"]) >= 64  # 005
    for step in [node["run"] for node in walk([orb["commands"], orb["jobs"]]) if "run" in node]:
        assert step["name"]  # 007
        source = next((file for file in (ORB / "scripts").iterdir() if file.read_text() == step["command"]), None)
        assert source or len(step["command"]) <= 64  # 009
    for each in components(orb):
        for name, parameter in each.get("parameters", {}).items():
            assert parameter["description"]  # 008
            assert SNAKE.fullmatch(name)
            assert "$" not in str(parameter.get("default", ""))  # 012
    for example in orb["examples"].values():
        assert example["usage"]["orbs"] == {"buildx-cache": "example/buildx-cache@1.0"}  # 011


def test_the_orb_names_only_what_it_has(orb: dict[str, Any]) -> None:
    for each in components(orb):
        used = set(re.findall(r"<< parameters\.(\w+) >>", json.dumps(each)))
        assert used == set(each.get("parameters", {}))
    for node in walk(orb["jobs"]["build"]["steps"]):
        for name in orb["commands"].keys() & node.keys():
            assert set(node[name]) <= set(orb["commands"][name]["parameters"])
    job, command = orb["jobs"]["build"]["parameters"], orb["commands"]["build"]["parameters"]
    for name in command.keys() & job.keys() - {"cache_dir", "cache"}:
        assert {**job[name], "description": ""} == {**command[name], "description": ""}


def test_text_of_a_script_is_no_parameter(tmp_path: Path) -> None:
    for folder in ("commands", "scripts"):
        (tmp_path / folder).mkdir()
    (tmp_path / "@orb.yml").write_text("version: 2.1\n")
    (tmp_path / "commands" / "x.yml").write_text("steps:\n  - run: << include(scripts/x.sh) >>\n")
    (tmp_path / "scripts" / "x.sh").write_text("cat <<END\nEND\n")
    assert pack(tmp_path)["commands"]["x"]["steps"] == [{"run": "cat \\<<END\nEND\n"}]


# The others.


def test_the_action_is_valid(action: dict[str, Any], tmp_path: Path) -> None:
    check_schema("github-actions", tmp_path, action)
    used = set(re.findall(r"inputs\.([\w-]+)", json.dumps(action["runs"])))
    assert used == set(action["inputs"])


def test_the_action_puts_no_input_into_a_script(action: dict[str, Any]) -> None:
    assert [step for step in action["runs"]["steps"] if "${{" in step["run"]] == []


def test_the_component_is_valid(component: tuple[dict[str, Any], str], tmp_path: Path) -> None:
    inputs, text = component
    assert set(re.findall(r"\$\[\[ inputs\.(\w+) \]\]", text)) == set(inputs)
    assert all(each["description"] for each in inputs.values())
    check_schema("gitlab-ci", tmp_path, job_of(component, image="registry.example.com/buildx-cache"))


def job_of(component: tuple[dict[str, Any], str], **given: str) -> dict[str, Any]:
    """The job with its inputs filled in."""
    inputs, text = component
    values = {name: given.get(name, each.get("default", "")) for name, each in inputs.items()}
    filled = re.sub(r"\$\[\[ inputs\.(\w+) \]\]", lambda found: json.dumps(values[found[1]]), text)
    filled = re.sub(r'(docker:)"([^"]+)"', r"\1\2", filled)
    loaded: dict[str, Any] = YAML(typ="safe").load(filled)
    return loaded


def test_the_plugin_is_valid() -> None:
    plugin = load(PACKAGES / "buildkite" / "plugin.yml")
    assert {"name", "description", "author", "requirements", "configuration"} == set(plugin)
    jsonschema.Draft7Validator.check_schema(plugin["configuration"])
    for name in plugin["configuration"]["properties"]:
        plugin_variables({"BUILDKITE_PLUGIN_CONFIGURATION": json.dumps({name: "x"})})


# Their scripts, with the CI's variables, on the real engine.

SHA = "0123456789012345678901234567890123456789"


@pytest.fixture
def job(docker: Docker, tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """A checkout, and the environment of a job in which the program and CIs' own commands are on PATH."""
    checkout = write_project(tmp_path / "project")
    path = tmp_path / "bin"
    path.mkdir()
    commands = {
        "buildx-cache": f'exec {sys.executable} -m buildx_cache "$@"',
        "circleci": 'eval "printf %s \\"$3\\""',  # env subst, of the tests' own words
        "buildkite-agent": f'{{ echo "$@"; [ "$1" != annotate ] || cat; }} >> {tmp_path}/agent',
    }
    for name, body in commands.items():
        (path / name).write_text(f"#!/bin/sh\n{body}\n")
        (path / name).chmod(0o755)
    env = docker.child_env(PYTHONPATH=str(PROJECT), RUNNER_TEMP=str(tmp_path), TEMP=str(tmp_path))
    env["PATH"] = f"{path}:{env['PATH']}"
    return checkout, env


def run(script: str | tuple[str, ...], checkout: Path, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    words = ("sh", "-euc", script) if isinstance(script, str) else script
    done = subprocess.run(words, env=env, cwd=checkout, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done


def test_the_action_builds_and_hands_on_its_outputs(
    docker: Docker, job: tuple[Path, dict[str, str]], action: dict[str, Any], tmp_path: Path
) -> None:
    checkout, env = job
    image = docker.repository()
    given = {"tags": f"{image}:one\n{image}:two", "build-args": f"BASE={docker.base}\nX=$(touch {tmp_path}/pwned)"}
    step = next(step for step in action["runs"]["steps"] if step.get("id") == "build")
    inputs = {name: given.get(name, each["default"]) for name, each in action["inputs"].items()}
    values = {
        name: re.sub(r"\$\{\{ inputs\.([\w-]+) \}\}", lambda found: inputs[found[1]], value)
        for name, value in step["env"].items()
    }
    github = {"GITHUB_ACTIONS": "true", "GITHUB_SHA": SHA, "GITHUB_REF_NAME": "main", "GITHUB_REF": "refs/heads/main"}
    outputs = tmp_path / "outputs"
    folder = {"GITHUB_ACTION_PATH": str(PACKAGES / "github"), "GITHUB_OUTPUT": str(outputs)}
    run(step["run"], checkout, {**env, **values, **github, **folder, "BUILDX_CACHE_PUSH": "true"})
    said = outputs.read_text()
    digest = re.search(r"^digest(?:=|<<\S+\n)(sha256:\w+)$", said, re.MULTILINE)
    assert digest
    metadata = re.search(r"^metadata<<(\S+)\n(.*)\n\1$", said, re.DOTALL | re.MULTILINE)
    assert metadata
    assert json.loads(metadata[2])["containerimage.digest"] == digest[1]
    assert not (tmp_path / "pwned").exists()


def test_the_plugin_builds_annotates_and_uploads(
    docker: Docker, job: tuple[Path, dict[str, str]], tmp_path: Path
) -> None:
    checkout, env = job
    image = docker.repository()
    settings = {"tag": [f"{image}:one"], "push": True, "cache": "none", "build-arg": [f"BASE={docker.base}"]}
    buildkite = {
        "BUILDKITE": "true",
        "BUILDKITE_COMMIT": SHA,
        "BUILDKITE_BRANCH": "main",
        "BUILDKITE_JOB_ID": "job-1",
        "BUILDKITE_PLUGIN_CONFIGURATION": json.dumps(settings),
    }
    done = run(agent("environment", "command"), checkout, {**env, **buildkite})
    assert done.stdout.splitlines()[-2].startswith(f"{image}:one@sha256:")
    reports = Path(done.stdout.splitlines()[-1])
    assert [file.name for file in sorted((reports / "buildx-cache").iterdir())] == ["report.html", "report.md"]
    run(agent("pre-exit"), checkout, {**env, **buildkite, "BUILD_REPORTS": str(reports)})
    said = (tmp_path / "agent").read_text()
    assert said.startswith("annotate --context buildx-cache-job-1")
    assert "artifact upload buildx-cache/report.*" in said
    assert not reports.exists()


def agent(*hooks: str) -> str:
    """What an agent does: each hook, in the environment that the one before has left."""
    sourced = "; ".join(f". {PACKAGES}/buildkite/hooks/{hook}" for hook in hooks)
    return f"exec bash -euc '{sourced}; echo \"$BUILD_REPORTS\"'"


def stand_ins(folder: Path, commands: Mapping[str, str]) -> dict[str, str]:
    """The environment of a job in which these scripts come first on PATH."""
    folder.mkdir()
    for name, body in commands.items():
        (folder / name).write_text(f"#!/bin/sh\n{body}\n")
        (folder / name).chmod(0o755)
    return {"PATH": f"{folder}:{os.environ['PATH']}", "TMPDIR": str(folder)}


def test_the_plugin_shows_no_file_that_a_repository_links(tmp_path: Path) -> None:
    checkout, secret = tmp_path / "checkout", tmp_path / "secret"
    (checkout / "buildx-cache").mkdir(parents=True)
    secret.write_text("a token of the host")
    for name in ("report.md", "report.html"):
        (checkout / "buildx-cache" / name).symlink_to(secret)
    env = stand_ins(tmp_path / "bin", {"buildkite-agent": "cat; cat buildx-cache/report.*", "buildx-cache": "exit 1"})
    hooks = PACKAGES / "buildkite" / "hooks"
    script = f". {hooks}/environment; {hooks}/command || :; exec {hooks}/pre-exit"
    done = run(("bash", "-c", script), checkout, {**env, "BUILDKITE_JOB_ID": "job-1"})
    assert "token" not in done.stdout


@pytest.mark.parametrize("is_folder", [False, True])
def test_the_component_hands_on_nothing_that_a_repository_has_committed(
    component: tuple[dict[str, Any], str],
    tmp_path: Path,
    is_folder: bool,  # noqa: FBT001 -- a table
) -> None:
    """The program appends to a file of variables, and GitLab takes the file of a job that failed, too."""
    details = job_of(component, image="unused")["build-image"]
    files = (*details["artifacts"]["reports"].values(), *details["artifacts"]["paths"])
    for name in files:
        place = tmp_path / name
        if is_folder:
            place.mkdir()
        (place / name if is_folder else place).write_text("LD_PRELOAD=./evil.so\n")
    env = stand_ins(tmp_path / "bin", {"buildx-cache": "exit 0"})
    run("\n".join(details["script"]), tmp_path, {**env, "BUILD_CONTEXT": "."})
    assert [name for name in files if (tmp_path / name).exists()] == []


@pytest.mark.parametrize("package", ["github", "circleci", "gitlab"])
def test_no_context_is_an_option(component: tuple[dict[str, Any], str], tmp_path: Path, package: str) -> None:
    """Such as one that has the repository's configuration file trusted."""
    scripts = {
        "github": (PACKAGES / "github" / "build.sh").read_text(),
        "circleci": (ORB / "scripts" / "build.sh").read_text(),
        "gitlab": "\n".join(job_of(component, image="unused")["build-image"]["script"]),
    }
    env = stand_ins(tmp_path / "bin", {"buildx-cache": 'echo "$@"', "circleci": 'printf %s "$3"'})
    names = ("PARAM_TAG", "PARAM_BUILD_ARG", "BUILD_CONTEXT", "PARAM_CONTEXT")
    for context, word in {"--trust-config": "./--trust-config", "-": "-", "app": "app"}.items():
        given = {**dict.fromkeys(names, context), "PARAM_REPORT_DIR": str(tmp_path / "r"), "RUNNER_TEMP": str(tmp_path)}
        assert run(scripts[package], tmp_path, {**env, **given}).stdout == f"build {word}\n"


@pytest.mark.soak
def test_the_orb_builds_with_the_variables_that_parameters_name(
    docker: Docker, job: tuple[Path, dict[str, str]], orb: dict[str, Any], tmp_path: Path
) -> None:
    checkout, env = job
    image = docker.repository()
    given = {"tag": "$IMAGE:{short_sha}", "build_arg": "BASE=$BASE", "push": "true", "report_dir": str(tmp_path / "r")}
    command = orb["commands"]["build"]
    step = command["steps"][0]["run"]
    parameters = {name: str(given.get(name, each.get("default"))) for name, each in command["parameters"].items()}
    values = {
        name: re.sub(r"<< parameters\.(\w+) >>", lambda found: parameters[found[1]], value)
        for name, value in step["environment"].items()
    }
    circle = {"CIRCLECI": "true", "CIRCLE_SHA1": SHA, "CIRCLE_BRANCH": "main", "IMAGE": image, "BASE": docker.base}
    values = {name: value.replace("False", "false") for name, value in values.items()}
    done = run(step["command"].replace(r"\<<", "<<"), checkout, {**env, **circle, **values})
    assert done.stdout.startswith(f"{image}:{SHA[:7]}@sha256:")
    assert {file.name for file in (tmp_path / "r").iterdir()} == {"report.json", "report.html", "steps.xml"}


@pytest.mark.soak
def test_the_component_builds(
    docker: Docker, job: tuple[Path, dict[str, str]], component: tuple[dict[str, Any], str]
) -> None:
    checkout, env = job
    image = docker.repository()
    details = job_of(component, image="unused", push="true", build_arg=f"BASE={docker.base}")["build-image"]
    gitlab = {"GITLAB_CI": "true", "CI_COMMIT_SHA": SHA, "CI_COMMIT_BRANCH": "main", "CI_DEFAULT_BRANCH": "main"}
    values = {name: value.replace("$CI_REGISTRY_IMAGE", image) for name, value in details["variables"].items()}
    values = {name: value for name, value in values.items() if not name.startswith("DOCKER_")}
    done = run("\n".join(details["script"]), checkout, {**env, **gitlab, **values})
    assert done.stdout.startswith(f"{image}:{SHA[:7]}@sha256:")
    reports = details["artifacts"]["reports"]
    assert all((checkout / file).exists() for file in (*reports.values(), *details["artifacts"]["paths"]))
