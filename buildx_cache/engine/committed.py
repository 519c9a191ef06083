"""Refuse user settings that the repository has committed: they choose programs that run here, and engines.

CI jobs often set ``HOME`` or ``DOCKER_CONFIG`` to a folder of their checkout. A file that the job writes there is the
caller's. A file that git tracks there is the repository's: a Docker plug-in, a builder, a command in ``.gitconfig``.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from urllib.parse import parse_qs

import buildx_cache
from buildx_cache.atomic import read_regular
from buildx_cache.engine.credentials import buildx_folder, configuration_folder, home_folder
from buildx_cache.engine.git import query
from buildx_cache.engine.git_index import tracked_names
from buildx_cache.engine.own_files import cache_home
from buildx_cache.engine.process import Completed
from buildx_cache.errors import UsageError
from buildx_cache.permissions import way_to
from buildx_cache.request.build_request import BuildRequest, Driver
from buildx_cache.request.local_paths import output_pairs, outputs_of, values_of
from buildx_cache.request.probe import working_directory
from buildx_cache.request.remote_context import is_remote_context
from buildx_cache.working_copy import led_outside, prepared_top

_CONFIG = "config.json"
_HARMLESS = frozenset(
    {"auths", "credsStore", "credHelpers", "proxies", "HttpHeaders", "detachKeys", "imagesFormat", "psFormat"}
)
"""Keys of a configuration file that choose no program and no engine: logins, helpers on ``PATH``, formats."""
_ANY_HOST = ".*"
_HOSTS_OF_HELPERS = {
    # They keep a login for each host, or check the host.
    **dict.fromkeys(("desktop", "osxkeychain", "pass", "secretservice", "wincred", "ecr-login", "gcloud"), _ANY_HOST),
    # It gives Google's token to every host (docker-credential-gcr's ``credhelper/helper.go``).
    "gcr": r"(?:[a-z0-9-]+\.)*gcr\.io|[a-z0-9-]+-docker\.pkg\.dev",
    **dict.fromkeys(("acr-env", "acr-linux"), r"[a-z0-9-]+\.azurecr\.(?:io|cn|us|de)"),
}
"""Credential helpers that a committed configuration file may name, and for which hosts: others may answer for any."""
_LIMIT = 1 << 20
_AWS = (("AWS_CONFIG_FILE", ".aws/config"), ("AWS_SHARED_CREDENTIALS_FILE", ".aws/credentials"))
_GCLOUD = (
    ("CLOUDSDK_CONFIG", ".config/gcloud"),
    ("GOOGLE_APPLICATION_CREDENTIALS", ".config/gcloud/application_default_credentials.json"),
)
_HELPERS = {
    "ecr-login": _AWS,
    "gcloud": _GCLOUD,
    "gcr": _GCLOUD,
    "pass": (("GNUPGHOME", ".gnupg"), ("PASSWORD_STORE_DIR", ".password-store")),
}
"""Files that credential helpers read: the variable that names another place, and the place below the home folder."""
_INSTALLERS = ("UV_CACHE_DIR", "UV_TOOL_DIR", "UV_PYTHON_INSTALL_DIR", "PIPX_HOME", "PIPX_SHARED_LIBS", "PIP_CACHE_DIR")
"""Variables that name folders of uv, pipx and pip; CIs keep such folders of a checkout between jobs."""
_LOGINS = ("KUBECONFIG", "DOCKER_CERT_PATH", "AWS_WEB_IDENTITY_TOKEN_FILE", "CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE")
"""Variables that name files with logins, beside those of settings."""
_SITES = ("site-packages", "dist-packages")
_KUBE = ".kube"
_HOMES = ("HOME", "XDG_CONFIG_HOME")
"""Variables that name a folder in which any program may look for its settings, plug-ins and packages."""
_DATA = ("XDG_DATA_HOME", "XDG_CACHE_HOME")
"""Variables that name a folder from which programs start what they have installed or cached."""
_SETTINGS = ("HOME", "XDG_CONFIG_HOME", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM")
"""Variables by which git finds a user's settings."""
_ANY_OWNER = ("-c", "safe.directory=*")
_SUBMODULE = "160000 "
"""The mode of a submodule in git's index."""


def refuse_committed(request: BuildRequest, env: Mapping[str, str]) -> None:
    """Refuse settings of Docker, Buildx, this program and cloud clients that the repository has committed.

    Raises:
        UsageError: git tracks such a file, or does not answer in time.
    """
    _refuse_homes(request, env)
    for folder in dict.fromkeys((configuration_folder(env), buildx_folder(env), _settings_home(env) / "docker")):
        for name in _tracked(folder, request, env):
            if name != _CONFIG or not _is_harmless(folder / _CONFIG):
                raise UsageError(
                    f"the Docker configuration {folder} belongs to the repository, which has committed {name}: "
                    "it could choose programs to run here, or the engine",
                    code="docker-config-committed",
                    hint="set DOCKER_CONFIG, or HOME, to a folder outside of the working copy",
                )
    _refuse_cache_home(request, env)
    _refuse_settings(_clouds(request, env), request, env)


def refuse_committed_caches(env: Mapping[str, str]) -> None:
    """Refuse this program's cache folder if the repository has committed it, or a link to it.

    Raises:
        UsageError: git tracks such a file, or does not answer in time.
    """
    _refuse_homes(BuildRequest(), env)
    _refuse_cache_home(BuildRequest(), env)


def _refuse_cache_home(request: BuildRequest, env: Mapping[str, str]) -> None:
    home = cache_home(env)
    if found := next(_tracked(home, request, env), None):
        raise UsageError(
            f"the folder {home} of this program belongs to the repository, which has committed {found}: "
            "it could choose where caches are written and deleted, and which images are removed",
            code="cache-home-committed",
            hint="set XDG_CACHE_HOME to a folder outside of the working copy",
        )


def refuse_committed_helpers(env: Mapping[str, str]) -> None:
    """Refuse committed settings of credential helpers, before this program runs a helper without docker.

    Raises:
        UsageError: git tracks such a file, or does not answer in time.
    """
    _refuse_homes(BuildRequest(), env)
    _refuse_settings(_of_helpers(env), BuildRequest(), env)


def _refuse_homes(request: BuildRequest, env: Mapping[str, str]) -> None:
    """Refuse a home folder in which the repository has committed anything.

    Docker, git, ssh, kubectl, the clouds' clients and the credential helpers read more files there than any list has.
    """
    for variable in _HOMES:
        given = env.get(variable)
        if given and (found := next(_tracked(Path(given), request, env), None)):
            raise UsageError(
                f"{variable} is {given}, where the repository has committed {found}: docker, git and their plug-ins "
                "look for settings and programs there",
                code="home-committed",
                hint=f"set {variable} to a folder outside of the working copy, for this command at least",
            )


def _refuse_settings(places: Iterable[tuple[str, Path]], request: BuildRequest, env: Mapping[str, str]) -> None:
    for variable, place in places:
        if next(_tracked(place, request, env), None):
            raise UsageError(
                f"the settings {place} come from the repository: they could choose a command to run here",
                code="cloud-config-committed",
                hint=f"set {variable} to a place outside of the working copy",
            )


def _is_harmless(file: Path) -> bool:
    """Return whether a configuration file chooses no program and no engine, however Docker reads it."""
    pairs = _pairs(file)
    return bool(
        pairs is not None
        and all(key in _HARMLESS for key, _ in pairs)
        and all(_is_for(helper, host) for host, helper in _helpers_by_host(pairs))
    )


def _pairs(file: Path) -> tuple[tuple[str, object], ...] | None:
    """Return the keys and values of a configuration file; None if it cannot be read whole or is no JSON object.

    All pairs are kept, and text after the object is refused: Go ignores the case of keys, accepts duplicate keys, and
    ignores text after the first value.
    """
    try:
        content = read_regular(Path(os.path.realpath(file)), _LIMIT)
        pairs = json.loads(content.decode(), object_pairs_hook=tuple)
    except (OSError, ValueError, RecursionError):
        return None
    return pairs if isinstance(pairs, tuple) else None


def _helpers_by_host(pairs: Iterable[tuple[str, object]]) -> Iterator[tuple[str, object]]:
    """Yield each credential helper after its host; the host of the helper for all hosts is empty."""
    for value in (value for key, value in pairs if key in ("credsStore", "credHelpers")):
        yield from ((str(host), name) for host, name in value) if isinstance(value, tuple) else (("", value),)


def _is_for(helper: object, host: str) -> bool:
    """Return whether a helper sends no host the login of another one, if a stranger names it for ``host``."""
    pattern = _HOSTS_OF_HELPERS.get(helper) if isinstance(helper, str) else None
    return pattern is not None and re.fullmatch(f"(?:https?://)?(?:{pattern})", host, re.IGNORECASE) is not None


def refuse_committed_git(request: BuildRequest, env: Mapping[str, str]) -> None:
    """Refuse git settings of the user that the repository has committed: they can run commands and write files.

    Raises:
        UsageError: git tracks such a file, or does not answer in time.
    """
    _refuse_homes(request, env)
    for place in _git_settings(env):
        if next(_tracked(place, request, env), None):
            raise UsageError(
                f"git's settings {place} come from the repository: they could choose commands to run here",
                code="git-config-committed",
                hint="set GIT_CONFIG_GLOBAL, or GIT_CONFIG_SYSTEM, to /dev/null or a file outside of the working copy",
            )


def settings_of_user(request: BuildRequest, env: Mapping[str, str]) -> tuple[Path, ...]:
    """Return the files and folders that a build, or a later step, reads as the user's settings; they need not exist."""
    clouds = (place for _, place in _clouds(request, env))
    usual = (_home(env) / name for name in (".aws", ".config/gcloud", _KUBE))
    dockers = (configuration_folder(env), buildx_folder(env), _settings_home(env) / "docker")
    return (*dockers, cache_home(env), *_git_settings(env), *clouds, *usual)


def homes_below(root: Path, env: Mapping[str, str]) -> tuple[Path, ...]:
    """Return the folders below ``root`` in which any program may look for settings, without links."""
    named = (Path(os.path.realpath(env[name])) for name in (*_HOMES, *_DATA) if env.get(name))
    return tuple(home for home in named if root in home.parents)


def logins_of_user(env: Mapping[str, str]) -> tuple[Path, ...]:
    """Return the files and folders in which docker, git, clusters and cloud clients may keep logins of the user."""
    dockers = (Path(env.get("DOCKER_CONFIG") or _home(env) / ".docker"), _settings_home(env) / "docker")
    named = (Path(text) for name in _LOGINS for text in env.get(name, "").split(os.pathsep) if text)
    clouds = (place for _, place in _below_home((*_AWS, *_GCLOUD, *_HELPERS["pass"]), env))
    kept = (_home(env) / name for name in (".git-credentials", ".netrc", ".ssh", _KUBE))
    return (*dockers, *_git_settings(env), *named, *clouds, *kept)


def own_files(env: Mapping[str, str]) -> tuple[Path, ...]:
    """Return the files and folders of this program, which it goes on loading while a build runs.

    They are its package, the packages that it is installed with, and its virtual environment or executable, as well as
    the folders from which uv, pipx and pip start or install it the next time. A folder with the working directory in it
    is left out: there the packages are the caller's sources.
    """
    packages = Path(buildx_cache.__file__).parent
    sites = (Path(place) for place in sys.path if Path(place).name in _SITES)
    environment = (Path(sys.prefix),) if sys.prefix != sys.base_prefix else ()
    unpacked = (Path(os.path.realpath(sys.executable)).parent,) if getattr(sys, "frozen", False) else ()
    here = Path(os.path.realpath(working_directory()))
    found = (packages.parent, Path(os.__file__).parent, *sites, *environment, *unpacked, *_installers(env))
    return (packages, *(place for place in found if not here.is_relative_to(os.path.realpath(place))))


def _installers(env: Mapping[str, str]) -> Iterator[Path]:
    """Yield the folders of uv, pipx and pip, as variables name them and their usual ones."""
    yield from (Path(env[name]).absolute() for name in _INSTALLERS if env.get(name))
    caches = Path(env.get("XDG_CACHE_HOME") or _home(env) / ".cache")
    data = Path(env.get("XDG_DATA_HOME") or _home(env) / ".local" / "share")
    yield from (folder / name for folder in (caches, data, _home(env) / ".local") for name in ("uv", "pipx", "pip"))


def refuse_committed_dotenv(request: BuildRequest, env: Mapping[str, str]) -> None:
    """Refuse a ``--dotenv`` file that the repository has committed: later steps would take its variables.

    Raises:
        UsageError: git tracks the file, or does not answer in time.
    """
    if request.dotenv and next(_tracked(Path(request.dotenv), request, env), None):
        raise UsageError(
            f"--dotenv {request.dotenv} comes from the repository: later steps would take the variables in it",
            code="dotenv-committed",
            hint="delete the file before the build, or give another --dotenv",
        )


def refuse_submodules(request: BuildRequest, env: Mapping[str, str]) -> None:
    """Refuse to export an image where git expects a submodule: git obeys the settings of a ``.git`` that is there.

    ``git status`` and ``git describe --dirty`` at the top of the working copy run git in each folder that git's index
    calls a submodule. The index may call a folder one that ``.gitmodules`` does not name.

    Raises:
        UsageError: the repository has committed a submodule there or below, or git does not answer in time.
    """
    for output in map(dict, map(output_pairs, outputs_of(request))):
        place = Path(os.path.realpath(output.get("dest", ""))) if output.get("type") == "local" else None
        top = prepared_top(place.parent) if place else None
        if place is None or top is None:
            continue
        done, is_late = _ls_files(top, str(place.relative_to(top)), env, "--stage")
        if is_late or any(entry.startswith(_SUBMODULE) for entry in done.stdout.split("\0")):
            raise UsageError(
                f"--output writes to {place}, where a submodule is committed: git would obey an image's .git there",
                code="output-unsafe",
                hint="export to another folder, or an archive: type=tar",
            )


def _git_settings(env: Mapping[str, str]) -> tuple[Path, ...]:
    system = tuple(map(Path, filter(None, (env.get("GIT_CONFIG_SYSTEM"),))))
    if given := env.get("GIT_CONFIG_GLOBAL"):
        return (*system, Path(given))
    return (*system, _home(env) / ".gitconfig", _settings_home(env) / "git" / "config")


def _settings_home(env: Mapping[str, str]) -> Path:
    """Return the folder of the user's settings; a rootless engine has its configuration and certificates there, too."""
    return Path(env.get("XDG_CONFIG_HOME") or _home(env) / ".config")


def _clouds(request: BuildRequest, env: Mapping[str, str]) -> Iterator[tuple[str, Path]]:
    """Yield the settings that Buildx and credential helpers read for this request, each after its variable.

    These settings can name a command: AWS' ``credential_process`` for a cache in S3, kubectl's ``exec`` for a cluster.
    """
    yield from _of_helpers(env)
    entries = (*values_of(request, "cache_from"), *values_of(request, "cache_to"))
    if any("type=s3" in text.lower() for text in entries):
        yield from _below_home(_AWS, env)
    stored = tuple(_clusters(env))
    if request.driver is Driver.KUBERNETES or stored or any(map(_leads_to_pod, request.endpoint)):
        given = tuple(map(Path, filter(None, env.get("KUBECONFIG", "").split(os.pathsep))))
        yield from (("KUBECONFIG", place) for place in (*given, *map(Path, filter(None, stored))))
        # The whole folder: kubectl's library copies `.kubeconfig` to `config` if the latter is absent, even where
        # KUBECONFIG names another file (client-go's ``currentMigrationRules``); kubectl takes options from `kuberc`.
        yield "HOME", _home(env) / _KUBE
        if preferences := env.get("KUBERC"):
            yield "KUBERC", Path(preferences)
        # Clouds' own commands give the logins to their clusters: `aws eks get-token`, `gke-gcloud-auth-plugin`.
        yield from _below_home((*_AWS, *_GCLOUD), env)


def _clusters(env: Mapping[str, str]) -> Iterator[str]:
    """Yield kubectl's settings for each node of Buildx' builders in a cluster; empty: those of the environment.

    Buildx reads the settings when it asks for such a builder, also for the current one, whatever the request names.
    The settings are a part of the node's address (buildx' ``driver/kubernetes/context/load.go``). kubectl also enters
    the pod of a ``remote`` builder at ``kube-pod://``.
    """
    try:
        files = sorted((buildx_folder(env) / "instances").iterdir())
    except (OSError, UsageError):
        return
    for pairs in map(_pairs, files):
        is_in_cluster = dict(pairs or ()).get("Driver") == Driver.KUBERNETES
        for address in _addresses(dict(pairs or ()).get("Nodes")):
            if is_in_cluster or _leads_to_pod(address):
                yield from parse_qs(address.partition("?")[2]).get("kubeconfig", [""])[0].split(os.pathsep)


def _leads_to_pod(address: str) -> bool:
    return address.lower().startswith("kube-pod:")


def _addresses(nodes: object) -> Iterator[str]:
    for node in nodes if isinstance(nodes, list) else ():
        yield from (str(value) for key, value in (node if isinstance(node, tuple) else ()) if key == "Endpoint")


def _of_helpers(env: Mapping[str, str]) -> Iterator[tuple[str, Path]]:
    """Yield the settings that the configured credential helpers read, each after its variable."""
    try:
        pairs = _pairs(configuration_folder(env) / _CONFIG)
    except UsageError:  # the user has no home folder
        return
    for helper in dict.fromkeys(str(helper) for _, helper in _helpers_by_host(pairs or ())):
        yield from _below_home(_HELPERS.get(helper, ()), env)


def _below_home(places: Iterable[tuple[str, str]], env: Mapping[str, str]) -> Iterator[tuple[str, Path]]:
    home = _home(env)
    return ((variable, Path(env.get(variable) or home / name)) for variable, name in places)


def _home(env: Mapping[str, str]) -> Path:
    try:
        return home_folder(env)
    except UsageError:  # a home in which nothing is found
        return Path(os.devnull)


def _tracked(place: Path, request: BuildRequest, env: Mapping[str, str]) -> Iterator[str]:
    """Yield what git tracks of a file or folder: the paths in it, or a link on the way to it.

    Yield ``.`` if git does not answer in time or there are too many paths. Without git, its index is read.
    Only the working copies of this build count: users may keep their settings in a repository.
    """
    spelled = Path(os.path.abspath(place))  # noqa: PTH100 -- Path.absolute keeps `..`
    way = tuple(folder / name for folder, name in way_to(place))
    tops = tuple(_checkouts(request))
    passed = tuple(step for step in way if any(step.is_relative_to(top) for top in tops))
    if not passed and not any(spelled.is_relative_to(top) for top in tops):
        return
    if link := led_outside(place):
        yield from _listed(Path(os.path.realpath(link.parent), link.name), env)
    for step in passed:
        if os.path.islink(step):  # noqa: PTH114 -- never raises
            yield from _listed(step, env)
    yield from _listed(Path(os.path.realpath(place)), env)


def _checkouts(request: BuildRequest) -> Iterator[Path]:
    """Yield the tops of the working copies around the working directory and around the build context."""
    starts = (str(working_directory()), *(() if is_remote_context(request.context) else (request.context,)))
    for start in map(os.path.realpath, starts):
        top = prepared_top(Path(start))
        while top is not None:
            yield top
            top = prepared_top(top.parent) if top.parent != top else None


def _listed(place: Path, env: Mapping[str, str]) -> Iterator[str]:
    """Yield the paths that git tracks at a path without links, relative to that path."""
    top = prepared_top(place)
    if top is None or not os.path.lexists(place):
        return
    name = str(place.relative_to(top))
    done, is_late = _ls_files(top, name, env)
    if is_late:
        yield "."
        return
    for path in filter(None, done.stdout.split("\0")) if done.code == 0 else _in_index(top, name):
        if name == ".":
            yield path
        elif _is_same(top, path[: len(name)], name):
            yield path[len(name) + 1 :] or "."


def _ls_files(top: Path, name: str, env: Mapping[str, str], *options: str) -> tuple[Completed, bool]:
    """Ask git's index about a path below ``top``; return the answer, and whether git is there and late.

    Git runs without the user's settings: they may be the repository's, and git answers nothing if it cannot read them.
    Therefore this call itself marks the folder as safe. The call runs no command that a repository names.
    """
    done = query(top, _safe(env), *_ANY_OWNER, "ls-files", *options, "-z", "--", f":(literal,icase){name}")
    return done, done.code < 0 and shutil.which("git", path=env.get("PATH")) is not None


def _safe(env: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without what leads git to settings of the user."""
    own = {variable: text for variable, text in env.items() if variable not in _SETTINGS}
    return {**own, "GIT_CONFIG_GLOBAL": os.devnull}


def _is_same(top: Path, path: str, name: str) -> bool:
    """Return whether two names are one place: on a Mac, small and capital letters are alike."""
    try:
        return path == name or (top / path).samefile(top / name)
    except OSError:
        return False


def _in_index(top: Path, name: str) -> Iterator[str]:
    """Yield the tracked paths at a path relative to the top, without git; if that fails, the folder of plug-ins."""
    try:
        yield from tracked_names(top, name)
    except ValueError:
        if os.path.lexists(plugins := top / name / "cli-plugins"):
            yield os.path.relpath(plugins, top)
