"""A machine of its own for an engine: a network namespace that only a wire leads to, and TLS on it.

The engine's daemons and registries run in the namespace, so that its loopback is not this one's. This host may open
connections to it, and it none to this host: as an engine elsewhere, which a job reaches by Docker's API alone.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from processes import run, say, succeeds
from state import Name, Places

PORT = 2376
_DAYS = "3650"


def _namespace(name: Name) -> str:
    return f"bxr{name.number}"


def _wire(name: Name) -> str:
    return f"bxw{name.number}"


def inside(name: Name) -> tuple[str, ...]:
    """Return the words that run a command on the engine's machine; none where that is this one."""
    return ("nsenter", f"--net=/run/netns/{_namespace(name)}") if name.is_remote else ()


def address(prefix: str) -> str:
    """Return the machine's address."""
    return f"{prefix}.16.2"


def make(name: Name, pool: str, prefix: str) -> None:
    """Make the namespace and the wire, and lead the pool's addresses there."""
    wire, here = _wire(name), f"{prefix}.16.1"
    run(["ip", "netns", "add", _namespace(name)], hint="the kernel needs network namespaces, and this program root")
    run(["ip", "link", "add", wire, "type", "veth", "peer", "name", "eth0", "netns", _namespace(name)])
    run(["ip", "addr", "add", f"{here}/30", "dev", wire])
    run(["ip", "link", "set", wire, "up"])
    for words in (
        ("link", "set", "lo", "up"),
        ("addr", "add", f"{address(prefix)}/30", "dev", "eth0"),
        ("link", "set", "eth0", "up"),
        ("route", "add", "default", "via", here),
    ):
        run([*inside(name), "ip", *words])
    run([*inside(name), "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"])
    run(["ip", "route", "add", pool, "via", address(prefix)])


def remove(name: Name) -> None:
    """Remove both, whether or not they are there."""
    for words in (("link", "delete", _wire(name)), ("netns", "delete", _namespace(name))):
        succeeds(["ip", *words])


def rules(name: Name) -> tuple[tuple[str, str, tuple[str, ...]], ...]:
    """Return the rule by which the machine opens no connection to this host."""
    return (("filter", "INPUT", ("-i", _wire(name), "-m", "conntrack", "--ctstate", "NEW", "-j", "REJECT")),)


def listening(places: Places, prefix: str, registries: Sequence[str]) -> Mapping[str, object]:
    """Return the daemon's settings for being reached with TLS, and for the registries on its machine."""
    folder = certificates(places)
    _ensure_certificates(folder, address(prefix))
    return {
        "hosts": [f"unix://{places.socket}", f"tcp://{address(prefix)}:{PORT}"],
        "tlsverify": True,
        "tlscacert": str(folder / "ca.pem"),
        "tlscert": str(folder / "server.pem"),
        "tlskey": str(folder / "server-key.pem"),
        "insecure-registries": list(registries),
    }


def certificates(places: Places) -> Path:
    """Return the folder of the files that a client needs, as ``DOCKER_CERT_PATH`` has them."""
    return places.home / "tls"


def _ensure_certificates(folder: Path, host: str) -> None:
    """Make an authority, and by it the server's and the client's certificate, unless they are of this address."""
    made_for = folder / "host"
    if made_for.exists() and made_for.read_text() == host:
        return
    say("making certificates …")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    _make(folder, "ca", "ca-key", "basicConstraints=critical,CA:TRUE")
    _make(folder, "server", "server-key", f"subjectAltName=IP:{host}", "extendedKeyUsage=serverAuth", by="ca")
    _make(folder, "cert", "key", "extendedKeyUsage=clientAuth", by="ca")
    made_for.write_text(host)


def _make(folder: Path, name: str, key: str, *extensions: str, by: str = "") -> None:
    signed = ("-CA", str(folder / f"{by}.pem"), "-CAkey", str(folder / f"{by}-key.pem")) if by else ()
    names = ("-subj", f"/CN=buildx-cache-engine {name}", *(word for each in extensions for word in ("-addext", each)))
    files = ("-keyout", str(folder / f"{key}.pem"), "-out", str(folder / f"{name}.pem"))
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    empty = folder / "empty.cnf"
    empty.write_text("[req]\ndistinguished_name = dn\n[dn]\n")
    run(["openssl", "req", "-x509", "-config", str(empty), *curve, "-days", _DAYS, *names, *files, *signed])
