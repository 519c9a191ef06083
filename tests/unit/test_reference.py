from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import buildx_cache
from buildx_cache.errors import ExitCode, UsageError
from buildx_cache.reference import FORKS, HUB_KEY, Reference, lowered, parse_reference, safe_tag

REPEATABLE = settings(derandomize=True, deadline=None)
DIGEST = "sha256:" + "0123456789abcdef" * 4


def reference(host: str, path: str, tag: str = "", digest: str = "") -> Reference:
    return Reference(host=host, path=path, tag=tag, digest=digest)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("app", reference("", "app")),
        ("app:1.2", reference("", "app", "1.2")),
        ("org/app", reference("", "org/app")),
        ("org/team/app:x", reference("", "org/team/app", "x")),
        ("registry.example.com/app", reference("registry.example.com", "app")),
        ("registry.example.com/team/app:1", reference("registry.example.com", "team/app", "1")),
        ("registry.example.com:5000/app:1", reference("registry.example.com:5000", "app", "1")),
        ("localhost/app", reference("localhost", "app")),
        ("localhost:5000/app", reference("localhost:5000", "app")),
        ("127.0.0.1:5000/app:1", reference("127.0.0.1:5000", "app", "1")),
        ("[2001:db8::1]:5000/app", reference("[2001:db8::1]:5000", "app")),
        ("BUILDHOST/app", reference("BUILDHOST", "app")),
        ("build-host/app", reference("", "build-host/app")),
        ("app:5000", reference("", "app", "5000")),
        (f"app@{DIGEST}", reference("", "app", "", DIGEST)),
        (f"registry.example.com/app:1@{DIGEST}", reference("registry.example.com", "app", "1", DIGEST)),
        ("a.b_c__d-e--f/app", reference("", "a.b_c__d-e--f/app")),
        ("app:_Tag.With-every_Sign", reference("", "app", "_Tag.With-every_Sign")),
        ("app:" + "t" * 128, reference("", "app", "t" * 128)),
    ],
)
def test_a_reference_is_taken_apart_as_docker_does(text: str, expected: Reference) -> None:
    parsed = parse_reference(text)
    assert parsed == expected
    assert str(parsed) == text


@pytest.mark.parametrize(
    ("text", "repository"),
    [
        ("app:1", "app"),
        ("org/app", "org/app"),
        (f"registry.example.com:5000/team/app:1@{DIGEST}", "registry.example.com:5000/team/app"),
    ],
)
def test_a_repository_is_named_as_written(text: str, repository: str) -> None:
    assert parse_reference(text).repository == repository


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("app:1", "docker.io/library/app:1"),
        ("org/app:1", "docker.io/org/app:1"),
        ("docker.io/app:1", "docker.io/library/app:1"),
        ("index.docker.io/org/app:1", "docker.io/org/app:1"),
        ("localhost/app:1", "localhost/app:1"),
        ("registry.example.com:5000/team/app:1", "registry.example.com:5000/team/app:1"),
    ],
)
def test_a_name_in_full_is_the_one_that_engines_use(text: str, canonical: str) -> None:
    assert str(parse_reference(text).canonical) == canonical


HUB = ("docker.io", "registry-1.docker.io", HUB_KEY)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("app", HUB),
        ("org/app:1", HUB),
        ("docker.io/app", HUB),
        ("index.docker.io/org/app", HUB),
        ("registry-1.docker.io/org/app", HUB),
        ("localhost:5000/app", ("localhost:5000",) * 3),
        ("BUILDHOST/app", ("BUILDHOST",) * 3),
    ],
)
def test_a_registry_has_a_name_for_people_one_for_its_interface_and_one_for_logins(
    text: str, names: tuple[str, str, str]
) -> None:
    parsed = parse_reference(text)
    assert (parsed.registry_host, parsed.api_host, parsed.auth_key) == names


@pytest.mark.parametrize(
    ("text", "tagged"),
    [("app", "app:latest"), ("app:1", "app:1"), (f"app@{DIGEST}", f"app@{DIGEST}"), ("h:1/app", "h:1/app:latest")],
)
def test_a_reference_without_tag_and_digest_is_latest_only_where_that_is_asked(text: str, tagged: str) -> None:
    assert str(parse_reference(text)) == text
    assert str(parse_reference(text).tagged) == tagged


def test_docker_hubs_names_are_in_one_module() -> None:
    package = Path(buildx_cache.__file__).parent
    modules = (path for path in package.rglob("*.py") if "docker.io" in path.read_text(encoding="utf-8"))
    assert [path.name for path in modules] == ["reference.py"]


TAG = "a tag begins with a letter, digit or _, has only these and . and -, and at most 128 of them"
UNSET = "its tag is empty: is the variable behind the colon set?"
SEVERAL = "that is more than one: give each its own --tag, or one a line in BUILDX_CACHE_TAG"
LOWER = "write the repository's name in lower case"
EMPTY = f"is the variable in front of it, such as DOCKER_REGISTRY, empty? {FORKS}"
EXAMPLE = "write HOST/REPOSITORY:TAG, for example registry.example.com/team/app:1.2"


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("", EMPTY),
        (" app", EXAMPLE),
        ("app:1 ", TAG),
        ("app:", UNSET),
        ("r.example/app:1\nr.example/app:2", SEVERAL),
        ("app:1 app:2", TAG),
        ("app:.1", TAG),
        ("app:-1", TAG),
        ("app:" + "t" * 129, TAG),
        ("app:1:2", TAG),
        ("r.example:65536/app:1", EXAMPLE),
        ("app@sha256:abc", EXAMPLE),
        ("/app", EMPTY),
        (":1", EMPTY),
        ("app/", EXAMPLE),
        ("org//app", EXAMPLE),
        ("org/app..x", EXAMPLE),
        ("org/-app", EXAMPLE),
        ("app:tést", TAG),
        ("app:1\n", TAG),
        ("[1:2]/app", EXAMPLE),
        ("[:::::]:5000/app", EXAMPLE),
        ("App", LOWER),
        ("registry.example.com/Team/app:1", LOWER),
        ("https://registry.example.com/app", "leave out the scheme: HOST/REPOSITORY:TAG"),
    ],
)
def test_what_is_no_reference_is_refused(text: str, hint: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse_reference(text)
    assert refused.value.message == f"{text!r} is not an image reference"
    assert refused.value.hint == hint
    assert refused.value.exit_code is ExitCode.USAGE


def digits(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:8]


@pytest.mark.parametrize(
    ("name", "tag"),
    [
        ("main", "main"),
        ("release-1.2_x", "release-1.2_x"),
        ("feature/login", "feature-login"),
        ("feature/deep/er", "feature-deep-er"),
        ("feature\\login", "feature-login"),
        ("_underscored", "_underscored"),
        ("b" * 128, "b" * 128),
        ("fix#12", "fix-12-" + digits("fix#12")),
        ("fix 12", "fix-12-" + digits("fix 12")),
        (".hidden", "hidden-" + digits(".hidden")),
        ("-dash", "dash-" + digits("-dash")),
        ("été", "t--" + digits("été")),
        ("#", digits("#")),
    ],
)
def test_a_branch_becomes_a_tag(name: str, tag: str) -> None:
    assert safe_tag(name) == tag


def test_a_long_name_is_cut_in_favour_of_its_mark() -> None:
    assert safe_tag("b" * 200) == "b" * 119 + "-" + digits("b" * 200)


NAMES = st.text(min_size=1, max_size=300)


@REPEATABLE
@given(NAMES)
def test_any_name_becomes_a_valid_tag(name: str) -> None:
    tag = safe_tag(name)
    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", tag)
    assert parse_reference(f"app:{tag}").tag == tag


@REPEATABLE
@given(NAMES, NAMES)
def test_two_names_that_had_to_change_never_share_a_tag(one: str, other: str) -> None:
    assume(re.split(r"[/\\]+", one) != re.split(r"[/\\]+", other))
    assume("-".join(re.split(r"[/\\]+", one)) != "-".join(re.split(r"[/\\]+", other)))
    assert safe_tag(one) != safe_tag(other)


@REPEATABLE
@given(st.text("ab", min_size=128, max_size=160), st.text("ab", max_size=40), st.text("ab", max_size=40))
def test_names_that_differ_only_after_the_cut_never_share_a_tag(start: str, one: str, other: str) -> None:
    assume(one != other)
    assert safe_tag(start + one) != safe_tag(start + other)


@pytest.mark.parametrize("text", ["user:hunter2secret@r.example/app", "hunter2secret@r.example/app:1"])
def test_no_error_shows_a_login_before_the_host(text: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_reference(text)
    assert "hunter2secret" not in error.value.message
    assert "r.example" in error.value.message


@pytest.mark.parametrize(
    ("text", "familiar"),
    [
        ("docker.io/library/base:1", "base:1"),
        ("base", "base"),
        ("index.docker.io/org/app", "org/app"),
        ("registry.test/library/base:1", "registry.test/library/base:1"),
    ],
)
def test_a_familiar_name_leaves_docker_hub_out(text: str, familiar: str) -> None:
    assert str(parse_reference(text).familiar) == familiar


@pytest.mark.parametrize(
    ("text", "low"),
    [
        ("ghcr.io/Owner/Repo:V1", "ghcr.io/owner/repo:V1"),
        ("ghcr.io/Owner/Repo", "ghcr.io/owner/repo"),
        ("localhost:5000/Team/app:X", "localhost:5000/team/app:X"),
        ("ghcr.io/owner/repo:V1", "ghcr.io/owner/repo:V1"),
        ("Owner/Repo", "Owner/Repo"),
        ("App:1", "App:1"),
    ],
)
def test_a_repository_is_lowered_and_its_tag_is_not(text: str, low: str) -> None:
    assert lowered(text) == low
