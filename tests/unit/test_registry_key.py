"""Registries as users write them, and the one key that Docker stores each one's login under."""

from __future__ import annotations

import pytest

from buildx_cache.errors import UsageError
from buildx_cache.reference import HUB_KEY, registry_key, registry_name

HOST = "registry.example.com"


@pytest.mark.parametrize(
    ("text", "key"),
    [
        (HOST, HOST),
        (f"https://{HOST}", HOST),
        (f"HTTPS://{HOST}", HOST),
        (f"https://{HOST}/", HOST),
        (f"https://{HOST}/v1/", HOST),
        (f"{HOST}/", HOST),
        (f"{HOST}//", HOST),
        (f"{HOST}/team", HOST),
        (f"{HOST}/team/app:tag", HOST),
        ("Registry.EXAMPLE.com", HOST),
        (f"{HOST}:5000", f"{HOST}:5000"),
        (f"https://{HOST}:443/", f"{HOST}:443"),
        ("myregistry", "myregistry"),
        ("localhost:5000", "localhost:5000"),
        ("http://localhost:5000", "localhost:5000"),
        ("http://127.0.0.1:5000/team", "127.0.0.1:5000"),
        ("http://[::1]:5000", "[::1]:5000"),
        ("[FE80::1]", "[fe80::1]"),
        ("", HUB_KEY),
        ("docker.io", HUB_KEY),
        ("Docker.io", HUB_KEY),
        ("docker.io/team", HUB_KEY),
        ("index.docker.io", HUB_KEY),
        ("https://index.docker.io/v1/", HUB_KEY),
        ("http://index.docker.io/v1/", HUB_KEY),
        ("registry-1.docker.io", HUB_KEY),
        ("https://registry-1.docker.io/v2/", HUB_KEY),
        ("https://hub.docker.com/", HUB_KEY),
    ],
)
def test_every_spelling_of_a_registry_is_one_key(text: str, key: str) -> None:
    assert registry_key(text) == key
    assert registry_key(key) == key
    assert registry_name(key) == ("docker.io" if key == HUB_KEY else key)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "a b",
            " ",
            f" {HOST}",
            f"{HOST} ",
            "-x",
            "--config",
            "/",
            "//",
            f"//{HOST}",
            ".",
            "..",
            "a..b",
            "a_b",
            "a,b",
        ),
        *(f"{HOST}/path with space", f"{HOST}\\team", f"{HOST}?x", f"{HOST}#x", f"{HOST}:", f"{HOST}:port"),
        *(
            f"{HOST}:65536",
            f"{HOST}:5000000000000000000000",
            f"{HOST}:-1",
            f"{HOST}:5000:5000",
            "[::1",
            "::1",
            "[g]",
            "[1:2]",
        ),
        *(f"{HOST}\n", f"{HOST}\x1b[0m", f"{HOST}\0", f"{HOST}\u202e", "ü.example.com", "\u0455.example.com"),
        *(f"ftp://{HOST}", f"oci://{HOST}", "https://", "https:///x", f"https:{HOST}", f"https://https://{HOST}"),
        *("${DOCKER_REGISTRY}", "$(id)", "<nil>", "*.example.com", "x" * 10_000 + "!"),
    ],
)
def test_what_is_no_host_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as refused:
        registry_key(text, "--registry")
    assert refused.value.exit_code == 2
    assert refused.value.hint
    assert len(refused.value.message) < 300
    assert refused.value.message.isprintable()


@pytest.mark.parametrize("text", [f"me:hunter2@{HOST}", f"https://me:hunter2@{HOST}", f"{HOST}/x@hunter2"])
def test_a_login_in_an_address_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(UsageError) as refused:
        registry_key(text)
    assert "hunter2" not in refused.value.message + refused.value.hint


@pytest.mark.parametrize("text", [f"http://{HOST}", f"HTTP://{HOST}:80/", "http://10.0.0.1:5000", "http://128.0.0.1"])
def test_a_login_over_plain_http_goes_to_this_machine_only(text: str) -> None:
    with pytest.raises(UsageError):
        registry_key(text)
