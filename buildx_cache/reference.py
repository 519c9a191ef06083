"""Parse image references and registries, and turn any name into a valid tag.

The grammar is that of the distribution project's ``reference`` package, which Docker and BuildKit use. This is the only
module with the names of Docker Hub.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from buildx_cache.errors import UsageError

DOCKER_HUB = "docker.io"
HUB_KEY = "https://index.docker.io/v1/"
"""The key under which Docker and Buildx store a login to Docker Hub (``registry.IndexServer``)."""
_HUB_ALIAS = "index.docker.io"  # Docker and BuildKit rewrite this host to docker.io
_HUB_API = "registry-1.docker.io"
HUB_HOSTS = ("", DOCKER_HUB, _HUB_ALIAS, _HUB_API)
"""Docker Hub's hosts in image references."""
_HUB_SITE = "hub.docker.com"  # the web site: not a registry, but people copy its address

MAX_TAG = 128
_MAX_SHOWN = 80
_MAX_PORT = 65535
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_HOST = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?"
_REFERENCE = re.compile(
    rf"(?:(?P<host>{_HOST})/)?(?P<path>{_COMPONENT}(?:/{_COMPONENT})*)"
    r"(?::(?P<tag>[\w][\w.-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?",
    re.ASCII,
)
_REGISTRY = re.compile(rf"(?:(?P<scheme>https?)://)?(?P<host>{_HOST})(?P<path>/[\w.~:/-]*)?", re.ASCII | re.IGNORECASE)
_SLASH = re.compile(r"[/\\]+")
_FOREIGN = re.compile(r"[^A-Za-z0-9_.-]+")


@dataclass(frozen=True, kw_only=True)
class Reference:
    """The parts of an image reference; absent parts are empty."""

    host: str = ""
    path: str
    tag: str = ""
    digest: str = ""

    @property
    def repository(self) -> str:
        """``host/path``, as written: no default host is added."""
        return f"{self.host}/{self.path}" if self.host else self.path

    @property
    def canonical(self) -> Reference:
        """The full reference: Docker Hub's host and ``library/`` are added if they are left out."""
        if self.host not in ("", DOCKER_HUB, _HUB_ALIAS):
            return self
        return replace(self, host=DOCKER_HUB, path=self.path if "/" in self.path else f"library/{self.path}")

    @property
    def familiar(self) -> Reference:
        """The short reference, as people write it: without Docker Hub's host and ``library/``."""
        full = self.canonical
        is_hub = full.host == DOCKER_HUB
        return replace(full, host="", path=full.path.removeprefix("library/")) if is_hub else full

    @property
    def tagged(self) -> Reference:
        """The reference with the tag ``latest`` if it has neither tag nor digest, as in Docker and BuildKit."""
        return self if self.tag or self.digest else replace(self, tag="latest")

    @property
    def registry_host(self) -> str:
        """The registry's name for people: ``docker.io`` for every host of Docker Hub."""
        return DOCKER_HUB if self.host in HUB_HOSTS else self.host

    @property
    def api_host(self) -> str:
        """The host of the registry's distribution API."""
        return _HUB_API if self.host in HUB_HOSTS else self.host

    @property
    def auth_key(self) -> str:
        """The key by which Docker and Buildx look up the login: the host as it is spelled, or :data:`HUB_KEY`."""
        return auth_key(self.host)

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{self.repository}{tag}" + (f"@{self.digest}" if self.digest else "")


_TAG = re.compile(r"\w[\w.-]{0,127}", re.ASCII)
FORKS = "a CI gives no secrets to a pull request from a fork: with --push auto it builds there, and pushes elsewhere"


def parse_reference(text: str) -> Reference:
    """Split an image reference.

    Raises:
        UsageError: ``text`` is not one.
    """
    match = _REFERENCE.fullmatch(text)
    if match is None or not _is_address(match["host"] or "") or _port(match["host"] or "") > _MAX_PORT:
        raise UsageError(
            f"{without_login(text)!r} is not an image reference", code="reference-malformed", hint=_reference_hint(text)
        )
    host, path = match["host"] or "", match["path"]
    if host and not _names_a_host(host):
        host, path = "", f"{host}/{path}"
    return Reference(host=host, path=path, tag=match["tag"] or "", digest=match["digest"] or "")


def without_login(text: str) -> str:
    """Redact the text before the @ of a malformed reference: it may be a login."""
    return re.sub(r"^[^/@]*@(?!sha256:)", "***@", text)


def lowered(text: str) -> str:
    """Return a reference with its path in lower case: a CI's name of the repository may have capitals.

    Without a host, return the text unchanged: a first part with a capital counts as a host.
    """
    head, slash, rest = text.partition("/")
    if not (slash and _names_a_host(head)) or head.lower() != head:
        return text
    path, mark, end = rest.partition("@") if "@" in rest else rest.partition(":")
    return f"{head}/{path.lower()}{mark}{end}"


def _names_a_host(first: str) -> bool:
    """Return whether the part before the first slash is a host, by Docker's rule: ``org/app`` has no host."""
    return any(sign in first for sign in ".:") or first == "localhost" or first.lower() != first


def _reference_hint(text: str) -> str:
    tag = text.rpartition("/")[2].partition(":")[2]
    hints = (
        (
            text.startswith(("/", ":")) or not text,
            f"is the variable in front of it, such as DOCKER_REGISTRY, empty? {FORKS}",
        ),
        (
            "\n" in text.strip(),
            "that is more than one: give each its own --tag, or one a line in BUILDX_CACHE_TAG",
        ),
        (bool(re.search(r"[A-Z]", text.partition(":")[0])), "write the repository's name in lower case"),
        ("://" in text, "leave out the scheme: HOST/REPOSITORY:TAG"),
        (text.endswith(":"), "its tag is empty: is the variable behind the colon set?"),
        (
            bool(tag) and not _TAG.fullmatch(tag),
            "a tag begins with a letter, digit or _, has only these and . and -, and at most 128 of them",
        ),
    )
    example = "write HOST/REPOSITORY:TAG, for example registry.example.com/team/app:1.2"
    return next((hint for applies, hint in hints if applies), example)


def registry_key(text: str, source: str = "the registry") -> str:
    """Normalize a registry to the key under which Docker stores its login: ``HOST[:PORT]``, or :data:`HUB_KEY`.

    Cut the scheme and the path, lower the host, and map every name of Docker Hub, the empty one too, to one key.
    Keep the port: docker/cli (``credentials.ConvertToHostname``) keeps default ports too. ``source`` names the origin
    of ``text`` in errors.

    Raises:
        UsageError: ``text`` names no host, or asks for a login over plain HTTP to another machine.
    """
    if not text:
        return HUB_KEY
    match = _REGISTRY.fullmatch(text)
    if match is None or _port(match["host"]) > _MAX_PORT or not _is_address(match["host"]):
        raise _no_registry(text, source)
    host = match["host"].lower()
    if host in (*HUB_HOSTS, _HUB_SITE):
        return HUB_KEY
    if (match["scheme"] or "").lower() == "http" and not is_loopback(host):
        raise UsageError(
            f"{source} {text!r} asks for a login over plain HTTP",
            code="registry-plain-http",
            hint=f"give {host}: logins take HTTPS",
        )
    return host


def auth_key(host: str) -> str:
    """Return the key of the login to a reference's host; return a key unchanged."""
    return HUB_KEY if host in HUB_HOSTS else host


def registry_name(key: str) -> str:
    """Return the registry's name for people from its :func:`registry_key`."""
    return DOCKER_HUB if key == HUB_KEY else key


def is_loopback(host: str) -> bool:
    """Return whether ``host`` (with or without a port) is this machine, as containerd's ``MatchLocalhost``."""
    name = urlsplit(f"//{host}").hostname or ""
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _is_address(host: str) -> bool:
    """Return whether a host in brackets is an IPv6 address, which the grammar does not check; True without brackets."""
    if not host.startswith("["):
        return True
    try:
        return bool(ipaddress.IPv6Address(host[1:].partition("]")[0]))
    except ValueError:
        return False


def _port(host: str) -> int:
    port = host.rpartition("]")[2].rpartition(":")[2]
    return int(port[:6]) if port.isdigit() and ":" in host else 0


def _no_registry(text: str, source: str) -> UsageError:
    """Return the error for a malformed registry; do not repeat a text that may hold a login."""
    if "@" in text:
        return UsageError(
            f"{source} holds a login",
            code="login-in-address",
            hint="give HOST alone; the login is --username and a password",
        )
    shown = text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."
    return UsageError(
        f"{source} {shown!r} is not a registry", code="registry-malformed", hint="write HOST or HOST:PORT, or docker.io"
    )


def safe_tag(name: str) -> str:
    """Turn any name, such as a branch, into an image tag of at most 128 characters.

    Replace a slash by a dash: people expect ``feature-x``. If more characters change, or the name is cut, append eight
    digits of its SHA-256. Two names can get the same tag: use ``cache_tags.cache_tag`` for the tag of a cache.
    """
    plain = _SLASH.sub("-", name)
    cleaned = _FOREIGN.sub("-", plain).lstrip(".-")
    if cleaned == plain and cleaned and len(cleaned) <= MAX_TAG:
        return cleaned
    mark = "-" + hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return (cleaned[: MAX_TAG - len(mark)] + mark).lstrip(".-")
