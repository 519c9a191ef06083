"""Build the self-contained executable: an archive of a folder with Python, the program and all that it needs.

PyInstaller makes it, as a folder and not as one file, which would be unpacked anew by every call. The same sources,
packages and Python give the same archive.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
NAME = "buildx-cache"
SUMS = "SHA256SUMS"
NEWEST_GLIBC = (2, 35)
"""The C library of Ubuntu 22.04, and so of most job images; an executable that asks for a newer one does not start."""

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
# Imported by name while the program runs, so that PyInstaller does not see it.
COLLECTED = ("buildx_cache", "rich._unicode_data", "shellingham")
# Packages that others would use if they were there.
LEFT_OUT = ("_pytest", "curses", "hypothesis", "mypy", "pkg_resources", "pytest", "readline", "setuptools", "tkinter")


def main() -> None:
    """Build the archive into the folder that the command line names, and add its line to SHA256SUMS there."""
    if sys.platform != "linux" or platform.libc_ver()[0] != "glibc":
        sys.exit(
            "error: the executable is built on Linux with glibc\nhint: elsewhere install the package: uv, pipx, pip"
        )
    target = Path(sys.argv[1] if len(sys.argv) > 1 else "dist").resolve()
    target.mkdir(parents=True, exist_ok=True)
    archive = target / f"{NAME}-linux-{ARCHITECTURES.get(platform.machine(), platform.machine())}.tar.gz"
    with tempfile.TemporaryDirectory() as scratch:
        folder = bundle(Path(scratch))
        forget_place(folder, sysconfig.get_config_var("LIBDIR"))
        needed = newest_glibc(folder)
        if needed > NEWEST_GLIBC:
            sys.exit(f"error: it needs glibc {_dotted(needed)}\nhint: build it with a Python for glibc 2.35 or older")
        pack(folder, archive)
    write_sum(archive)
    print(f"{archive}: {archive.stat().st_size / 2**20:.1f} MiB, needs glibc {_dotted(needed)}")


def bundle(scratch: Path) -> Path:
    """Run PyInstaller; return the folder that it makes."""
    words = [
        "--noconfirm",
        "--onedir",
        "--log-level=WARN",
        f"--name={NAME}",
        f"--copy-metadata={NAME}",
        "--collect-data=buildx_cache",
    ]
    words += [f"--collect-submodules={name}" for name in COLLECTED]
    words += [f"--exclude-module={name}" for name in LEFT_OUT]
    words += [f"--{kind}={scratch / kind}" for kind in ("distpath", "workpath", "specpath")]
    if shutil.which("strip"):
        words.append("--strip")
    env = {**os.environ, "PYTHONHASHSEED": "0", "SOURCE_DATE_EPOCH": "0"}
    subprocess.run((sys.executable, "-m", "PyInstaller", *words, str(HERE / "start.py")), env=env, check=True)
    return scratch / "distpath" / NAME


def forget_place(folder: Path, place: str) -> None:
    """Have the libraries look for others beside them, and not where this machine's Python was built (RUNPATH).

    Whoever has a folder of that name elsewhere could put a libm.so.6 into it.
    """
    before = b"\0" + place.encode() + b"\0"
    after = b"\0" + b"$ORIGIN".ljust(len(before) - 1, b"\0")
    if len(after) != len(before):
        return  # no room: such a short path is a folder of the system
    for path in folder.rglob("*.so*"):
        content = path.read_bytes()
        if content.startswith(b"\x7fELF") and before in content:
            path.write_bytes(content.replace(before, after))


def newest_glibc(folder: Path) -> tuple[int, ...]:
    """Return the newest version of glibc that a symbol in these files needs."""
    contents = (path.read_bytes() for path in folder.rglob("*") if path.is_file())
    found = {found for content in contents if content.startswith(b"\x7fELF") for found in _GLIBC.findall(content)}
    return max(tuple(map(int, version.split(b"."))) for version in found)


_GLIBC = re.compile(rb"\0GLIBC_(\d+\.\d+)")


def pack(folder: Path, archive: Path) -> None:
    """Write the folder as an archive that depends on nothing but what is in it."""
    with (
        archive.open("wb") as raw,
        gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as tar,
    ):
        for path in sorted(folder.rglob("*")):
            tar.add(path, str(path.relative_to(folder)), recursive=False, filter=_anonymous)


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.mtime = member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
    return member


def write_sum(archive: Path) -> None:
    """Put the archive's line into SHA256SUMS beside it, as sha256sum reads it."""
    sums = archive.parent / SUMS
    lines = sums.read_text().splitlines() if sums.exists() else []
    kept = [line for line in lines if not line.endswith(f"  {archive.name}")]
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    sums.write_text("".join(f"{line}\n" for line in sorted((*kept, f"{digest}  {archive.name}"))))


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


if __name__ == "__main__":
    main()
