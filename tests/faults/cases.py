"""The faults, as data: each is done to the cache of one build, for the program and for plain Buildx alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.faults.damage import How, Part, damage, dangling, empty_index, paths_of, without_tag
from tests.faults.proxy import READ, WRITE, Act, Cut, Flip, Kind, Rule, Slow, Status


@dataclass(frozen=True, kw_only=True)
class LocalFault:
    """A fault of a local folder. ``harm`` does it and returns a part of the name that a report has to mention.

    ``words`` are further options of the build: damage that a build has no need to read is only found without --lazy.
    """

    name: str
    harm: Callable[[Path, Sequence[str]], str]
    status: str = "corrupt"
    words: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, kw_only=True)
class RegistryFault:
    """A fault of a registry's cache: the proxy's rules, given the digests of a cache's parts.

    ``status`` is what the program calls it; ``stays`` is whether it is still there in the next build.
    """

    name: str
    rules: Callable[[Mapping[Part, str]], tuple[Rule, ...]]
    status: str
    stays: bool = False

    def __str__(self) -> str:
        return self.name


def _harm(part: Part, how: How) -> Callable[[Path, Sequence[str]], str]:
    def harm(folder: Path, chain: Sequence[str]) -> str:
        paths = paths_of(folder, chain)
        damage(paths[part], how, other=paths[Part.FIRST if part is not Part.FIRST else Part.LAST])
        return paths[part].name

    return harm


def _folder(harm: Callable[[Path], None], name: str) -> Callable[[Path, Sequence[str]], str]:
    def harmed(folder: Path, _: Sequence[str]) -> str:
        harm(folder)
        return name

    return harmed


LOCAL: tuple[LocalFault, ...] = (
    *(
        LocalFault(
            name=f"{part} {how}",
            harm=_harm(part, how),
            words=("--lazy", "off") if (part, how) == (Part.STAGE, How.FLIPPED) else (),
        )
        for part in Part
        if part is not Part.BASE
        for how in How
    ),
    LocalFault(name="base image's layer absent", harm=_harm(Part.BASE, How.ABSENT)),
    LocalFault(name="index empty", harm=_folder(empty_index, "index.json")),
    LocalFault(name="index without the tag", harm=_folder(without_tag, "latest"), status="absent"),
    LocalFault(name="folder a dangling link", harm=_folder(dangling, ""), status="absent"),
)

_BASIC = (("WWW-Authenticate", 'Basic realm="registry"'),)
_BEARER = (("WWW-Authenticate", 'Bearer realm="http://HOST/token",service="s",scope="repository:x:pull"'),)
_SOON = (("Retry-After", "1"),)
_MANIFESTS = frozenset({Kind.TAG, Kind.MANIFEST})
_ALL = _MANIFESTS | {Kind.BLOB}


def _of(part: Part, act: Act) -> Callable[[Mapping[Part, str]], tuple[Rule, ...]]:
    """Reading one blob."""
    return lambda parts: (Rule(act=act, methods=READ, kinds=frozenset({Kind.BLOB}), digests=frozenset({parts[part]})),)


def _any(act: Act, kinds: frozenset[Kind], methods: frozenset[str] = READ, times: int = 0) -> RuleMaker:
    return lambda _: (Rule(act=act, methods=methods, kinds=kinds, times=times),)


RuleMaker = Callable[[Mapping[Part, str]], tuple[Rule, ...]]

_LOST = Status(code=404)
_UNAUTHORIZED = Status(code=401, headers=_BASIC)
_DENIED = Status(code=403)
_LIMITED = Status(code=429, headers=_SOON)
_BROKEN = Status(code=500)

READING: tuple[RegistryFault, ...] = (
    RegistryFault(name="lost blob: first layer", rules=_of(Part.FIRST, _LOST), status="corrupt", stays=True),
    RegistryFault(name="lost blob: middle layer", rules=_of(Part.MIDDLE, _LOST), status="corrupt", stays=True),
    RegistryFault(name="lost blob: last layer", rules=_of(Part.LAST, _LOST), status="corrupt", stays=True),
    RegistryFault(name="lost blob: layer of another stage", rules=_of(Part.STAGE, _LOST), status="corrupt", stays=True),
    RegistryFault(name="lost blob: config", rules=_of(Part.CONFIG, _LOST), status="corrupt", stays=True),
    RegistryFault(name="lost manifest", rules=_any(_LOST, _MANIFESTS), status="absent"),
    RegistryFault(name="401 for everything", rules=_any(_UNAUTHORIZED, _ALL), status="denied"),
    RegistryFault(name="403 for everything", rules=_any(_DENIED, _ALL), status="denied"),
    RegistryFault(
        name="403 for the token",
        rules=lambda _: (
            Rule(act=_DENIED, kinds=frozenset({Kind.TOKEN})),
            Rule(act=Status(code=401, headers=_BEARER), kinds=_ALL | {Kind.PING}),
        ),
        status="denied",
    ),
    RegistryFault(name="429 for everything", rules=_any(_LIMITED, _ALL), status="unreachable"),
    RegistryFault(name="500 for the manifest", rules=_any(_BROKEN, _MANIFESTS), status="unreachable"),
    RegistryFault(name="401 for a layer", rules=_of(Part.MIDDLE, _UNAUTHORIZED), status="denied"),
    RegistryFault(name="403 for a layer", rules=_of(Part.MIDDLE, _DENIED), status="denied"),
    RegistryFault(name="429 for a layer", rules=_of(Part.MIDDLE, _LIMITED), status="unreachable"),
    RegistryFault(name="500 for a layer", rules=_of(Part.MIDDLE, _BROKEN), status="unreachable"),
    RegistryFault(name="cut in the middle of a layer", rules=_of(Part.MIDDLE, Cut(after=20_000)), status="hit"),
    RegistryFault(name="cut before a layer's first byte", rules=_of(Part.MIDDLE, Cut(after=0)), status="corrupt"),
    RegistryFault(name="cut in the manifest", rules=_any(Cut(after=10), _MANIFESTS), status="unreachable"),
    RegistryFault(name="wrong bytes: layer", rules=_of(Part.MIDDLE, Flip()), status="corrupt", stays=True),
    RegistryFault(name="slow manifest", rules=_any(Slow(wait=5.5), _MANIFESTS, times=1), status="hit"),
    RegistryFault(name="slow layer", rules=_of(Part.MIDDLE, Slow(rate=20_000)), status="hit"),
)

_UPLOADS = frozenset({Kind.UPLOAD})
_TAG = frozenset({Kind.TAG})

WRITING: tuple[RegistryFault, ...] = (
    RegistryFault(name="401 for uploads", rules=_any(_UNAUTHORIZED, _UPLOADS, WRITE), status="denied"),
    RegistryFault(name="403 for uploads", rules=_any(_DENIED, _UPLOADS, WRITE), status="denied"),
    RegistryFault(name="403 for the manifest", rules=_any(_DENIED, _TAG, WRITE), status="denied"),
    RegistryFault(
        name="403 for the token of an upload",
        rules=lambda _: (
            Rule(act=_DENIED, kinds=frozenset({Kind.TOKEN})),
            Rule(act=Status(code=401, headers=_BEARER), kinds=_UPLOADS, methods=WRITE),
        ),
        status="denied",
    ),
    RegistryFault(name="404 for uploads", rules=_any(_LOST, _UPLOADS, WRITE), status="refused"),
    RegistryFault(name="429 for uploads", rules=_any(_LIMITED, _UPLOADS, WRITE), status="unreachable"),
    RegistryFault(name="500 for the manifest", rules=_any(_BROKEN, _TAG, WRITE), status="unreachable"),
    RegistryFault(
        name="cut in uploads",
        rules=_any(Cut(after=1_000), _UPLOADS, frozenset({"PUT", "PATCH"})),
        status="unreachable",
    ),
)
