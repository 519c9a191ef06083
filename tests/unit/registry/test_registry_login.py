"""Challenges of a registry, and the logins and tokens that answer them."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

import pytest
import urllib3

from buildx_cache.errors import BuildxCacheError, DeniedError, UnreachableError
from buildx_cache.redaction import Secret
from buildx_cache.reference import parse_reference
from buildx_cache.registry import Credential, IdentityToken, Password
from buildx_cache.registry.authorization import challenges
from buildx_cache.registry.repository import connect
from buildx_cache.registry.transport import RegistryRequest
from tests.unit.registry.fakes import HOST, PATH, FakeRegistry, answer, errors

PASSWORD = Password(username="me", secret=Secret("p:ss"))
BASIC = "Basic " + base64.b64encode(b"me:p:ss").decode()
IDENTITY = IdentityToken(secret=Secret("refresh+me"))
REALM = "https://auth.example.com/token"

Guard = Callable[[RegistryRequest], urllib3.HTTPResponse | None]


def basic(request: RegistryRequest) -> urllib3.HTTPResponse | None:
    return (
        None if request.headers.get("Authorization") == BASIC else answer(401, {"WWW-Authenticate": 'Basic realm="r"'})
    )


def bearer(
    *, realm: str = REALM, given: bytes = b'{"token":"t0ken"}', status: int = 200, scope: str = "", lifetime: int = 1000
) -> Guard:
    """A registry behind a token service; a token is good for ``lifetime`` requests."""
    uses = {"left": 0}

    def guard(request: RegistryRequest) -> urllib3.HTTPResponse | None:
        if not request.url.startswith(f"https://{HOST}/"):
            uses["left"] = lifetime
            return answer(status, content=given)
        if request.headers.get("Authorization") == "Bearer t0ken" and uses["left"]:
            uses["left"] -= 1
            return None
        scoped = f',scope="{scope}"' if scope else ""
        return answer(401, {"WWW-Authenticate": f'Bearer realm="{realm}",service="registry"{scoped}'})

    return guard


def registry_with(guard: Guard) -> FakeRegistry:
    registry = FakeRegistry(guard=guard)
    registry.cache("buildcache-main")
    return registry


def asked(registry: FakeRegistry) -> list[RegistryRequest]:
    """What went to the token service."""
    return [request for request in registry.requests if not request.url.startswith(f"https://{HOST}/")]


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("", {}),
        ('Basic realm="a b"', {"basic": {"realm": "a b"}}),
        ("Basic", {"basic": {}}),
        ("Negotiate, Basic realm=x", {"negotiate": {}, "basic": {"realm": "x"}}),
        (
            'Bearer realm="https://a/t",service="s",scope="repository:a:pull,push"',
            {"bearer": {"realm": "https://a/t", "service": "s", "scope": "repository:a:pull,push"}},
        ),
        ('bearer realm="x", Basic realm="y"', {"bearer": {"realm": "x"}, "basic": {"realm": "y"}}),
        ('Bearer realm="x", Bearer realm="y"', {"bearer": {"realm": "x"}}),
        ("realm=x,,=", {}),
    ],
)
def test_challenges_are_told_apart(header: str, found: dict[str, dict[str, str]]) -> None:
    assert challenges(header) == found


def test_a_login_is_sent_only_when_it_is_asked_for() -> None:
    registry = registry_with(lambda _: None)
    registry.repository(PASSWORD).tags()
    assert [request.headers.get("Authorization") for request in registry.requests] == [None]


def test_a_basic_login_is_kept_for_all_that_follows() -> None:
    registry = registry_with(basic)
    repository = registry.repository(PASSWORD)
    repository.tags()
    repository.inspect("buildcache-main")
    sent = [request.headers.get("Authorization") for request in registry.requests]
    assert sent == [None, BASIC, BASIC, BASIC]


def test_without_a_login_a_refusal_says_to_log_in() -> None:
    with pytest.raises(DeniedError, match="HTTP 401") as caught:
        registry_with(basic).repository().tags()
    assert caught.value.hint == f"log in: docker login {HOST}"


def test_a_wrong_login_is_denied_after_one_try() -> None:
    registry = registry_with(basic)
    wrong = Password(username="me", secret=Secret("wrong"))
    with pytest.raises(DeniedError) as caught:
        registry.repository(wrong).tags()
    assert len(registry.requests) == 2
    assert "the stored login may be wrong" in caught.value.hint
    assert "wrong" not in caught.value.message


def test_a_token_is_bought_with_the_password() -> None:
    registry = registry_with(bearer(scope=f"repository:{PATH}:pull"))
    assert registry.repository(PASSWORD).tags() == ("buildcache-main",)
    (request,) = asked(registry)
    assert request.method == "GET"
    assert request.headers["Authorization"] == BASIC
    assert parse_qs(urlsplit(request.url).query) == {"service": ["registry"], "scope": [f"repository:{PATH}:pull"]}


def test_a_token_is_bought_with_an_identity_token() -> None:
    registry = registry_with(bearer())
    registry.repository(IDENTITY).tags()
    (request,) = asked(registry)
    assert (request.method, request.url) == ("POST", REALM)
    assert "Authorization" not in request.headers
    assert parse_qs((request.body or b"").decode()) == {
        "grant_type": ["refresh_token"],
        "client_id": ["buildx-cache"],
        "refresh_token": ["refresh+me"],
        "service": ["registry"],
        "scope": [f"repository:{PATH}:pull"],
    }


def test_a_public_repository_is_read_with_an_anonymous_token() -> None:
    registry = registry_with(bearer())
    registry.repository().tags()
    assert "Authorization" not in asked(registry)[0].headers


def test_a_token_is_used_for_all_requests_and_renewed_when_it_ends() -> None:
    registry = registry_with(bearer(lifetime=2))
    repository = registry.repository(PASSWORD)
    repository.inspect("buildcache-main")
    assert len(asked(registry)) == 1
    repository.inspect("buildcache-main")
    repository.tags()
    assert len(asked(registry)) == 3


def test_a_deletion_asks_for_a_token_of_its_own() -> None:
    registry = registry_with(bearer())
    repository = registry.repository(PASSWORD)
    repository.tags()
    repository.registry.delete("buildcache-main")
    scopes = [parse_qs(urlsplit(request.url).query)["scope"][0] for request in asked(registry)]
    assert scopes == [f"repository:{PATH}:pull", f"repository:{PATH}:pull,delete"]


@pytest.mark.parametrize("key", ["token", "access_token"])
def test_a_token_has_either_name(key: str) -> None:
    registry = registry_with(bearer(given=json.dumps({key: "t0ken"}).encode()))
    assert registry.repository(PASSWORD).tags()


def test_the_realms_own_query_stays() -> None:
    registry = registry_with(bearer(realm=REALM + "?account=x"))
    registry.repository(PASSWORD).tags()
    assert parse_qs(urlsplit(asked(registry)[0].url).query)["account"] == ["x"]


@pytest.mark.parametrize(
    "realm",
    [
        "http://auth.example.com/token",
        "file:///etc/passwd",
        "ftp://x/",
        "",
        "https://me:x@auth/",
        "https://[",
        "gopher://x",
    ],
)
def test_a_realm_that_is_no_safe_address_gets_nothing(realm: str) -> None:
    registry = registry_with(bearer(realm=realm))
    with pytest.raises(DeniedError, match="no safe address to log in at"):
        registry.repository(PASSWORD).tags()
    assert asked(registry) == []


@pytest.mark.parametrize(
    ("host", "realm"),
    [
        ("localhost:5000", "http://auth.example.com/token"),
        ("localhost:5000", "http://localhost.example.com/token"),
        ("localhost:5000", "http://169.254.169.254/token"),
        ("localhost:5000", "http://10.0.0.1/token"),
        (HOST, "https://localhost/token"),
        (HOST, "https://127.0.0.1/token"),
        (HOST, "https://169.254.169.254/token"),
        (HOST, "https://[::1]/token"),
        (HOST, "https://[::ffff:127.0.0.1]/token"),
        (HOST, "https://0x7f.1/token"),
        (HOST, "https://2130706433/token"),
    ],
)
def test_no_login_goes_over_plain_http_to_another_machine_nor_from_another_one_to_this(host: str, realm: str) -> None:
    sent: list[RegistryRequest] = []

    def guard(request: RegistryRequest) -> urllib3.HTTPResponse:
        sent.append(request)
        return answer(401, {"WWW-Authenticate": f'Bearer realm="{realm}"'})

    repository = connect(parse_reference(f"{host}/app"), lambda _: PASSWORD, send=guard)
    with pytest.raises(DeniedError, match="no safe address to log in at"):
        repository.tags()
    assert [request.headers.get("Authorization") for request in sent] == [None]


@pytest.mark.parametrize("scheme", ["Basic", f'Bearer realm="{REALM}"'])
def test_a_challenge_by_plain_http_of_another_machine_is_not_answered(scheme: str) -> None:
    sent: list[RegistryRequest] = []

    def guard(request: RegistryRequest) -> urllib3.HTTPResponse:
        sent.append(request)
        return answer(401, {"WWW-Authenticate": scheme})

    repository = connect(parse_reference(f"{HOST}/app"), lambda _: PASSWORD, send=guard, plain_http=True)
    with pytest.raises(DeniedError):
        repository.tags()
    assert [request.headers.get("Authorization") for request in sent] == [None]


def test_a_plain_registry_on_this_machine_may_have_a_plain_token_service() -> None:
    def guard(request: RegistryRequest) -> urllib3.HTTPResponse:
        if request.url.startswith("http://localhost:5001/"):
            return answer(200, content=b'{"token":"t"}')
        if "Authorization" in request.headers:
            return answer(200, content=b'{"tags":["a"]}')
        return answer(401, {"WWW-Authenticate": 'Bearer realm="http://localhost:5001/token"'})

    repository = connect(parse_reference("localhost:5000/app"), lambda _: PASSWORD, send=guard)
    assert repository.tags() == ("a",)


@pytest.mark.parametrize(
    ("status", "given", "kind"),
    [
        (401, b"", DeniedError),
        (403, b"", DeniedError),
        (400, b"", DeniedError),
        (429, b"", UnreachableError),
        (500, b"", UnreachableError),
        (200, b"", UnreachableError),
        (200, b"[]", UnreachableError),
        (200, b"{}", UnreachableError),
        (200, b'{"token":""}', UnreachableError),
        (200, b'{"token":7}', UnreachableError),
        (200, b'{"token":"a\\r\\nHost: x"}', UnreachableError),
        (200, b"[" * 100_000, UnreachableError),
        (200, b'{"token":"' + b"x" * (1 << 20) + b'"}', UnreachableError),
    ],
)
@pytest.mark.parametrize("login", [PASSWORD, IDENTITY, None])
def test_a_token_service_that_gives_none_is_an_error(
    status: int, given: bytes, kind: type[BuildxCacheError], login: Credential | None
) -> None:
    with pytest.raises(kind) as caught:
        registry_with(bearer(status=status, given=given)).repository(login).tags()
    assert caught.value.hint
    assert "p:ss" not in str(caught.value)


def test_the_login_is_looked_up_once_and_under_the_name_people_use() -> None:
    looked_up: list[str] = []

    def credential(host: str) -> Credential | None:
        looked_up.append(host)
        return PASSWORD

    repository = connect(
        parse_reference("busybox"), credential, send=lambda _: answer(401, {"WWW-Authenticate": "Basic"})
    )
    for _ in range(2):
        with pytest.raises(DeniedError):
            repository.tags()
    assert looked_up == ["docker.io"]


@pytest.mark.parametrize("scheme", ["basic", "bearer"])
@pytest.mark.parametrize(("second", "is_right"), [(PASSWORD, True), (IDENTITY, True), (None, False)])
def test_where_one_login_is_refused_the_other_is_tried_once(
    scheme: str,
    second: Credential | None,
    is_right: bool,  # noqa: FBT001 -- a table
) -> None:
    others: list[Credential | None] = []

    def otherwise() -> Credential | None:
        others.append(second)
        return second

    def service(request: RegistryRequest) -> urllib3.HTTPResponse | None:
        if not request.url.startswith(f"https://{HOST}/"):
            right = request.headers.get("Authorization") == BASIC or b"refresh" in (request.body or b"")
            return answer(200, content=b'{"token":"t0ken"}') if right else answer(401)
        return bearer()(request) if request.headers.get("Authorization") != "Bearer t0ken" else None

    wrong = Password(username="me", secret=Secret("wrong"), fallback=otherwise)
    registry = registry_with(basic if scheme == "basic" else service)
    if is_right and (scheme, second) != ("basic", IDENTITY):
        assert registry.repository(wrong).tags()
    else:
        with pytest.raises(DeniedError):
            registry.repository(wrong).tags()
    assert len(others) == 1
    assert len(registry.requests) < 8
    assert "wrong" not in repr(wrong)


def test_nothing_shows_a_login() -> None:
    repository = registry_with(bearer()).repository(PASSWORD)
    repository.tags()
    assert "p:ss" not in repr(PASSWORD) + repr(IDENTITY)
    assert "refresh" not in repr(IDENTITY)
    assert "t0ken" not in repr(repository)


UPLOADS = f"https://{HOST}/v2/{PATH}/blobs/uploads/"


def uploads(status: int, headers: dict[str, str] | None = None, content: bytes = b"") -> Guard:
    """A registry that answers the begin of an upload, once it is logged in to."""
    return lambda request: basic(request) or (answer(status, headers, content) if request.method == "POST" else None)


PUSHES = {
    "begun": (uploads(202), False),
    "denied": (uploads(403, content=errors("DENIED")), True),
    "denied-in-small-letters": (uploads(403, content=errors("denied")), True),
    "login-refused": (lambda _: answer(401, content=errors("UNAUTHORIZED")), True),
    "token-refused": (bearer(status=401), True),
    "token-forbidden": (bearer(status=403), True),
    "token-asked-wrongly": (bearer(status=400), False),
    "token-service-has-a-fault": (bearer(status=503), False),
    "a-proxys-page": (uploads(403, content=b"<html>403 Forbidden</html>"), False),
    "another-code": (uploads(403, content=errors("TOOMANYREQUESTS")), False),
    "no-repository-yet": (uploads(404, content=errors("NAME_UNKNOWN")), False),
    "no-uploads": (uploads(405, content=errors("UNSUPPORTED")), False),
    "another-status": (uploads(500, content=errors("DENIED")), False),
    "led-elsewhere": (uploads(307, {"Location": "https://other.example.com/"}), False),
}


@pytest.mark.parametrize("name", PUSHES)
def test_a_push_is_refused_only_where_the_registry_says_so(name: str) -> None:
    guard, is_refused = PUSHES[name]
    try:
        refusal = FakeRegistry(guard=guard).repository(PASSWORD).registry.push_refusal()
    except (UnreachableError, DeniedError) as error:
        refusal = error.message if error.code == "registry-denied" else ""
    assert bool(refusal) == is_refused, refusal


@pytest.mark.parametrize(
    ("place", "cancelled"),
    [
        (f"{UPLOADS}7?state=x", [f"{UPLOADS}7?state=x"]),
        (f"/v2/{PATH}/blobs/uploads/7", [f"{UPLOADS}7"]),
        ("https://other.example.com/7", []),
        ("", []),
    ],
)
def test_the_upload_that_asks_is_empty_and_cancelled(place: str, cancelled: list[str]) -> None:
    registry = FakeRegistry(guard=uploads(202, {"Location": place}))
    assert registry.repository(PASSWORD).registry.push_refusal() == ""
    assert [each.url for each in registry.requests if each.method == "DELETE"] == cancelled
    assert {each.body for each in registry.requests} == {None}
    assert {each.url for each in registry.requests if each.method == "POST"} == {UPLOADS}
