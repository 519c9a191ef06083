"""Log in to a registry: answer its challenge with the user's login, or with a token from its token service.

Source: the distribution project's ``spec/auth/token.md`` and ``spec/auth/oauth.md``.
"""

from __future__ import annotations

import base64
import json
import re
import threading
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from urllib3.exceptions import HTTPError

from buildx_cache.errors import BuildxCacheError, DeniedError, UnreachableError
from buildx_cache.redaction import Secret
from buildx_cache.reference import is_loopback
from buildx_cache.registry import Credential, IdentityToken, Password
from buildx_cache.registry.transport import (
    RegistryRequest,
    Send,
    follow,
    host_of,
    join,
    may_redirect,
    printable,
    unreachable,
)

_CLIENT = "buildx-cache"
_TOKEN_LIMIT = 1 << 20
_TOKEN = re.compile(r"[\x21-\x7e]+")
_SCHEME = re.compile(r"(?P<scheme>[A-Za-z][\w-]*)(?:\s+(?P<rest>.*))?", re.DOTALL)
_OK = 200
REFUSED = frozenset({401, 403})
_SERVER_ERROR = 500
_TOO_MANY = 429


def challenges(header: str) -> Mapping[str, Mapping[str, str]]:
    """Parse a ``WWW-Authenticate`` header: parameters by scheme, names in lower case.

    Of several challenges with one scheme, the first wins.
    """
    found: dict[str, dict[str, str]] = {}
    current: dict[str, str] = {}
    for item in urllib.request.parse_http_list(header):
        name, equals, value = item.partition("=")
        match = _SCHEME.fullmatch(name.strip())
        if match and (match["rest"] or not equals):
            current = {}
            found.setdefault(match["scheme"].lower(), current)
            name = match["rest"] or ""
        if equals:
            current[name.strip().lower()] = value.strip().removeprefix('"').removesuffix('"')
    return found


@dataclass
class Login:
    """The ``Authorization`` headers for one repository, created on demand and shared by threads.

    ``host`` is the registry's name for people; ``credential`` is called at most once.
    """

    host: str
    path: str
    credential: Callable[[str], Credential | None]
    send: Send = field(repr=False)
    _headers: dict[str, str] = field(default_factory=dict, repr=False)
    _credentials: list[Credential | None] = field(default_factory=list, repr=False)
    _sent: dict[Secret, None] = field(default_factory=dict, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def secrets(self) -> tuple[Secret, ...]:
        """Return the passwords and tokens that were sent: an answer can repeat them."""
        return tuple(self._sent)

    def header(self, action: str) -> str:
        """Return the header for ``action`` (pull, push, delete); empty until the registry has asked for a login."""
        return self._headers.get(action, "")

    def renew(self, action: str, used: str, url: str, challenge: str) -> bool:
        """Answer a challenge to a request that was sent with the header ``used``; return whether the header changed.

        Answer a challenge over plain HTTP only if it comes from this machine.

        Raises:
            DeniedError: the token service refuses the user's login, or the registry names no usable one.
            UnreachableError: the token service does not answer.
        """
        with self._lock:
            if self.header(action) != used:
                return True  # another thread has renewed it
            offered = challenges(challenge) if _is_safe(url, url) else {}
            if "bearer" in offered:
                self._headers[action] = f"Bearer {self._token_or_fallback(action, url, offered['bearer'])}"
                return True
            if "basic" in offered:
                self._set_basic(action, used)
            return self.header(action) != used

    def login(self) -> Credential | None:
        """Return the user's login."""
        if not self._credentials:
            self._set_login(self.credential(self.host))
        return self._credentials[0]

    def _set_login(self, credential: Credential | None) -> None:
        self._credentials[:] = [credential]
        if credential:
            self._sent[credential.secret] = None

    def _set_basic(self, action: str, used: str) -> None:
        login = self.login()
        if isinstance(login, Password) and _basic(login) == used and self._use_fallback():
            login = self.login()
        if isinstance(login, Password):
            self._headers[action] = _basic(login)

    def _token_or_fallback(self, action: str, url: str, challenge: Mapping[str, str]) -> str:
        try:
            return self._token(action, url, challenge)
        except DeniedError:
            if not self._use_fallback():
                raise
        return self._token(action, url, challenge)

    def _use_fallback(self) -> bool:
        """Replace a refused login by its fallback; return whether there is one."""
        first = self.login()
        second = first.fallback() if isinstance(first, Password) and first.fallback else None
        if second is None:
            return False
        self._set_login(second)
        return True

    def denied(self, what: str, reason: str = "", *, is_certain: bool = True) -> DeniedError:
        """Return the error for a refusal; if not ``is_certain``, the request may have been malformed instead."""
        known = "the stored login may be wrong, too old, or not allowed this" if self.login() else "log in"
        detail = f": {reason}" if reason else ""
        return DeniedError(
            f"{self.host} denied {what}{detail}",
            code="registry-denied" if is_certain else "registry-login-failed",
            hint=f"{known}: docker login {self.host}",
        )

    def _token(self, action: str, url: str, challenge: Mapping[str, str]) -> str:
        realm = join(url, challenge.get("realm", ""))
        if realm is None or not _is_safe(url, realm):
            raise DeniedError(
                f"{self.host} names no safe address to log in at: {printable(challenge.get('realm', ''), 80)!a}",
                code="registry-login-unsafe",
                hint="check the registry's address and configuration",
            )
        scope = challenge.get("scope") or f"repository:{self.path}:{_actions(action)}"
        parameters = {"service": challenge.get("service", ""), "scope": scope}
        request = _token_request(realm, {key: value for key, value in parameters.items() if value}, self.login())
        return self._read_token(request)

    def _read_token(self, request: RegistryRequest) -> str:
        answer, _ = follow(self.send, request)
        try:
            content = answer.read(_TOKEN_LIMIT + 1)
        except HTTPError as error:
            raise unreachable(request.url, error) from None
        finally:
            answer.close()
        if answer.status != _OK:
            raise self._no_token(request.url, answer.status)
        token = _token_in(content)
        if not token:
            raise UnreachableError(
                f"{host_of(request.url)} answers a login with no token",
                code="registry-login-failed",
                hint="try again later",
            )
        self._sent[Secret(token)] = None
        return token

    def _no_token(self, url: str, status: int) -> BuildxCacheError:
        if status >= _SERVER_ERROR or status == _TOO_MANY:
            return UnreachableError(
                f"{host_of(url)} answers a login with HTTP {status}",
                code="registry-login-failed",
                hint="try again later",
            )
        return self.denied("the login", f"HTTP {status} from {host_of(url)}", is_certain=status in REFUSED)


def _is_safe(url: str, realm: str) -> bool:
    """Return whether a login to the host of ``url`` may be sent to ``realm``: over HTTPS, or to this machine."""
    return may_redirect(url, realm) and (urlsplit(realm).scheme == "https" or is_loopback(host_of(realm)))


def _actions(action: str) -> str:
    return action if action == "pull" else f"pull,{action}"


def _token_request(realm: str, parameters: Mapping[str, str], login: Credential | None) -> RegistryRequest:
    match login:
        case IdentityToken(secret=secret):
            form = {"grant_type": "refresh_token", "client_id": _CLIENT, "refresh_token": secret, **parameters}
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            return RegistryRequest(method="POST", url=realm, headers=headers, body=urlencode(form).encode())
        case Password() as password:
            return RegistryRequest(
                method="GET", url=_with_query(realm, parameters), headers={"Authorization": _basic(password)}
            )
        case _:
            return RegistryRequest(method="GET", url=_with_query(realm, parameters))


def _with_query(realm: str, parameters: Mapping[str, str]) -> str:
    parts = urlsplit(realm)
    query = [*parse_qsl(parts.query), *parameters.items()]
    return urlunsplit(parts._replace(query=urlencode(query), fragment=""))


def _basic(password: Password) -> str:
    return "Basic " + base64.b64encode(f"{password.username}:{password.secret}".encode()).decode("ascii")


def _token_in(content: bytes) -> str:
    try:
        answer = json.loads(content) if len(content) <= _TOKEN_LIMIT else None
    except (ValueError, RecursionError):
        return ""
    values = [answer.get(key) for key in ("token", "access_token")] if isinstance(answer, dict) else []
    return next((value for value in values if isinstance(value, str) and _TOKEN.fullmatch(value)), "")
