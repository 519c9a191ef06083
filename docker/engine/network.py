"""The host's network: one bridge and one address pool for each engine, and no trace of either after a stop.

The daemons run with `--iptables=false`, because two of them in one network namespace delete each other's chains.
Three rules per pool, made and removed here, give containers and build steps their way out instead.

A pool is a /16: `.0.0/20` is the engine's bridge, `.16.0/30` the wire to a machine of its own (see machine.py),
`.32.0/19` the networks users make, and the /24 from `.64.0` on belong to builders that share the host's network (see
builder/buildkitd).
"""

import ipaddress
import re
from pathlib import Path

import machine
from errors import EngineError
from processes import run, say, succeeds
from state import Name

FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")
# `bxb` and the first 12 digits of the container's id, as builder/buildkitd names it.
BUILDER_BRIDGE = re.compile(r"bxb[0-9a-f]{12}")
IP = ("busybox", "ip")


def bridge_name(name: Name) -> str:
    """Return the engine's bridge."""
    return f"bxe{name.number}"


def choose_pool(name: Name, preferred: str) -> str:
    """Return a private /16 that overlaps no address or route of the host; the one used last time if it still fits."""
    used = [ipaddress.ip_network(text, strict=False) for text in _addresses_in_use()]
    candidates = [f"10.{number}.0.0/16" for number in range(213 + name.number, 255, 4)]
    for candidate in [preferred, *candidates] if preferred else candidates:
        if not any(ipaddress.ip_network(candidate).overlaps(network) for network in used):
            return candidate
    raise EngineError("every address pool from 10.213.0.0/16 up is in use", "free one of them, e.g. by a `down --all`")


def _addresses_in_use() -> list[str]:
    text = run([*IP, "-4", "addr"]) + run([*IP, "-4", "route"])
    return re.findall(r"(?:inet |^)(\d+\.\d+\.\d+\.\d+(?:/\d+)?)", text, re.MULTILINE)


def prefix_of(pool: str) -> str:
    """Return the two numbers every address of the pool begins with, such as `10.213`."""
    return pool.rpartition(".0.0/")[0]


def make(name: Name, pool: str, remembered: Path) -> None:
    """Make the engine's bridge and the pool's rules, and switch forwarding on; the file keeps the old value."""
    if name.is_remote:
        machine.make(name, pool, prefix_of(pool))
    link, ip = bridge_name(name), [*machine.inside(name), *IP]
    run([*ip, "link", "add", link, "type", "bridge"], hint="the kernel needs bridges, and this program root")
    run([*ip, "addr", "add", f"{prefix_of(pool)}.0.1/20", "dev", link])
    run([*ip, "link", "set", link, "up"])
    if not remembered.exists():
        remembered.write_text(FORWARDING.read_text())
    FORWARDING.write_text("1\n")
    for table, chain, rule in _rules(name, pool):
        present = succeeds(["iptables", "-w", "-t", table, "-C", chain, *rule])
        if not present and not succeeds(["iptables", "-w", "-t", table, "-I", chain, *rule]):
            say("iptables does not work here: containers and build steps cannot reach other machines")
            return


def remove(name: Name, pool: str) -> None:
    """Take away everything `make` and the engine's builders made, whether or not all of it is there."""
    links = set(re.findall(r"^\d+: ([^:@\s]+)", run([*IP, "link"]), re.MULTILINE))
    for link in links:
        if link == bridge_name(name) or (BUILDER_BRIDGE.fullmatch(link) and pool and _is_in(link, pool)):
            run([*IP, "link", "delete", link])
    if name.is_remote:
        machine.remove(name)
    for table, chain, rule in _rules(name, pool) if pool else ():
        while succeeds(["iptables", "-w", "-t", table, "-C", chain, *rule]):
            run(["iptables", "-w", "-t", table, "-D", chain, *rule])


def restore_forwarding(remembered: Path) -> None:
    """Give the host its own setting back, once no engine needs the other."""
    if remembered.exists():
        FORWARDING.write_text(remembered.read_text())
        remembered.unlink()


def _is_in(link: str, pool: str) -> bool:
    return f"inet {prefix_of(pool)}." in run([*IP, "-4", "addr", "show", "dev", link])


def _rules(name: Name, pool: str) -> tuple[tuple[str, str, tuple[str, ...]], ...]:
    return (
        *(machine.rules(name) if name.is_remote else ()),
        ("nat", "POSTROUTING", ("-s", pool, "!", "-d", pool, "-j", "MASQUERADE")),
        ("filter", "FORWARD", ("-s", pool, "-j", "ACCEPT")),
        ("filter", "FORWARD", ("-d", pool, "-j", "ACCEPT")),
    )
