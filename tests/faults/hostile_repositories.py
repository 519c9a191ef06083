"""Repositories that run commands of their own in whoever asks git about them, and what shows that one was run."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ABSENT = "1" * 40
"""A commit that no repository has: git fetches it from a promisor remote."""
PLAIN = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0"}
"""The environment of a user without settings."""
WHO = ("-c", "user.name=t", "-c", "user.email=t@example.com")


@dataclass(frozen=True, kw_only=True)
class Traps:
    """A folder outside of every repository: a command that leaves a mark, a fake ssh, and a port that counts calls."""

    folder: Path
    port: int
    calls: list[bytes]

    @property
    def path(self) -> str:
        """A search path on which ``ssh`` is a trap."""
        return f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}"

    def command(self, name: str) -> str:
        return f"{self.folder / 'trap'} {name}"

    def sprung(self) -> list[str]:
        """Return what was run or called since the last time."""
        marks = self.folder / "marks"
        found = [*marks.read_text().splitlines()] if marks.exists() else []
        marks.unlink(missing_ok=True)
        found += ["a connection"] * len(self.calls)
        self.calls.clear()
        return found


@contextmanager
def setting_traps(folder: Path) -> Iterator[Traps]:
    (folder / "bin").mkdir(parents=True)
    for place in ("trap", "bin/ssh", "bin/git-remote-trap", "bin/gpg"):
        (folder / place).write_text(f'#!/bin/sh\necho "$0 $*" >> {folder / "marks"}\n')
        (folder / place).chmod(0o755)
    with socket.create_server(("127.0.0.1", 0)) as server:
        calls: list[bytes] = []
        threading.Thread(target=_count, args=(server, calls), daemon=True).start()
        try:
            yield Traps(folder=folder, port=server.getsockname()[1], calls=calls)
        finally:
            server.shutdown(socket.SHUT_RDWR)


def _count(server: socket.socket, calls: list[bytes]) -> None:
    while True:
        try:
            caller, _ = server.accept()
        except OSError:
            return
        with caller:
            calls.append(b"")


def settings(traps: Traps, *, included: bool = True) -> str:
    """Return a configuration that names a command wherever git takes one."""
    run = traps.command
    here = f"127.0.0.1:{traps.port}"
    path = f"\tpath = {traps.folder / 'included'}\n"
    include = f'[include]\n{path}[includeIf "gitdir:/**"]\n{path}'
    return f"""\
[core]
	repositoryformatversion = 1
	sshCommand = {run("core.sshCommand")}
	fsmonitor = {run("core.fsmonitor")}
	hooksPath = {traps.folder / "hooks"}
	pager = {run("core.pager")}
	editor = {run("core.editor")}
	askPass = {run("core.askPass")}
	gitProxy = {run("core.gitProxy")}
	alternateRefsCommand = {run("core.alternateRefsCommand")}
	attributesFile = {traps.folder / "attributes"}
[extensions]
	partialClone = origin
[protocol]
	allow = always
[protocol "ext"]
	allow = always
[remote "origin"]
	url = ext::{run("ext")}
	promisor = true
	partialclonefilter = blob:none
[remote "ssh"]
	url = ssh://127.0.0.1/x
	promisor = true
[remote "helper"]
	url = x
	vcs = trap
	promisor = true
[remote "path"]
	url = {traps.folder}
	uploadpack = {run("uploadpack")}
	promisor = true
[remote "http"]
	url = http://{here}/x
	promisor = true
[remote "git"]
	url = git://{here}/x
	promisor = true
[url "ext::{run("url")} "]
	insteadOf = https://
[credential]
	helper = !{run("credential.helper")}
[log]
	showSignature = true
[gpg]
	program = {traps.folder / "bin/gpg"}
[alias]
	log = !{run("alias.log")}
	show = !{run("alias.show")}
[pager]
	log = {run("pager.log")}
	show = {run("pager.show")}
[diff]
	external = {run("diff.external")}
[diff "trap"]
	command = {run("diff.command")}
	textconv = {run("diff.textconv")}
[filter "trap"]
	clean = {run("filter.clean")}
	smudge = {run("filter.smudge")}
	process = {run("filter.process")}
	required = true
[submodule "sub"]
	url = ext::{run("submodule.url")}
	update = !{run("submodule.update")}
	active = true
[uploadpack]
	packObjectsHook = {run("uploadpack.packObjectsHook")}
{include if included else ""}"""


def honest(folder: Path) -> Path:
    """Make a working copy of one commit on the branch ``trunk``, with a Dockerfile."""
    folder.mkdir(parents=True)
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    _git("init", "--quiet", "--initial-branch", "trunk", str(folder))
    _git("-C", str(folder), "add", ".")
    _git("-C", str(folder), *WHO, "commit", "--quiet", "--message", "first")
    return folder


def bare(folder: Path, traps: Traps) -> Path:
    """Make a bare repository of ordinary files, as a pull request can commit them, of which git takes the work tree."""
    folder.mkdir(parents=True, exist_ok=True)
    _filled(folder, f"[core]\n\tbare = false\n\tworktree = {folder}\n{settings(traps)}", traps)
    _dressed(folder)
    return folder


def _filled(folder: Path, config: str, traps: Traps) -> None:
    (folder / "HEAD").write_text("ref: refs/heads/main\n")
    for place in ("objects/info", "objects/pack", "refs/heads", "info", "hooks"):
        (folder / place).mkdir(parents=True, exist_ok=True)
    (folder / "refs/heads/main").write_text(f"{ABSENT}\n")
    (folder / "config").write_text(config)
    (folder / "objects/info/alternates").write_text(f"{traps.folder}\n")
    (folder / "info/attributes").write_text("* filter=trap diff=trap\n")
    hooks = traps.folder / "hooks"
    hooks.mkdir(exist_ok=True)
    for name in ("post-index-change", "reference-transaction", "pre-auto-gc", "post-checkout"):
        shutil.copy(traps.folder / "trap", hooks / name)
        shutil.copy(traps.folder / "trap", folder / "hooks" / name)
    (traps.folder / "attributes").write_text("* filter=trap diff=trap\n")
    (traps.folder / "included").write_text(settings(traps, included=False))


def _dressed(folder: Path) -> None:
    """Add what a hostile working tree has, and a build needs."""
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    (folder / ".gitattributes").write_text("* filter=trap diff=trap merge=trap\n")
    (folder / ".gitmodules").write_text('[submodule "sub"]\n\tpath = sub\n\turl = ext::sh -c true\n\tupdate = !false\n')


def _git(*words: str) -> None:
    subprocess.run(("git", *words), env=PLAIN, check=True, capture_output=True)


# --- positions ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Hostile:
    """A repository to call the program in."""

    here: Path
    """The working folder of the call."""
    context: Path
    is_whole: bool = False
    """Whether there is a commit: then git shows it, and fetches nothing."""
    asked: tuple[str, ...] = ()
    """What git needs to be told to step into the trap; by default nothing."""


def _context_itself(folder: Path, traps: Traps) -> Hostile:
    return Hostile(here=honest(folder), context=bare(folder / "app", traps))


def _parent_of_the_context(folder: Path, traps: Traps) -> Hostile:
    top = honest(folder)
    context = bare(top / "app", traps) / "deeper" / "still"
    context.mkdir(parents=True)
    _dressed(context)
    return Hostile(here=top, context=context)


def _working_folder(folder: Path, traps: Traps) -> Hostile:
    inside = bare(honest(folder) / "app", traps)
    return Hostile(here=inside, context=inside)


def _top_beside_a_repository(folder: Path, traps: Traps) -> Hostile:
    top = bare(honest(folder), traps)
    return Hostile(here=top, context=top, asked=("--git-dir=.",))


def _top_beside_an_empty_one(folder: Path, traps: Traps) -> Hostile:
    top = bare(folder, traps)
    (top / ".git").mkdir()
    return Hostile(here=top, context=top)


def _top_beside_a_file_without_sense(folder: Path, traps: Traps) -> Hostile:
    top = bare(folder, traps)
    (top / ".git").write_text("not a repository\n")
    return Hostile(here=top, context=top, asked=("--git-dir=.",))


def _without_a_repository(folder: Path, traps: Traps) -> Hostile:
    top = bare(folder, traps)
    return Hostile(here=top, context=top)


def _by_a_common_folder(folder: Path, traps: Traps) -> Hostile:
    """Objects and references lie elsewhere: the embedded folder is told only by ``commondir``."""
    top = honest(folder)
    bare(top / "app", traps)
    (top / "app" / "common").mkdir()
    for name in ("objects", "refs", "config", "info", "hooks"):
        (top / "app" / name).rename(top / "app" / "common" / name)
    (top / "app" / "commondir").write_text("common\n")
    return Hostile(here=top, context=top / "app")


def _from_an_archive(folder: Path, traps: Traps) -> Hostile:
    _filled_work_tree(folder, folder / ".git", traps)
    return Hostile(here=folder, context=folder)


def _below_a_working_copy(folder: Path, traps: Traps) -> Hostile:
    top = honest(folder)
    _filled_work_tree(top / "app", top / "app" / ".git", traps)
    return Hostile(here=top, context=top / "app")


def _beside_the_working_folder(folder: Path, traps: Traps) -> Hostile:
    _filled_work_tree(folder / "unpacked", folder / "unpacked" / ".git", traps)
    return Hostile(here=honest(folder / "own"), context=folder / "unpacked")


def _pointed_at(folder: Path, traps: Traps) -> Hostile:
    _filled_work_tree(folder, folder / "payload", traps)
    (folder / ".git").write_text("gitdir: payload\n")
    return Hostile(here=folder, context=folder)


def _with_a_commit(folder: Path, traps: Traps) -> Hostile:
    """All is there, so that git shows the commit, and looks at the working tree: settings of another kind count."""
    top = honest(folder)
    git = top / ".git"
    signed = f"tree {_said(top, 'rev-parse', 'HEAD^{tree}')}\nauthor t <t@t> 1 +0000\ncommitter t <t@t> 1 +0000\n"
    signed += "gpgsig -----BEGIN PGP SIGNATURE-----\n \n AA==\n -----END PGP SIGNATURE-----\n\nsigned\n"
    commit = _said(top, "hash-object", "-t", "commit", "-w", "--stdin", text=signed)
    _filled(git, settings(traps), traps)
    (git / "refs/heads/main").write_text(f"{commit}\n")
    _dressed(top)
    return Hostile(here=top, context=top, is_whole=True)


def _asked_by_buildx(folder: Path, traps: Traps) -> Hostile:
    """Nothing keeps Buildx from asking git: whatever else names a command must have no part in it."""
    found = _with_a_commit(folder, traps)
    config = folder / ".git" / "config"
    kept = (line for line in config.read_text().splitlines() if not line.strip().startswith(_TELLING))
    config.write_text("".join(f"{line}\n" for line in kept))
    included = traps.folder / "included"
    included.write_text("")
    return found


def _with_a_signature(folder: Path, traps: Traps) -> Hostile:
    """Only the program that verifies the signature of the commit is named."""
    found = _with_a_commit(folder, traps)
    program = f"[gpg]\n\tprogram = {traps.folder / 'bin/gpg'}\n"
    (folder / ".git" / "config").write_text(f"[core]\n\tbare = false\n[log]\n\tshowSignature = true\n{program}")
    return found


_TELLING = ("promisor", "partialC", "partialc", "showSignature", "program")


def _filled_work_tree(top: Path, git: Path, traps: Traps) -> None:
    top.mkdir(parents=True, exist_ok=True)
    git.mkdir()
    _filled(git, settings(traps), traps)
    _dressed(top)


def _said(top: Path, *words: str, text: str = "") -> str:
    done = subprocess.run(
        ("git", "-C", str(top), *words), env=PLAIN, check=True, capture_output=True, text=True, input=text
    )
    return done.stdout.strip()


POSITIONS: Mapping[str, Callable[[Path, Traps], Hostile]] = {
    "context": _context_itself,
    "parent-of-the-context": _parent_of_the_context,
    "working-folder": _working_folder,
    "top-beside-a-repository": _top_beside_a_repository,
    "top-beside-an-empty-git": _top_beside_an_empty_one,
    "top-beside-a-bogus-git": _top_beside_a_file_without_sense,
    "no-repository": _without_a_repository,
    "common-folder": _by_a_common_folder,
    "archive": _from_an_archive,
    "archive-in-a-working-copy": _below_a_working_copy,
    "archive-elsewhere": _beside_the_working_folder,
    "git-file": _pointed_at,
    "archive-with-a-commit": _with_a_commit,
    "archive-that-buildx-asks": _asked_by_buildx,
    "archive-with-a-signature": _with_a_signature,
}


def state_of(*folders: Path, but: tuple[str, ...] = ()) -> str:
    """Return a digest of every name, mode, link and content below the folders; of those named nothing."""
    found = hashlib.sha256()
    for folder in folders:
        for parent, names, files in os.walk(folder):
            names[:] = sorted(name for name in names if name not in but)
            for name in sorted((*names, *files)):
                path = Path(parent, name)
                mode = path.lstat().st_mode
                content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
                found.update(repr((str(path), mode, content)).encode())
    return found.hexdigest()
