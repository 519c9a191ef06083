"""What `.dockerignore` leaves out, by the real Buildx."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from buildx_cache.request.dockerignore import DockerIgnore, parse_dockerignore
from tests.dockerignore_cases import CASES
from tests.integration.conftest import Docker

# Buildx hands patterns on in a header, which takes no control characters.
LISTS = tuple(dict.fromkeys(each for each, _, _ in CASES if all(line.isprintable() for line in each)))
PATHS = {path for _, path, _ in CASES}
FILES = {path for path in PATHS if not any(other.startswith(f"{path}/") for other in PATHS)}
TOGETHER = 4


def sent(patterns: Sequence[str]) -> set[str]:
    ignored = DockerIgnore(parse_dockerignore("\n".join(patterns).encode()))
    return {path for path in FILES if not ignored.is_ignored(path)}


def ignore_files() -> tuple[tuple[str, ...], ...]:
    """Put many patterns into one file, but for those that leave out much and would hide what others do."""
    broad = tuple(each for each in LISTS if len(sent(each)) < 0.7 * len(FILES))
    narrow = [line for each in LISTS if each not in broad for line in each]
    return (*broad, *(tuple(narrow[at::TOGETHER]) for at in range(TOGETHER)))


def test_what_is_sent_is_what_the_program_says(docker: Docker, tmp_path: Path) -> None:
    contexts = {tmp_path / f"c{at}": patterns for at, patterns in enumerate(ignore_files())}
    for context, patterns in contexts.items():
        for path in FILES:
            (context / path).parent.mkdir(parents=True, exist_ok=True)
            (context / path).touch()
        (context / ".dockerignore").write_bytes("\n".join(patterns).encode())
    main, out = tmp_path / "main", tmp_path / "out"
    main.mkdir()
    lines = (f"COPY --link --from={each.name} . /{each.name}/" for each in contexts)
    (main / "Dockerfile").write_text("\n".join(("FROM scratch", *lines)))
    words = (f"--build-context={each.name}={each}" for each in contexts)
    docker.docker("buildx", "build", "--builder=default", f"--output=type=local,dest={out}", *words, str(main))
    found = {
        patterns: {path for path in FILES if (out / each.name / path).exists()} for each, patterns in contexts.items()
    }
    assert found == {patterns: sent(patterns) for patterns in contexts.values()}


def test_links_to_the_ignore_file_are_followed_inside_of_the_context_alone(docker: Docker, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("a\n")
    targets = {"inside": "lines", "absolute": "/lines", "outside": str(tmp_path / "secret"), "above": "../secret"}
    words = []
    for name, target in targets.items():
        context = tmp_path / name
        context.mkdir()
        (context / "a").touch()
        (context / "lines").write_text("a\n")
        (context / ".dockerignore").symlink_to(target)
        words.append(f"--build-context={name}={context}")
    main = tmp_path / "main"
    main.mkdir()
    (main / "Dockerfile").write_text(
        "\n".join(("FROM scratch", *(f"COPY --from={each} . /{each}/" for each in targets)))
    )
    out = tmp_path / "out"
    docker.docker("buildx", "build", "--builder=default", f"--output=type=local,dest={out}", *words, str(main))
    assert {name for name in targets if not (out / name / "a").exists()} == {"inside", "absolute"}


@pytest.mark.parametrize("words", [(), ("--file", "{}/Dockerfile")], ids=["found", "named"])
def test_a_dockerfile_in_lower_case_has_its_own_ignore_file(
    docker: Docker, tmp_path: Path, words: tuple[str, ...]
) -> None:
    context, out = tmp_path / "context", tmp_path / "out"
    context.mkdir()
    (context / "dockerfile").write_text("FROM scratch\nCOPY . /\n")
    (context / "dockerfile.dockerignore").write_text("left-out\ndockerfile*\n")
    (context / ".dockerignore").write_text("sent\n")
    (context / "sent").touch()
    report = context / "left-out" / "report.md"
    given = (word.format(context) for word in words)
    options = ("--builder=default", "--cache=none", f"--output=type=local,dest={out}", f"--report-md={report}")
    built = docker.build(*options, *given, str(context), env={"BUILDX_CACHE_CACH": "none"})
    assert ((out / "sent").exists(), (out / "left-out").exists()) == (True, False)
    assert [each for each in built.report["warnings"] if "part of the build context" in each] == []
    assert [each for each in built.report["warnings"] if "BUILDX_CACHE_CACHE?" in each] != []
