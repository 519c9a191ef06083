"""The engine's programs: Debian packages of a newer suite, unpacked into a private folder.

The system's package state stays as it is, except for a few small packages of its own suite (`ON_HOST`). The ssh
server of builders is of that suite, too, unpacked like the others: it needs libraries that are as old as itself.
"""

import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from errors import EngineError
from processes import run, say
from state import Places

WANTED = {
    "forky": ("docker.io", "docker-cli", "docker-buildx", "containerd", "tini-static", "docker-registry"),
    "trixie": ("docker.io", "docker-cli", "docker-buildx", "containerd", "tini", "docker-registry"),
}
ON_HOST = {"runc": "runc", "iptables": "iptables", "busybox": "busybox-static", "ip": "iproute2", "openssl": "openssl"}
SSH_SERVER = ("openssh-server", "libwrap0")
HOST_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def ensure(places: Places, env: Mapping[str, str]) -> None:
    """Have the suite's programs in the private prefix and the host's beside them."""
    _ensure_host_packages(env)
    _ensure_ssh_server(places, env)
    done = places.prefix / ".complete"
    if done.exists():
        return
    folder = places.cache / "packages" / places.name.suite
    if not (folder / ".complete").exists():
        _download(folder, places.name.suite, env)
    say(f"unpacking {len(WANTED[places.name.suite])} packages …")
    shutil.rmtree(places.prefix, ignore_errors=True)
    places.prefix.mkdir(parents=True)
    for package in sorted(folder.glob("*.deb")):
        run(["dpkg", "-x", str(package), str(places.prefix)], hint=f"delete {folder} and try again")
    cli = places.prefix / "cli"
    cli.mkdir()
    (cli / "docker").symlink_to(places.prefix / "usr/bin/docker")
    done.write_text("".join(f"{package.name}\n" for package in sorted(folder.glob("*.deb"))))


def programs_path(places: Places) -> str:
    """PATH for the daemons: the private programs first, then the system's, whatever the caller's PATH is."""
    return f"{places.prefix}/usr/sbin:{places.prefix}/usr/bin:{HOST_PATH}"


def host_program(name: str) -> str:
    """Where one of the host's own programs is."""
    found = shutil.which(name, path=HOST_PATH)
    if not found:
        raise EngineError(f"{name} is not installed", f"apt-get install {ON_HOST.get(name, name)}")
    return found


def _ensure_host_packages(env: Mapping[str, str]) -> None:
    missing = [package for name, package in ON_HOST.items() if not shutil.which(name, path=HOST_PATH)]
    if not missing:
        return
    say(f"installing {', '.join(missing)} …")
    install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing]
    quiet = {**env, "DEBIAN_FRONTEND": "noninteractive"}
    hint = f"make `apt-get install {' '.join(missing)}` work, then try again"
    try:
        run(install, env=quiet, hint=hint)
    except EngineError:  # no package lists yet, or outdated ones
        run(["apt-get", "update", "-qq"], env=quiet, hint=hint)
        run(install, env=quiet, hint=hint)


def ssh_server(places: Places) -> Path:
    """Return the folder in which the ssh server is unpacked, with what the machine lacks of its libraries."""
    return places.cache / "prefix" / "ssh"


def _ensure_ssh_server(places: Places, env: Mapping[str, str]) -> None:
    folder = ssh_server(places)
    if (folder / ".complete").exists():
        return
    say(f"downloading {', '.join(SSH_SERVER)} …")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    hint = "make `apt-get update` work, then try again"
    run(["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", *SSH_SERVER], env=env, cwd=folder, hint=hint)
    for package in folder.glob("*.deb"):
        run(["dpkg", "-x", str(package), str(folder)], hint=f"delete {folder} and try again")
        package.unlink()
    (folder / ".complete").touch()


def _download(folder: Path, suite: str, env: Mapping[str, str]) -> None:
    """`apt-get download` with package lists of its own, which are thrown away afterwards."""
    say(f"reading the package lists of {suite} …")
    shutil.rmtree(folder, ignore_errors=True)
    apt = folder / "apt"
    for needed in (apt / "lists/partial", apt / "cache/archives/partial"):
        needed.mkdir(parents=True)
    source = apt / f"{suite}.sources"
    source.write_text(suite_source(Path("/etc/apt"), suite, running_suite(Path("/etc/os-release"))))
    options = {
        "Dir::Etc::sourcelist": source,
        "Dir::Etc::sourceparts": "-",
        "Dir::Etc::preferences": "-",
        "Dir::Etc::preferencesparts": "-",
        "Dir::State::lists": apt / "lists",
        "Dir::Cache": apt / "cache",
        "Acquire::Languages": "none",
        # As root's own folder may be closed to the sandbox user, which apt would otherwise warn about.
        "APT::Sandbox::User": "root",
    }
    command = [
        "apt-get",
        "-qq",
        *(word for key, value in options.items() for word in ("-o", f"{key}={value}")),
    ]
    hint = f"check that the machine's Debian mirror is reachable and carries {suite}"
    # Without Error-Mode, an unreachable mirror is a warning and the old lists are used.
    run([*command, "-o", "APT::Update::Error-Mode=any", "update"], env=env, hint=hint)
    packages = folder / "new"
    packages.mkdir()
    say(f"downloading {', '.join(WANTED[suite])} …")
    run([*command, "download", *WANTED[suite]], env=env, cwd=packages, hint=hint)
    for package in packages.glob("*.deb"):
        package.rename(folder / package.name)
    packages.rmdir()
    shutil.rmtree(apt)
    (folder / ".complete").touch()


def running_suite(release: Path) -> str:
    """Return the code name of the Debian that runs; anything else cannot give the packages of a newer Debian."""
    fields: dict[str, str] = dict(
        re.findall(r'^(\w+)="?([^"\n]*)"?$', release.read_text() if release.exists() else "", re.MULTILINE)
    )
    names = {fields.get("ID", ""), *fields.get("ID_LIKE", "").split()}
    if not names & {"debian", "ubuntu"} or not fields.get("VERSION_CODENAME"):
        raise EngineError(
            "a private engine can only be made on Debian or Ubuntu",
            "install Docker with Buildx and start it, then try again",
        )
    return fields["VERSION_CODENAME"]


def suite_source(etc: Path, suite: str, running: str) -> str:
    """Return the machine's own apt source of the running suite with the suite's name changed, as deb822 text."""
    found: list[str | None] = []
    for file in sorted(etc.glob("sources.list.d/*.sources")):
        found += [_from_stanza(stanza, suite, running) for stanza in re.split(r"\n\s*\n", file.read_text())]
    for file in (etc / "sources.list", *sorted(etc.glob("sources.list.d/*.list"))):
        lines = file.read_text().splitlines() if file.exists() else []
        found += [_from_line(line, suite, running) for line in lines]
    # Other vendors' archives use Debian's suite names too; a mirror of Debian has its name in the address.
    texts = sorted((text for text in found if text), key=lambda text: not re.search(r"(?m)^URIs:.*debian", text))
    if texts:
        return texts[0]
    raise EngineError(
        f"no apt source for {running} was found to derive one for {suite} from",
        f"add the machine's Debian mirror to {etc}/sources.list.d, or install Docker with Buildx",
    )


def _from_stanza(stanza: str, suite: str, running: str) -> str | None:
    """Return a deb822 stanza of the running suite, turned to the other suite; multi-line keys stay as they are."""
    body = "\n".join(line for line in stanza.splitlines() if not line.startswith("#"))
    fields = {name.lower(): value.split() for name, value in re.findall(r"^([\w-]+):(.*)$", body, re.MULTILINE)}
    wanted = running in fields.get("suites", ()) and "main" in fields.get("components", ())
    if not wanted or "deb" not in fields.get("types", ()) or fields.get("enabled") == ["no"]:
        return None
    for name, value in (("Types", "deb"), ("Suites", suite), ("Components", "main")):
        body = re.sub(rf"^{name}:.*$", f"{name}: {value}", body, flags=re.MULTILINE | re.IGNORECASE)
    return body.strip() + "\n"


def _from_line(line: str, suite: str, running: str) -> str | None:
    """Return a one-line source of the running suite as a stanza for the other."""
    found = re.match(r"deb\s+(?:\[(?P<options>[^]]*)\]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)\s+main\b", line)
    if not found or found["suite"] != running:
        return None
    signed = re.search(r"signed-by=(\S+)", found["options"] or "")
    key = signed[1] if signed else "/usr/share/keyrings/debian-archive-keyring.gpg"
    return f"Types: deb\nURIs: {found['uri']}\nSuites: {suite}\nComponents: main\nSigned-By: {key}\n"
