"""The two images made here: a base image for builds, and the builder image for the `docker-container` driver.

Both are one layer of files taken from the machine and the private packages, because no public registry is needed
for this engine. A checksum of what went in is kept as a label, so an unchanged image is not made again.
"""

import hashlib
import io
import re
import subprocess
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import network
import packages
import registry
from errors import EngineError
from processes import run, say
from state import Places

HERE = Path(__file__).parent
LABEL = "buildx-cache-engine.checksum"
BUILDER = "buildx-cache/buildkit"
BUILDER_TAG = "local"
BASE = "library/busybox"
BASE_TAG = "1"
TEXTS = {
    "usr/lib/os-release": b'NAME="busybox"\nID=busybox\n',
    "etc/passwd": b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    "etc/group": b"root:x:0:\nnogroup:x:65534:\n",
}
SSH_USER = b"sshd:x:22:65534:sshd:/:/bin/false\n"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """An image: files copied in (image path → host path), texts, links, and its configuration."""

    files: dict[str, Path]
    texts: dict[str, bytes]
    links: dict[str, str]
    changes: tuple[str, ...]

    def checksum(self) -> str:
        """Return a digest of the inputs; a file counts by size and time, as package files never change in place."""
        digest = hashlib.sha256(repr((sorted(self.links.items()), self.changes)).encode())
        for target, source in sorted(self.files.items()):
            facts = source.stat()
            digest.update(f"{target} {facts.st_size} {facts.st_mtime_ns}\n".encode())
        for target, text in sorted(self.texts.items()):
            digest.update(f"{target} {len(text)}\n".encode() + text)
        return digest.hexdigest()


def base_recipe() -> Recipe:
    """Return a busybox with all its applets: every `RUN` of an ordinary shell step works on it."""
    busybox = packages.host_program("busybox")
    applets = run([busybox, "--list-full"]).split()
    links = {applet: "/bin/busybox" for applet in applets if applet != "bin/busybox"}
    return Recipe(
        files={"bin/busybox": Path(busybox)},
        texts=TEXTS,
        links=links,
        changes=(f"ENV PATH={PATH}", 'CMD ["sh"]'),
    )


def builder_recipe(places: Places, pool: str) -> Recipe:
    """Dockerd and what it needs, behind scripts that answer as buildkitd and buildctl."""
    base = base_recipe()
    prefix = places.prefix
    programs = {
        "usr/bin/dockerd": prefix / "usr/sbin/dockerd",
        "usr/bin/containerd": prefix / "usr/bin/containerd",
        "usr/bin/containerd-shim-runc-v2": prefix / "usr/bin/containerd-shim-runc-v2",
        "usr/bin/docker": prefix / "usr/bin/docker",
        "usr/bin/runc": Path(packages.host_program("runc")),
    }
    ssh = packages.ssh_server(places)
    programs["usr/sbin/sshd"] = ssh / "usr/sbin/sshd"
    files = {**base.files, **programs, **_libraries(programs.values(), ssh)}
    certificates = Path("/etc/ssl/certs/ca-certificates.crt")
    if certificates.exists():
        files["etc/ssl/certs/ca-certificates.crt"] = certificates
    scripts = {f"usr/bin/{name}": (HERE / "builder" / name).read_bytes() for name in ("buildkitd", "buildctl")}
    config = {
        "etc/containerd.toml": (HERE / "builder/containerd.toml").read_bytes(),
        "etc/passwd": TEXTS["etc/passwd"] + SSH_USER,
    }
    return Recipe(
        files=files,
        texts={**base.texts, **scripts, **config},
        links={link: target for link, target in base.links.items() if link not in files},
        changes=(
            f"ENV PATH={PATH}",
            f"ENV ENGINE_POOL={network.prefix_of(pool)}",
            "VOLUME /var/lib/buildkit",
            'ENTRYPOINT ["buildkitd"]',
        ),
    )


def ensure_base(address: str, docker_env: Mapping[str, str]) -> str:
    """Have the base image in the engine's store and in the open registry, from where builders pull it."""
    reference = f"{address}/{BASE}:{BASE_TAG}"
    made = _ensure(base_recipe(), reference, docker_env, ())
    if made or not registry.has(address, BASE, BASE_TAG):
        run(["docker", "push", "--quiet", reference], env=docker_env)
    return reference


def ensure_builder(places: Places, pool: str, address: str, docker_env: Mapping[str, str]) -> str:
    """Have the builder image in the engine's store.

    Its reference names the open registry though it is not pushed there: Buildx always tries to pull first, and that
    registry answers "not found" at once where a public one might have to time out.
    """
    reference = f"{address}/{BUILDER}:{BUILDER_TAG}"
    inspected = run(["docker", "buildx", "inspect", "default"], env=docker_env)
    found = re.search(r"BuildKit(?: version)?:\s*(v\S+)", inspected)
    extra = (f"ENV BUILDKIT_VERSION={found[1] if found else 'v0.0.0'}",)
    _ensure(builder_recipe(places, pool), reference, docker_env, extra)
    run(["docker", "tag", reference, f"{BUILDER}:{BUILDER_TAG}"], env=docker_env)
    return reference


def _ensure(recipe: Recipe, reference: str, docker_env: Mapping[str, str], extra: tuple[str, ...]) -> bool:
    """Make the image unless one of the same checksum is there; whether it was made."""
    checksum = recipe.checksum()
    template = f'{{{{index .Config.Labels "{LABEL}"}}}}'
    try:
        if run(["docker", "image", "inspect", "--format", template, reference], env=docker_env).strip() == checksum:
            return False
    except EngineError:
        pass  # there is none yet
    say(f"making the image {reference} …")
    changes = (*recipe.changes, *extra, f"LABEL {LABEL}={checksum}")
    options = [word for change in changes for word in ("--change", change)]
    with subprocess.Popen(
        ["docker", "import", *options, "-", reference],
        env=docker_env,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    ) as importer:
        write_tar(recipe, importer)
        message = importer.stderr.read().decode(errors="replace").strip() if importer.stderr else ""
    if importer.returncode:
        raise EngineError(f"the image {reference} could not be made: {message[-300:]}", "check the free disk space")
    return True


def write_tar(recipe: Recipe, importer: subprocess.Popen[bytes]) -> None:
    """Stream the recipe's files to the importer; one that gave up early has said why on its stderr."""
    if importer.stdin is None:
        return
    try:
        with (
            importer.stdin as pipe,
            tarfile.open(fileobj=pipe, mode="w|", format=tarfile.PAX_FORMAT) as archive,
        ):
            for folder in ("bin", "dev", "etc", "proc", "root", "run", "sbin", "sys", "tmp", "usr", "var"):
                archive.addfile(_entry(folder, tarfile.DIRTYPE, mode=0o1777 if folder == "tmp" else 0o755))
            for target, source in sorted(recipe.files.items()):
                content = source.read_bytes()
                mode = 0o644 if target.endswith(".crt") else 0o755
                archive.addfile(_entry(target, tarfile.REGTYPE, mode=mode, size=len(content)), io.BytesIO(content))
            for target, text in sorted(recipe.texts.items()):
                mode = 0o755 if target.startswith("usr/bin/") else 0o644
                archive.addfile(_entry(target, tarfile.REGTYPE, mode=mode, size=len(text)), io.BytesIO(text))
            for target, link in sorted(recipe.links.items()):
                archive.addfile(_entry(target, tarfile.SYMTYPE, link=link))
    except BrokenPipeError:
        pass


def _entry(name: str, kind: bytes, *, mode: int = 0o777, size: int = 0, link: str = "") -> tarfile.TarInfo:
    """Return a tar member without a time or an owner, so that the same inputs give the same layer."""
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode, entry.size, entry.linkname = kind, mode, size, link
    return entry


def _libraries(programs: Iterable[Path], more: Path) -> dict[str, Path]:
    """Return the shared libraries of the programs and the loader itself, at the paths the loader looks for them.

    Some are below the folder ``more``.
    """
    env = {"LD_LIBRARY_PATH": ":".join(map(str, more.glob("usr/lib/*-linux-gnu*")))}
    lines = [run(["ldd", str(program)], env={"PATH": packages.HOST_PATH, **env}) for program in programs]
    found = {path for text in lines for path in re.findall(r"(/\S+) \(0x", text)}
    return {path.removeprefix(str(more)).lstrip("/"): Path(path) for path in found}
