"""Turn a docker command that is absent or failed into an error that says what to do."""

from __future__ import annotations

import contextlib
import errno
import re
from collections.abc import Iterator

from python_on_whales.client_config import ClientNotFoundError

from buildx_cache.buildkit.causes import CAUSES, Kind
from buildx_cache.buildkit.classify import classify
from buildx_cache.errors import EngineError, UsageError
from buildx_cache.plan import parse_version, show_version
from buildx_cache.plan.facts import Version
from buildx_cache.redaction import redact

# rawjson progress and --metadata-file for every driver (docker/buildx#2218).
_OLDEST_BUILDX = (0, 13, 0)
_START = "start Docker, or name the engine with DOCKER_HOST or --docker-context"
_KNOWN = {
    Kind.DOCKER_DENIED: ("this user may not talk to Docker", "add the user to the group docker, or use sudo"),
    Kind.NO_CONTEXT: ("there is no such Docker context", "`docker context ls` lists the Docker contexts"),
    Kind.API_VERSION: ("the docker command and the engine do not fit", CAUSES[Kind.API_VERSION].advice),
}
_NO_FILES = re.compile(r"unable to resolve docker endpoint: open (?P<file>[^:]+): no such file")


@contextlib.contextmanager
def docker_starting() -> Iterator[None]:
    """Start a docker command in this context.

    Raises:
        EngineError: docker is not installed or cannot be started.
        UsageError: the command line is longer than the system allows.
    """
    try:
        yield
    except ClientNotFoundError:
        raise EngineError(
            "the docker command is not on PATH",
            code="docker-absent",
            hint="install Docker's command line (docker-ce-cli or docker-cli)",
        ) from None
    except OSError as error:
        if not str(error.filename).endswith("docker"):
            raise
        if error.errno == errno.E2BIG:
            raise UsageError(
                "the docker command line is too long for this system: at most 128 KiB a word, about 2 MB in all",
                code="command-line-too-long",
                hint="give large values in files: --secret id=NAME,src=FILE, or files of the build context",
            ) from None
        raise EngineError(
            f"{error.filename} cannot be started: {error.strerror}",
            code="docker-not-startable",
            hint="install Docker again",
        ) from None


def engine_error(stderr: str) -> EngineError:
    """Return an error with the last line of the docker command's stderr and a hint."""
    said = redact(stderr.strip().splitlines()[-1] if stderr.strip() else "")
    kind = classify(stderr).kind
    if kind is Kind.DOCKER_DOWN:
        return EngineError("Docker is not running, or cannot be reached", code="docker-down", hint=_START)
    if absent := _NO_FILES.search(said):
        return EngineError(
            f"the TLS file {absent['file']} does not exist",
            code="docker-tls-absent",
            hint="check DOCKER_CERT_PATH; a service that makes the files may have to start first",
        )
    message, hint = _KNOWN.get(kind, ("Docker does not answer", _START))
    return EngineError(f"{message}: {said or 'it said nothing'}", code="docker-failed", hint=hint)


def usable_buildx(version: str | None) -> Version:
    """Return Buildx' version, from what ``docker info`` says of the plug-in; None if it names none.

    Raises:
        EngineError: it is absent or too old.
    """
    if version is None:
        raise EngineError(
            "Docker's Buildx plugin is not installed",
            code="buildx-absent",
            hint="install the package docker-buildx-plugin (Docker's own) or docker-buildx (Debian, Ubuntu)",
        )
    buildx = parse_version(version)
    if buildx < _OLDEST_BUILDX:
        raise EngineError(
            f"Buildx {show_version(buildx)} is too old: {show_version(_OLDEST_BUILDX)} is needed",
            code="buildx-too-old",
            hint="upgrade Docker or its Buildx plugin",
        )
    return buildx
