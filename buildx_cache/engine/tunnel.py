"""Tunnel through Docker's API: forward ports of a builder container's loopback to this process.

``docker exec`` enters any container that Docker's API reaches, and ``kubectl exec`` any of a cluster. It starts sshd
there, which talks to this machine's ssh over the command's stdin and stdout, and listens on the container's loopback
(``ssh -R``). So the tunnel uses no network but the API's. sshd allows nothing else: no other port, login or command.
Both sides authenticate by keys made for this call. The keys are in private folders here and in the container, in memory
if possible, and go with the tunnel. However this process ends, sshd's stdin closes, and sshd ends.
"""

from __future__ import annotations

import contextlib
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from buildx_cache.engine.credentials import memory_folder
from buildx_cache.engine.process import Completed, beside, capture, capture_within
from buildx_cache.errors import ExhaustedError
from buildx_cache.redaction import redact
from buildx_cache.scratch import scratch_folder

_LOOPBACK = "127.0.0.1"
_HOST = "builder"
_NO_SSHD = 69
# Seconds, and bytes of output; a distant engine is slow.
_LIMITS = (60.0, 1 << 16)
# sshd reads the keys only at its start, so older keys are left over from killed calls. sshd requires the two folders at
# the end (Debian's and Alpine's).
_PREPARE = f"""\
set -eu
sshd=$(PATH=$PATH:/usr/sbin:/usr/local/sbin command -v sshd) || exit {_NO_SSHD}
umask 077
for memory in /dev/shm /run /tmp; do [ ! -d "$memory" ] || [ ! -w "$memory" ] || break; done
find "$memory" -maxdepth 1 -name 'buildx-cache-tunnel.*' -mmin +1 -exec rm -rf {{}} + || :
folder=$(mktemp -d "$memory/buildx-cache-tunnel.XXXXXX")
read -r client
printf '%s\\n' "$client" > "$folder/client"
cat > "$folder/host"
umask 022
[ "$(id -u)" != 0 ] || mkdir -p /run/sshd /var/empty
printf '%s %s %s\\n' "$(id -un)" "$sshd" "$folder"
"""
_PREPARED = re.compile(r"([a-z_][a-z0-9_-]*) (/[\w./-]+/sshd) (/(?:dev/shm|run|tmp)/buildx-cache-tunnel\.\w+)\n")
# The shell stays, to remove the keys when sshd has ended.
_SERVE = '"$@"; rm -rf "$0"'
_SERVER_OPTIONS = (
    "AuthenticationMethods=publickey",
    "PermitRootLogin=prohibit-password",
    "PasswordAuthentication=no",
    "KbdInteractiveAuthentication=no",
    "StrictModes=no",
    "UsePAM=no",
    "UseDNS=no",
    "PidFile=none",
    "AllowTcpForwarding=remote",
    f"PermitListen={_LOOPBACK}:*",
    "PermitOpen=none",
    "GatewayPorts=no",
    "AllowStreamLocalForwarding=no",
    "AllowAgentForwarding=no",
    "X11Forwarding=no",
    "PermitTunnel=no",
    "PermitTTY=no",
    "PermitUserRC=no",
    "ForceCommand=/bin/false",
)
_CLIENT_OPTIONS = (
    "GlobalKnownHostsFile=/dev/null",
    "StrictHostKeyChecking=yes",
    "UpdateHostKeys=no",
    "PreferredAuthentications=publickey",
    "IdentitiesOnly=yes",
    "IdentityAgent=none",
    "BatchMode=yes",
    "ExitOnForwardFailure=yes",
    # The end of a connection that is silently lost, within a minute.
    "ServerAliveInterval=15",
    "ServerAliveCountMax=3",
    "LogLevel=INFO",
    "Ciphers=^aes128-gcm@openssh.com",
)
_ALLOCATED = re.compile(rb"^Allocated port (\d{1,5}) for remote forward to 127\.0\.0\.1:(\d{1,5})\r?$", re.MULTILINE)

# What ssh and ssh-keygen say without an entry for the user in /etc/passwd (OpenSSH's ``ssh.c``), as in some containers.
_NAMELESS = "No user exists for uid"
_NAMELESS_HINT = "give this user an entry in /etc/passwd: ssh does not run without one"
_ENTER_HINT = "check that `docker exec`, or `kubectl exec` for a cluster, works on the builder's container"


@dataclass(frozen=True, kw_only=True)
class _Server:
    """The tunnel's end in the container: the user, the path of sshd, and the folder with the keys."""

    user: str
    sshd: str
    folder: str

    @property
    def words(self) -> tuple[str, ...]:
        """Return the command that serves one connection over stdin and stdout."""
        own = (f"HostKey={self.folder}/host", f"AuthorizedKeysFile={self.folder}/client")
        options = (word for option in (*own, *_SERVER_OPTIONS) for word in ("-o", option))
        return "sh", "-c", _SERVE, self.folder, self.sshd, "-i", "-f", "/dev/null", *options


@contextlib.contextmanager
def tunnel(
    enters: Sequence[Sequence[str]], ports: Sequence[int], *, env: Mapping[str, str]
) -> Iterator[Mapping[int, int]]:
    """Forward ports of containers' loopback to ports of this machine's; yield the port in all containers for each.

    The first container's sshd chooses the ports, and those of the others take the same: the nodes of a builder all read
    one reference.

    Args:
        enters: the command that runs another command in the container, such as ``docker exec -i NAME``, of each.
        ports: the ports on this machine.
        env: the environment of the commands.

    Raises:
        ExhaustedError: ssh is missing here, sshd is missing in a container, or a tunnel does not open.
    """
    there: Mapping[int, int] = dict.fromkeys(ports, 0)
    with contextlib.ExitStack() as stack:
        for enter in enters:
            there = stack.enter_context(_tunnel(enter, there, env))
        yield there


@contextlib.contextmanager
def _tunnel(enter: Sequence[str], ports: Mapping[int, int], env: Mapping[str, str]) -> Iterator[Mapping[int, int]]:
    """Tunnel into one container; ``ports`` and what is yielded are the container's port for each here, 0 is any."""
    with scratch_folder(memory_folder(env)) as folder:
        client, host = (_make_key(folder / name, env) for name in ("client", "host"))
        server = _prepare(enter, client, host, env)
        known = folder / "known_hosts"
        known.write_text(f"{_HOST} {_public(host)}\n")
        with _connected(_ssh(enter, server, client, known, ports), ports, env) as found:
            yield found


def _make_key(file: Path, env: Mapping[str, str]) -> Path:
    try:
        done = capture(("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(file)), env=env)
    except OSError:
        raise _no_ssh() from None
    if done.code != 0:
        raise _failed(done.stderr)
    return file


def _public(key: Path) -> str:
    return key.with_suffix(".pub").read_text().strip()


def _prepare(enter: Sequence[str], client: Path, host: Path, env: Mapping[str, str]) -> _Server:
    """Put the keys into the container, and find its user and sshd."""
    keys = f"{_public(client)}\n{host.read_text()}".encode()
    try:
        done = capture_within((*enter, "sh", "-c", _PREPARE), env=env, within=_LIMITS, stdin=keys)
    except OSError as error:
        raise _failed(f"{enter[0]}: {error.strerror or error}") from None
    return _server(done)


def _server(done: Completed) -> _Server:
    """Parse the container's answer, which is untrusted."""
    if done.code == _NO_SSHD:
        raise ExhaustedError(
            "the builder's image has no ssh server, which the tunnel through Docker's API ends at",
            code="tunnel-sshd-absent",
            hint="use a BuildKit image with sshd, such as moby/buildkit:buildx-stable-1, to read the folder lazily",
        )
    found = _PREPARED.fullmatch(done.stdout)
    if done.code != 0 or not found:
        raise _failed(done.stderr)
    user, sshd, folder = found.groups()
    return _Server(user=user, sshd=sshd, folder=folder)


def _ssh(enter: Sequence[str], server: _Server, client: Path, known: Path, ports: Mapping[int, int]) -> tuple[str, ...]:
    proxy = shlex.join((*enter, *server.words)).replace("%", "%%")
    own = (f"ProxyCommand={proxy}", f"UserKnownHostsFile={known}", f"IdentityFile={client}")
    options = (word for option in (*own, *_CLIENT_OPTIONS) for word in ("-o", option))
    forwards = (word for here, there in _forwards(ports) for word in ("-R", f"{_LOOPBACK}:{there}:{_LOOPBACK}:{here}"))
    return "ssh", "-N", "-F", "/dev/null", *options, *forwards, "-l", server.user, _HOST


def _forwards(ports: Mapping[int, int]) -> list[tuple[int, int]]:
    """Return the port here and the one in the container of each forward, the chosen ones first.

    ssh tells only of a port that sshd chooses that it is forwarded. sshd answers in order, and ssh ends at a refusal:
    so one more port, after those that are given, tells of them.
    """
    found = sorted(ports.items(), key=lambda each: not each[1])
    return found if not found[-1][1] else [*found, (found[-1][0], 0)]


@contextlib.contextmanager
def _connected(argv: Sequence[str], ports: Mapping[int, int], env: Mapping[str, str]) -> Iterator[Mapping[int, int]]:
    """Keep ssh running in this context; yield the container's port for each port on this machine."""
    chosen = {here for here, there in _forwards(ports) if not there}

    def allocated(said: bytes) -> Mapping[int, int]:
        return {int(here): int(there) for there, here in _ALLOCATED.findall(said)}

    with contextlib.ExitStack() as stack:
        try:
            # ssh runs ProxyCommand with the user's shell, which may not exist.
            running = beside(
                argv,
                env={**env, "SHELL": "/bin/sh"},
                is_ready=lambda said: allocated(said).keys() >= chosen,
                within=_LIMITS,
            )
            said = stack.enter_context(running)
        except FileNotFoundError:
            raise _no_ssh() from None
        except OSError as error:
            raise _failed(error.strerror or str(error)) from None
        yield {here: there or allocated(said)[here] for here, there in ports.items()}


def _no_ssh() -> ExhaustedError:
    return ExhaustedError(
        "this machine has no ssh, which the tunnel through Docker's API begins at",
        code="tunnel-ssh-absent",
        hint="install openssh-client for lazy imports",
    )


def _failed(said: str) -> ExhaustedError:
    reason = redact(said.strip().splitlines()[-1]) if said.strip() else "no reason given"
    return ExhaustedError(
        f"the tunnel through Docker's API to the builder does not open: {reason}",
        code="tunnel-failed",
        hint=_NAMELESS_HINT if _NAMELESS in said else _ENTER_HINT,
    )
