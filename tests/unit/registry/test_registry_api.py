"""Talking to a registry: addresses, tags, redirects, refusals, and registries that mean harm."""

from __future__ import annotations

import json
import socket

import pytest
import urllib3
from urllib3 import HTTPSConnectionPool
from urllib3.exceptions import MaxRetryError, NameResolutionError, NewConnectionError, SSLError

from buildx_cache.errors import BuildxCacheError, DeniedError, UnreachableError, UsageError
from buildx_cache.layout.parse import MalformedError
from buildx_cache.redaction import Secret
from buildx_cache.reference import is_loopback, parse_reference
from buildx_cache.registry import Password, transport
from buildx_cache.registry.deletion_advice import OWN, OWN_UNTAGGED, PROVIDERS, advice, advice_of_untagged, service_of
from buildx_cache.registry.repository import connect
from buildx_cache.registry.transport import ANSWER_LIMIT, RegistryRequest, follow, join, may_redirect, origin, printable
from tests.unit.registry.fakes import HOST, PATH, Deletes, FakeRegistry, answer, errors


@pytest.mark.parametrize(
    ("reference", "base", "path", "host"),
    [
        ("registry.example.com/team/app", "https://registry.example.com", "team/app", "registry.example.com"),
        ("registry.example.com:5000/app:1", "https://registry.example.com:5000", "app", "registry.example.com:5000"),
        ("busybox", "https://registry-1.docker.io", "library/busybox", "docker.io"),
        ("docker.io/org/app", "https://registry-1.docker.io", "org/app", "docker.io"),
        ("index.docker.io/busybox", "https://registry-1.docker.io", "library/busybox", "docker.io"),
        ("localhost:5000/app", "http://localhost:5000", "app", "localhost:5000"),
        ("127.0.0.1:5000/app", "http://127.0.0.1:5000", "app", "127.0.0.1:5000"),
        ("127.8.9.1/app", "http://127.8.9.1", "app", "127.8.9.1"),
        ("[::1]:5000/app", "http://[::1]:5000", "app", "[::1]:5000"),
        ("localhost.example.com/app", "https://localhost.example.com", "app", "localhost.example.com"),
        ("10.0.0.1/app", "https://10.0.0.1", "app", "10.0.0.1"),
    ],
)
def test_a_reference_leads_to_its_registrys_address(reference: str, base: str, path: str, host: str) -> None:
    registry = connect(parse_reference(reference), lambda _: None).registry
    assert (registry.base, registry.path, registry.host) == (base, path, host)


def test_plain_http_can_be_asked_for_and_refused() -> None:
    remote = connect(parse_reference("registry.example.com/app"), lambda _: None, plain_http=True)
    here = connect(parse_reference("localhost/app"), lambda _: None, plain_http=False)
    assert remote.registry.base == "http://registry.example.com"
    assert here.registry.base == "https://localhost"


@pytest.mark.parametrize("page", [0, 1, 2, 3, 5])
def test_tags_are_listed_over_all_pages(page: int) -> None:
    registry = FakeRegistry(page=page)
    registry.cache("buildcache-main", "1.0", "buildcache-x", "latest", "buildcach")
    assert registry.repository().tags() == ("buildcache-main", "1.0", "buildcache-x", "latest", "buildcach")
    assert registry.repository().cache_tags() == ("buildcache-main", "buildcache-x")


def test_a_repository_without_tags_has_none() -> None:
    assert FakeRegistry().repository().tags() == ()


def test_names_that_are_no_tags_are_never_used() -> None:
    names = ["buildcache-a", "buildcache-../../x", "", "-a", 7, None, "a/b", "a?b", "ä", "x" * 129, "a\n"]
    listed = answer(200, content=json.dumps({"tags": names}).encode())
    assert FakeRegistry(instead={("GET", "/tags/list"): listed}).repository().tags() == ("buildcache-a",)


@pytest.mark.parametrize("content", [b"", b"[]", b"<html>", b'"' + b"[" * 100_000, b"\xff"])
def test_a_list_of_tags_that_is_none_is_told(content: bytes) -> None:
    registry = FakeRegistry(instead={("GET", "/tags/list"): answer(200, content=content)})
    with pytest.raises(UnreachableError, match="list of tags"):
        registry.repository().tags()


@pytest.mark.parametrize("link", ["https://other.example.com/v2/x", "http://registry.example.com/v2", "//other/x"])
def test_a_list_of_tags_is_not_followed_to_another_place(link: str) -> None:
    listed = answer(200, {"Link": f'<{link}>; rel="next"'}, b'{"tags":["a"]}')
    registry = FakeRegistry(instead={("GET", "/tags/list"): listed})
    with pytest.raises(UnreachableError, match="on another host"):
        registry.repository().tags()
    assert len(registry.requests) == 1


def test_a_list_of_tags_that_never_ends_is_given_up() -> None:
    pages = iter(range(10_000))

    def endless(_: RegistryRequest) -> urllib3.HTTPResponse:
        return answer(200, {"Link": f'<?last={next(pages)}>; rel="next"'}, b'{"tags":["a"]}')

    with pytest.raises(UnreachableError, match="never ends"):
        FakeRegistry(guard=endless).repository().tags()


def test_an_absent_repository_is_a_usage_error() -> None:
    registry = FakeRegistry(instead={("GET", "/tags/list"): answer(404, content=errors("NAME_UNKNOWN"))})
    with pytest.raises(UsageError, match=r"registry\.example\.com/team/app is not in the registry"):
        registry.repository().tags()


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (401, DeniedError, "denied the list of tags of team/app: HTTP 401, TOOBAD no"),
        (403, DeniedError, "denied the list of tags of team/app: HTTP 403, TOOBAD no"),
        (429, UnreachableError, "limits requests"),
        (500, UnreachableError, "HTTP 500, TOOBAD no"),
        (503, UnreachableError, "HTTP 503, TOOBAD no"),
        (418, UnreachableError, "HTTP 418, TOOBAD no"),
        (301, UnreachableError, "no safe address"),
    ],
)
def test_a_refusal_is_an_error_with_the_registrys_words(status: int, kind: type[BuildxCacheError], words: str) -> None:
    registry = FakeRegistry(instead={("GET", "/tags/list"): answer(status, content=errors("TOOBAD"))})
    with pytest.raises(kind) as caught:
        registry.repository().tags()
    assert words in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("content", [b"", b"<html>", b"[]", b'{"errors":7}', b'{"errors":["x"]}', b"{" * 100_000])
def test_a_refusal_in_other_words_is_told_by_its_number(content: bytes) -> None:
    registry = FakeRegistry(instead={("GET", "/tags/list"): answer(500, content=content)})
    with pytest.raises(UnreachableError, match=r"HTTP 500$"):
        registry.repository().tags()


def test_a_registrys_words_cannot_steer_a_terminal() -> None:
    content = errors("X", "\x1b[2J\x1b]0;title\x07 a\nb\u202e" + "long " * 1000)
    registry = FakeRegistry(instead={("GET", "/tags/list"): answer(500, content=content)})
    with pytest.raises(UnreachableError) as caught:
        registry.repository().tags()
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 400


def test_no_connection_is_unreachable() -> None:
    pool = urllib3.HTTPSConnectionPool(HOST)
    reason = NewConnectionError(urllib3.connection.HTTPSConnection(HOST), "Connection refused")
    registry = FakeRegistry(instead={("GET", "/tags/list"): MaxRetryError(pool, "/", reason)})
    with pytest.raises(UnreachableError, match=r"^no answer from registry.example.com: .*Connection refused$"):
        registry.repository().tags()


@pytest.mark.parametrize(
    ("reason", "hint"), [("CERTIFICATE_VERIFY_FAILED", "SSL_CERT_FILE"), ("WRONG_VERSION_NUMBER", "plain HTTP")]
)
def test_an_unsafe_connection_is_told_with_what_to_do(reason: str, hint: str) -> None:
    error = MaxRetryError(urllib3.HTTPSConnectionPool(HOST), "/", SSLError(reason))
    registry = FakeRegistry(instead={("GET", "/tags/list"): error})
    with pytest.raises(UnreachableError, match="no safe connection") as caught:
        registry.repository().tags()
    assert hint in caught.value.hint


def test_a_manifest_larger_than_the_limit_is_not_read() -> None:
    registry = FakeRegistry(instead={("GET", "/manifests/t"): answer(200, content=b"x" * (ANSWER_LIMIT + 1))})
    with pytest.raises(MalformedError, match="more than 4194304 bytes"):
        registry.repository().registry.manifest("t")


@pytest.mark.parametrize("status", [200, 500])
def test_a_list_of_tags_without_end_is_not_read(status: int) -> None:
    registry = FakeRegistry(guard=lambda _: answer(status, content=b" " * (ANSWER_LIMIT * 2)))
    with pytest.raises(UnreachableError):
        registry.repository().tags()


def test_a_manifest_that_is_not_its_digest_is_refused() -> None:
    registry = FakeRegistry()
    digest = str(registry.cache("t")["digest"])
    registry.manifests[digest] = (registry.manifests[digest][0], b"{}")
    api = registry.repository().registry
    for reference in (digest, "t"):
        with pytest.raises(MalformedError, match="the registry says"):
            api.manifest(reference)


def test_manifests_of_every_shape_are_asked_for() -> None:
    registry = FakeRegistry()
    registry.cache("t")
    registry.repository().registry.digest("t")
    assert sorted(registry.requests[0].headers["Accept"].split(", ")) == [
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.docker.distribution.manifest.v2+json",
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.oci.image.manifest.v1+json",
    ]


@pytest.mark.parametrize("told", ["", "sha512:abc", "sha256:../../x"])
def test_the_digest_of_a_tag_is_computed_where_the_registry_does_not_tell(told: str) -> None:
    registry = FakeRegistry()
    digest = registry.cache("t")["digest"]
    registry.instead["HEAD", "/manifests/t"] = answer(200, {"Docker-Content-Digest": told}, method="HEAD")
    assert registry.repository().registry.digest("t") == digest


def test_an_absent_tag_has_no_digest() -> None:
    assert FakeRegistry().repository().registry.digest("t") is None


@pytest.mark.parametrize("length", [{"Content-Length": "-5"}, {"Content-Length": "9" * 30}, {"Content-Length": "x"}])
def test_a_blobs_size_that_is_not_told_is_not_known(length: dict[str, str]) -> None:
    registry = FakeRegistry(guard=lambda request: answer(200, length, method=request.method))
    assert registry.repository().registry.blob_size("sha256:" + "0" * 64) == -1


# Redirects.


def redirecting(location: str, target: bytes = b"blob") -> FakeRegistry:
    def redirect(request: RegistryRequest) -> urllib3.HTTPResponse:
        if "/v2/" in request.url:
            if "Authorization" not in request.headers:
                return answer(401, {"WWW-Authenticate": 'Basic realm="x"'})
            return answer(307, {"Location": location})
        return answer(200, content=target, method=request.method)

    return FakeRegistry(guard=redirect)


def test_a_blob_is_read_where_the_registry_keeps_it_without_the_login_going_there() -> None:
    registry = redirecting("https://storage.example.net/blob?signature=1")
    api = registry.repository(Password(username="me", secret=Secret("hush"))).registry
    with api.blob("sha256:" + "0" * 64, 1) as pieces:
        assert pieces is not None
        assert b"".join(pieces) == b"blob"
    assert ["Authorization" in request.headers for request in registry.requests] == [False, True, False]


@pytest.mark.parametrize(
    "location",
    [
        "http://storage.example.net/x",
        "file:///etc/passwd",
        "ftp://x/y",
        "",
        "https://me@x/",
        "https://[",
        "gopher:x",
        "https://169.254.169.254\\.example.com/x",
        "https://localhost%2e/x",
    ],
)
def test_a_redirect_to_no_safe_place_is_refused(location: str) -> None:
    registry = FakeRegistry(guard=lambda _: answer(302, {"Location": location}))
    with pytest.raises(UnreachableError, match="no safe address"):
        registry.repository().registry.blob_size("sha256:" + "0" * 64)
    assert len(registry.requests) == 1


def test_redirects_end() -> None:
    registry = FakeRegistry(guard=lambda request: answer(302, {"Location": request.url + "x"}))
    with pytest.raises(UnreachableError, match="redirects more than 5 times"):
        registry.repository().registry.manifest("t")


def test_a_deletion_is_not_redirected() -> None:
    registry = FakeRegistry(guard=lambda _: answer(307, {"Location": "https://other.example.com/x"}))
    with pytest.raises(UnreachableError, match="HTTP 307"):
        registry.repository().registry.delete("t")
    assert len(registry.requests) == 1


# The parts.


@pytest.mark.parametrize(
    ("host", "here"),
    [("localhost:5000", True), ("127.1.2.3", True), ("[::1]", True), ("localhost.evil.com", False), ("1.1.1.1", False)],
)
def test_this_machine_is_told_by_its_names(host: str, here: bool) -> None:  # noqa: FBT001 -- a table's column
    assert is_loopback(host) is here


def test_an_address_belongs_to_its_scheme_host_and_port() -> None:
    assert origin("https://a/x") == origin("https://a:443/y")
    assert len({origin(url) for url in ("https://a", "http://a", "https://b", "https://a:444")}) == 4
    assert join("https://a/v2/x", "/y?z") == "https://a/y?z"
    assert join("https://a/v2/x", "/y\r\nHost: b") is None
    assert join("https://a/v2/x", "https://a:99999/") is None


def test_foreign_words_are_cut_and_cleaned() -> None:
    assert printable("a\x00\tb\n c") == "a b c"
    assert printable("x" * 500, 10) == "x" * 10 + "..."


def test_requests_are_repeated_when_a_registry_is_busy_and_not_for_ever() -> None:
    for status in (429, 500, 502, 503, 504):
        assert transport.RETRY.is_retry("DELETE", status)
    assert not transport.RETRY.is_retry("GET", 404)
    assert transport.RETRY.parse_retry_after("3600") == 30
    assert (transport.RETRY.total, transport.RETRY.connect, transport.RETRY.read) == (4, 2, 2)


@pytest.mark.parametrize(
    ("number", "passes"), [(socket.EAI_NONAME, False), (socket.EAI_NODATA, False), (socket.EAI_AGAIN, True)]
)
def test_a_host_name_that_does_not_exist_is_looked_up_once(number: int, *, passes: bool) -> None:
    pool = HTTPSConnectionPool("absent.example.com")
    cause = socket.gaierror(number, "no name")
    error = NameResolutionError("absent.example.com", pool._new_conn(), cause)  # type: ignore[arg-type]
    error.__cause__ = cause
    if passes:
        assert transport.RETRY.increment("GET", "/v2/", error=error, _pool=pool).connect == 1
    else:
        with pytest.raises(MaxRetryError):
            transport.RETRY.increment("GET", "/v2/", error=error, _pool=pool)


def test_a_request_never_shows_its_login() -> None:
    request = RegistryRequest(method="GET", url="https://x/", headers={"Authorization": "Basic aHVzaA=="}, body=b"hush")
    assert "aHVzaA" not in repr(request)
    assert "hush" not in repr(request)


@pytest.mark.parametrize(
    ("env", "url", "proxied"),
    [
        ({}, "https://r.example.com/", False),
        ({"HTTPS_PROXY": "http://proxy:3128"}, "https://r.example.com/", True),
        ({"https_proxy": "proxy:3128"}, "https://r.example.com/", True),
        ({"HTTP_PROXY": "http://proxy:3128"}, "https://r.example.com/", False),
        ({"HTTPS_PROXY": "http://proxy:3128", "https_proxy": ""}, "https://r.example.com/", False),
        ({"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": "x, .example.com"}, "https://r.example.com/", False),
        ({"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": "r.example.com"}, "https://r.example.com/", False),
        ({"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": "*"}, "https://r.example.com/", False),
        ({"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": "ample.com"}, "https://r.example.com/", True),
        ({"HTTP_PROXY": "http://proxy:3128"}, "http://localhost:5000/", False),
    ],
)
def test_the_environments_proxies_are_used(
    monkeypatch: pytest.MonkeyPatch, env: dict[str, str], url: str, *, proxied: bool
) -> None:
    used: list[object] = []

    def note(manager: object, *_: object, **__: object) -> urllib3.HTTPResponse:
        used.append(manager)
        return answer(200)

    monkeypatch.setattr(urllib3.PoolManager, "request", note)
    transport.sender(env)(RegistryRequest(method="GET", url=url))
    assert [isinstance(manager, urllib3.ProxyManager) for manager in used] == [proxied]


def test_a_proxy_that_cannot_be_used_is_told_without_its_login() -> None:
    with pytest.raises(UnreachableError, match="socks5://proxy:1080") as caught:
        transport.sender({"HTTPS_PROXY": "socks5://me:hush@proxy:1080"})
    assert "hush" not in caught.value.message


@pytest.mark.parametrize("place", ["proxy:port", "[::1", "[::1]x:1", "proxy:99999"])
def test_a_malformed_proxy_is_told_without_its_login(place: str) -> None:
    with pytest.raises(UnreachableError) as caught:
        transport.sender({"HTTPS_PROXY": f"http://me:hush@{place}"})
    assert "hush" not in caught.value.message


def test_a_proxys_login_is_given_to_it_alone() -> None:
    manager = transport._proxy("http://me:p%40ss@proxy:3128")
    assert manager.proxy_headers["proxy-authorization"] == "Basic bWU6cEBzcw=="
    assert manager.proxy is not None
    assert manager.proxy.auth is None


# Providers.


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("123456789012.dkr.ecr.eu-west-1.amazonaws.com", "Amazon ECR"),
        ("public.ecr.aws", "Amazon ECR"),
        ("docker.io", "Docker Hub"),
        ("ghcr.io", "GitHub"),
        ("europe-docker.pkg.dev", "Google Artifact Registry"),
        ("eu.gcr.io", "Google Artifact Registry"),
        ("team.azurecr.io", "Azure Container Registry"),
        ("quay.io", "Quay"),
        ("registry.gitlab.com", "GitLab"),
        ("registry.gitlab.example.com:5050", "GitLab"),
        ("harbor.example.com", "Harbor"),
        ("team.jfrog.io", "Artifactory"),
        ("registry.digitalocean.com", "DigitalOcean"),
        ("fra.ocir.io", "Oracle Cloud"),
        ("rg.fr-par.scw.cloud", "Scaleway"),
    ],
)
def test_a_provider_is_known_by_its_host(host: str, name: str) -> None:
    row = service_of(host)
    assert row is not None
    assert row.name == name
    assert advice(host) == row.advice


def test_every_provider_says_its_own_way_and_no_other_host_is_taken_for_one() -> None:
    assert len({row.advice for row in PROVIDERS}) == len(PROVIDERS)
    for host in ("registry.example.com", "localhost:5000", "ghcr.io.example.com", "amazonaws.com"):
        assert service_of(host) is None
        assert advice(host) == OWN


@pytest.mark.parametrize("host", ["docker.io", "ghcr.io", "1.dkr.ecr.eu-west-1.amazonaws.com"])
def test_a_denied_deletion_names_the_providers_way(host: str) -> None:
    registry = FakeRegistry(guard=lambda request: answer(403) if request.method == "DELETE" else None)
    with pytest.raises(DeniedError) as caught:
        registry.repository(host=host).registry.delete("t")
    assert advice(host) in caught.value.hint


def test_paths_of_requests_are_the_repositorys_own() -> None:
    registry = FakeRegistry(deletes=Deletes.TAGS)
    registry.cache("t")
    registry.repository().verify("t")
    assert all(request.url.startswith(f"https://{HOST}/v2/{PATH}/") for request in registry.requests)


@pytest.mark.parametrize(
    ("here", "there", "may"),
    [
        (f"https://{HOST}/x", "https://storage.example.com/x", True),
        (f"https://{HOST}/x", f"https://{HOST}:8443/x", True),
        (f"https://{HOST}/x", "https://10.0.0.1/x", True),
        (f"https://{HOST}/x", "https://1.example.com/x", True),
        (f"https://{HOST}/x", "http://storage.example.com/x", False),
        (f"https://{HOST}/x", f"http://{HOST}/x", False),
        ("http://localhost:5000/x", "http://storage.example.com/x", True),
        ("http://localhost:5000/x", "https://storage.example.com/x", True),
        ("http://localhost:5000/x", "http://127.0.0.1:9000/x", True),
        ("http://127.0.0.1:5000/x", "http://localhost/x", True),
        *(
            (f"https://{HOST}/x", f"https://{near}/x", False)
            for near in (
                *("localhost", "LOCALHOST", "a.localhost", "127.0.0.1", "127.1", "127.255.0.9:443", "0x7f.0.0.1"),
                *(
                    "0x7f000001",
                    "2130706433",
                    "0177.0.0.1",
                    "0.0.0",
                    "0",
                    "localhost.",
                    "[::1]",
                    "[::]",
                    "[::ffff:127.0.0.1]",
                ),
                *("169.254.169.254", "[fe80::1]", "[::ffff:169.254.169.254]", "2852039166"),
            )
        ),
    ],
)
def test_a_host_may_name_no_address_that_only_this_machine_reaches(here: str, there: str, may: bool) -> None:  # noqa: FBT001 -- a table
    assert may_redirect(here, there) is may
    registry = FakeRegistry(guard=lambda request: answer(307, {"Location": there}) if request.url == here else None)
    request = RegistryRequest(method="GET", url=here, headers={"Authorization": "Basic x"})
    if not may:
        with pytest.raises(UnreachableError, match="no safe address"):
            follow(registry, request)
        assert len(registry.requests) == 1
        return
    _, come = follow(registry, request)
    assert come == there
    assert "Authorization" not in registry.requests[-1].headers


def test_there_is_a_way_to_delete_what_no_tag_names() -> None:
    assert advice_of_untagged("registry.example.com") == OWN_UNTAGGED == advice_of_untagged("docker.io")
    assert "untagged" in advice_of_untagged("ghcr.io")
    assert len({advice_of_untagged(row.hosts[0].replace("*", "x")) for row in PROVIDERS if row.untagged}) > 1
