from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from buildx_cache.buildkit.vertex_names import transfer_kind
from buildx_cache.cache_tags import cache_tag
from buildx_cache.caches.backend import (
    CacheBackend,
    CacheKind,
    CacheMode,
    Compression,
    ExportStyle,
    Location,
    closest,
    from_csv,
    to_csv,
)
from buildx_cache.caches.entry import BACKENDS, SCOPED, CacheEntry, ScopedCache, redacted_entry, secret_values
from buildx_cache.caches.parsing import EXPORT_ATTRIBUTES, IMPORT_ATTRIBUTES, parse_export, parse_import
from buildx_cache.errors import UsageError
from buildx_cache.redaction import redact
from buildx_cache.reference import parse_reference

REPEATABLE = settings(derandomize=True, deadline=None)
REF = "registry.example.com/app:main"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (REF, f"type=registry,ref={REF}"),
        ("app", "type=registry,ref=app"),
        (f"type=registry,ref={REF}", f"type=registry,ref={REF}"),
        (f"ref={REF},type=registry", f"type=registry,ref={REF}"),
        (f"type=registry,ref={REF},registry.insecure=true", f"type=registry,ref={REF},registry.insecure=true"),
        ("type=local,src=cache", "type=local,src=cache"),
        ("type=local,src=cache,tag=main", "type=local,src=cache,tag=main"),
        ('type=local,"src=a,b"', 'type=local,"src=a,b"'),
        ("type=local,src=a=b", "type=local,src=a=b"),
        ("type=local,src=with space", "type=local,src=with space"),
        ("gha", "type=gha"),
        ("type=gha,scope=x", "type=gha,scope=x"),
        ("type=s3,bucket=b,region=r", "type=s3,bucket=b,region=r"),
        ("type=azblob,name=n,account_url=u", "type=azblob,name=n,account_url=u"),
    ],
)
def test_a_cache_source_is_read(text: str, shown: str) -> None:
    assert str(parse_import(text)) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (REF, f"type=registry,ref={REF}"),
        ("inline", "type=inline"),
        ("type=inline", "type=inline"),
        ("type=inline,mode=min", "type=inline,mode=min"),
        ("gha", "type=gha"),
        ("type=gha,mode=max", "type=gha,mode=max"),
        (
            f"type=registry,ref={REF},mode=max,image-manifest=true,oci-mediatypes=true,compression=zstd,compression-level=3",
            f"type=registry,ref={REF},mode=max,image-manifest=true,oci-mediatypes=true,compression=zstd,compression-level=3",
        ),
        ("type=local,dest=cache,mode=min,reset=true", "type=local,dest=cache,mode=min,reset=true"),
        ("type=local,dest=cache,ignore-error=false", "type=local,dest=cache,ignore-error=false"),
        ("type=s3,bucket=b,mode=max", "type=s3,bucket=b,mode=max"),
        ("type=azblob,account_url=u", "type=azblob,account_url=u"),
        (
            "type=s3,bucket=b,retry_mode=adaptive,retry_max_attempts=5",
            "type=s3,bucket=b,retry_mode=adaptive,retry_max_attempts=5",
        ),
        ("type=s3,bucket=b,disable_accept_encoding=true", "type=s3,bucket=b,disable_accept_encoding=true"),
        ("type=local,DEST=cache,Mode=min", "type=local,dest=cache,mode=min"),
        ("type=local,dest=a,dest=b", "type=local,dest=b"),
        ("type=s3,bucket=b,brand_new=1", "type=s3,bucket=b,brand_new=1"),
        ("type=local,dest=x,sorted=true", "type=local,dest=x,sorted=true"),
    ],
)
def test_a_cache_target_is_read(text: str, shown: str) -> None:
    assert str(parse_export(text)) == shown


S3_WORDS = "use one of: " + ", ".join(IMPORT_ATTRIBUTES["s3"])
IMPORT_TYPES = "use one of: registry, local, gha, s3, azblob"


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        (
            "type=regsitry,ref=x",
            "--cache-from 'type=regsitry,ref=x' has no cache type 'regsitry'",
            "did you mean 'registry'?",
        ),
        ("type=zzz", "--cache-from 'type=zzz' has no cache type 'zzz'", IMPORT_TYPES),
        ("ref=x", "--cache-from 'ref=x' names no type", IMPORT_TYPES),
        ("inline", "--cache-from 'inline' has no cache type 'inline'", "give the image: type=registry,ref=…"),
        ("type=inline", "--cache-from 'type=inline' has no cache type 'inline'", IMPORT_TYPES),
        ("type=registry", "--cache-from 'type=registry' has no ref=", "add ref=… to it"),
        ("type=registry,reff=x", "--cache-from type=registry has no attribute 'reff'", "did you mean 'ref'?"),
        ("type=registry,ref=A", "'A' is not an image reference", "write the repository's name in lower case"),
        (
            "type=registry,ref=x,mode=max",
            "--cache-from type=registry has no attribute 'mode'",
            "use one of: ref, registry.insecure",
        ),
        ("type=local", "--cache-from 'type=local' has no src=", "add src=… to it"),
        ("type=local,src=", "--cache-from 'type=local,src=' has no src=", "add src=… to it"),
        ("type=local,dest=x", "--cache-from type=local has no attribute 'dest'", "did you mean 'digest'?"),
        *(
            (
                f"type=local,src=x,digest={digest}",
                f"--cache-from: digest={digest!r} is not a digest",
                "write sha256: and 64 hexadecimal digits, in lower case",
            )
            for digest in ("", "latest", "a" * 64, f"sha256:{'a' * 63}", f"sha256:{'A' * 64}", f"sha512:{'a' * 128}")
        ),
        ("type=s3,region=r", "--cache-from 'type=s3,region=r' has no bucket=", "add bucket=… to it"),
        (
            "type=azblob,container=c",
            "--cache-from 'type=azblob,container=c' has no account_url=",
            "add account_url=… to it",
        ),
        ("type=s3,bucket=b,toke=abc", "--cache-from type=s3 has no attribute 'toke'", S3_WORDS),
        ("type=s3,bucket=b,brand_new", "--cache-from type=s3 has no attribute 'brand_new'", S3_WORDS),
        ("type=s3,bukcet=b", "--cache-from type=s3 has no attribute 'bukcet'", "did you mean 'bucket'?"),
        ("type=s3,bucket=b,regoin=r", "--cache-from type=s3 has no attribute 'regoin'", "did you mean 'region'?"),
        (
            "type=s3,bucket=b,retry_mode=often",
            "--cache-from: retry_mode='often' is not a value of retry_mode",
            "use one of: standard, adaptive",
        ),
        (
            "type=s3,bucket=b,retry_max_attempts=0",
            "--cache-from: retry_max_attempts='0' is not a number",
            "write 1 or more",
        ),
        (
            "type=azblob,account_url=u,endpoint_url=v",
            "--cache-from type=azblob has no attribute 'endpoint_url'",
            "did you mean 'account_url'?",
        ),
        (
            "type=s3,region=r,secret_access_key=abc",
            "--cache-from 'type=s3,region=r,secret_access_key=***' has no bucket=",
            "add bucket=… to it",
        ),
        (
            'type=local,"src=a',
            "--cache-from 'type=local,\"src=a' is not a list of KEY=VALUE: unexpected end of data",
            'quote a whole field that holds a comma: type=local,"src=a,b"',
        ),
        (
            "not a reference",
            "'not a reference' is not an image reference",
            "write HOST/REPOSITORY:TAG, for example registry.example.com/team/app:1.2",
        ),
    ],
)
def test_a_wrong_cache_source_is_refused(text: str, message: str, hint: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse_import(text)
    assert (refused.value.message, refused.value.hint) == (message, hint)


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("type=local,dest=x,mode=maks", "--cache-to: mode='maks' is not a value of mode", "did you mean 'max'?"),
        ("type=local,dest=x,mode=", "--cache-to: mode='' is not a value of mode", "use one of: min, max"),
        ("type=inline,mode=max", "an inline cache has only mode=min", "use a registry or local cache for mode=max"),
        ("type=inline,ref=x", "--cache-to type=inline has no attribute 'ref'", "use one of: mode"),
        ("type=local,dst=x", "--cache-to type=local has no attribute 'dst'", "did you mean 'dest'?"),
        (
            "type=local,src=x",
            "--cache-to type=local has no attribute 'src'",
            "use one of: " + ", ".join(EXPORT_ATTRIBUTES["local"]),
        ),
        ("type=local,mode=max", "--cache-to 'type=local,mode=max' has no dest=", "add dest=… to it"),
        ("type=registry,mode=max", "--cache-to 'type=registry,mode=max' has no ref=", "add ref=… to it"),
        (
            "type=local,dest=x,ignore-errors=true",
            "--cache-to type=local has no attribute 'ignore-errors'",
            "did you mean 'ignore-error'?",
        ),
        (
            "type=local,dest=x,ignore-error=ture",
            "--cache-to: ignore-error='ture' is not a value of ignore-error",
            "did you mean 'true'?",
        ),
        (
            "type=local,dest=x,compression=zst",
            "--cache-to: compression='zst' is not a value of compression",
            "did you mean 'zstd'?",
        ),
        (
            "type=gha,oci-mediatypes=true",
            "--cache-to type=gha has no attribute 'oci-mediatypes'",
            "use one of: " + ", ".join(EXPORT_ATTRIBUTES["gha"]),
        ),
    ],
)
def test_a_wrong_cache_target_is_refused(text: str, message: str, hint: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse_export(text)
    assert (refused.value.message, refused.value.hint) == (message, hint)


IGNORED = ("compression", "compression-level", "force-compression", "oci-mediatypes", "image-manifest")


@pytest.mark.parametrize("attribute", IGNORED)
@pytest.mark.parametrize("entry", ["inline", "gha", "s3,bucket=b", "azblob,account_url=u"])
def test_what_buildkit_ignores_is_refused(entry: str, attribute: str) -> None:
    with pytest.raises(UsageError, match=f"has no attribute '{attribute}'"):
        parse_export(f"type={entry},{attribute}=true")


RETRIES = {"retry_mode": "standard", "retry_max_attempts": "3"}


@pytest.mark.parametrize("kind", list(IMPORT_ATTRIBUTES))
def test_every_known_attribute_of_a_source_is_taken(kind: str) -> None:
    values = {"ref": REF, "registry.insecure": "true", "digest": f"sha256:{'0a' * 32}", **RETRIES}
    pairs = tuple((key, values.get(key, "x")) for key in IMPORT_ATTRIBUTES[kind])
    entry = CacheEntry(type=kind, attributes=pairs)
    assert parse_import(str(entry)) == entry


@pytest.mark.parametrize("kind", list(EXPORT_ATTRIBUTES))
def test_every_known_attribute_of_a_target_is_taken(kind: str) -> None:
    values = dict.fromkeys(
        ("ignore-error", "force-compression", "oci-mediatypes", "image-manifest", "registry.insecure", "reset"), "true"
    )
    values |= {"ref": REF, "mode": "min", "compression": "gzip", "upload_parallelism": "4", **RETRIES}
    pairs = tuple((key, values.get(key, "x")) for key in EXPORT_ATTRIBUTES[kind])
    entry = CacheEntry(type=kind, attributes=pairs)
    assert parse_export(str(entry)) == entry


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        (("type=local", "src=a"), "type=local,src=a"),
        (("type=local", "src=a,b"), 'type=local,"src=a,b"'),
        (("type=local", 'src=a"b'), 'type=local,"src=a""b"'),
        (("type=local", "src=a\nb"), 'type=local,"src=a\nb"'),
        (("type=local", "src=a\rb"), 'type=local,"src=a\rb"'),
        (("type=local", "src= a "), "type=local,src= a "),
    ],
)
def test_fields_are_quoted_where_they_need_it(fields: tuple[str, ...], text: str) -> None:
    assert to_csv(fields) == text


KEYS = st.text("abcdefghijklmnopqrstuvwxyz-._", min_size=1, max_size=12)
VALUES = st.text(max_size=40) | st.text(',"\r\n= ', max_size=12)


@REPEATABLE
@given(st.lists(st.tuples(KEYS, VALUES), min_size=1, max_size=6))
def test_quoted_fields_are_read_back_as_they_were(pairs: list[tuple[str, str]]) -> None:
    text = to_csv([f"{key}={value}" for key, value in pairs])
    assert from_csv(text, option="--cache-to") == tuple(pairs)


@REPEATABLE
@given(VALUES.filter(bool))
def test_an_entry_is_read_back_as_it_was(folder: str) -> None:
    entry = CacheEntry(type="local", attributes=(("src", folder),))
    assert parse_import(str(entry)) == entry


def test_an_entry_knows_its_place() -> None:
    assert parse_import(REF).place == REF
    assert parse_import("type=local,src=in").place == "in"
    assert parse_export("type=local,dest=out").place == "out"
    assert parse_export("inline").place == "inline"


@pytest.mark.parametrize(
    ("text", "place", "store"),
    [
        ("type=gha", "gha:buildkit", "gha:buildkit"),
        ("type=gha,scope=main", "gha:main", "gha:main"),
        ("type=s3,bucket=b", "s3://b/manifests/buildkit", "s3://b"),
        ("type=s3,bucket=b,prefix=team/,manifests_prefix=m/,name=n", "s3://b/team/m/n", "s3://b"),
        (
            "type=azblob,account_url=https://a.example/",
            "https://a.example/buildkit-cache/manifests/buildkit",
            "https://a.example/buildkit-cache",
        ),
        (
            "type=azblob,account_url=https://a.example,container=c,prefix=p/,name=n",
            "https://a.example/c/p/manifests/n",
            "https://a.example/c",
        ),
        ("type=registry,ref=app:c", "app:c", "docker.io/library/app"),
        ("type=local,dest=/c", "/c", "/c"),
    ],
)
def test_an_entry_knows_what_it_is_kept_in(text: str, place: str, store: str) -> None:
    entry = parse_export(text)
    assert (entry.place, entry.store) == (place, store)


@pytest.mark.parametrize("backend", BACKENDS.values(), ids=list(BACKENDS))
def test_every_backend_is_whole(backend: CacheBackend) -> None:
    """No attribute that is a secret escapes, and every vertex that a backend calls its export counts as one."""
    assert {*backend.secrets} <= {*backend.import_attributes, *backend.export_attributes}
    assert all(
        redact(f"type={backend.type},{name}=hunter22") == f"type={backend.type},{name}=***" for name in backend.secrets
    )
    assert {transfer_kind(name) for name in backend.exporters} == {"cache-export"}
    assert transfer_kind(f"importing cache manifest from {backend.type}:123") == "cache-import"


@pytest.mark.parametrize(
    ("text", "shown", "values"),
    [
        ("type=gha,token=hunter22,scope=s", "type=gha,token=***,scope=s", ["hunter22"]),
        ("type=s3,bucket=b,SECRET_access_key=hunter22", "type=s3,bucket=b,SECRET_access_key=***", ["hunter22"]),
        ("type=s3,bucket=b,new_password=hunter22", "type=s3,bucket=b,new_password=***", ["hunter22"]),
        ('type=azblob,account_url=u,"sas_token=a,b"', "type=azblob,account_url=u,sas_token=***", ["a,b"]),
        (REF, REF, []),
        ('type=local,"src=a', 'type=local,"src=a', []),
    ],
)
def test_no_secret_of_an_entry_is_shown(text: str, shown: str, values: list[str]) -> None:
    assert redacted_entry(text) == shown
    assert list(secret_values(text)) == values


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("regstry", "did you mean 'registry'?"),
        ("zzz", "use one of: local, registry, inline"),
        ("", "use one of: local, registry, inline"),
    ],
)
def test_the_nearest_right_word_is_named(word: str, hint: str) -> None:
    assert closest(word, ["local", "registry", "inline"]) == hint


BARE = ExportStyle(mode=CacheMode.MIN, ignore_error=False)
RICH = ExportStyle(mode=CacheMode.MAX, compression=Compression.ZSTD, ignore_error=True)
APP = "registry.example.com/app"
OWN, OTHER = f"{APP}:buildcache-main", f"{APP}:buildcache-other"


LOCAL, REGISTRY, INLINE = CacheKind.LOCAL, CacheKind.REGISTRY, CacheKind.INLINE


def located(kind: CacheKind, place: str, *scopes: str, platform: str = "", old: bool = False) -> ScopedCache:
    repository = tuple(parse_reference(f"{place}:{cache_tag(scope)}") for scope in scopes)
    location = Location(directory="" if scopes else place, repository=repository, asks_image_manifest=old)
    return ScopedCache(backend=SCOPED[kind], location=location, platform=platform)


@pytest.mark.parametrize(
    ("cache", "style", "imports", "exports"),
    [
        pytest.param(located(LOCAL, "/c"), BARE, ["type=local,src=/c"], ["type=local,dest=/c,mode=min"], id="local"),
        pytest.param(
            located(LOCAL, "/c", platform="linux/amd64"),
            BARE,
            ["type=local,src=/c/linux-amd64"],
            ["type=local,dest=/c/linux-amd64,mode=min"],
            id="local-of-a-platform",
        ),
        pytest.param(
            located(LOCAL, "/c"),
            RICH,
            ["type=local,src=/c"],
            ["type=local,dest=/c,mode=max,compression=zstd,ignore-error=true"],
            id="local-in-style",
        ),
        pytest.param(
            located(LOCAL, "/c,d"),
            BARE,
            ['type=local,"src=/c,d"'],
            ['type=local,"dest=/c,d",mode=min'],
            id="local-with-a-comma",
        ),
        pytest.param(
            located(REGISTRY, APP, "main", "other"),
            RICH,
            [f"type=registry,ref={OWN}", f"type=registry,ref={OTHER}"],
            [f"type=registry,ref={OWN},mode=max,compression=zstd,ignore-error=true"],
            id="registry",
        ),
        pytest.param(
            located(REGISTRY, APP, "main", old=True),
            BARE,
            [f"type=registry,ref={OWN}"],
            [f"type=registry,ref={OWN},image-manifest=true,oci-mediatypes=true,mode=min"],
            id="registry-of-an-old-buildkit",
        ),
        pytest.param(
            located(INLINE, APP, "main", "other"),
            RICH,
            [f"type=registry,ref={OWN}", f"type=registry,ref={OTHER}"],
            ["type=inline"],
            id="inline",
        ),
    ],
)
def test_a_cache_gives_its_entries(
    cache: ScopedCache, style: ExportStyle, imports: list[str], exports: list[str]
) -> None:
    assert list(map(str, cache.imports())) == imports
    assert list(map(str, cache.exports(style))) == exports
    assert [parse_import(text) for text in imports] == list(cache.imports())
    assert [parse_export(text) for text in exports] == list(cache.exports(style))


LONG = "b" * 150


@pytest.mark.parametrize(
    ("platform", "references"),
    [("", ["app:a", "app:b"]), ("linux/arm64", ["app:a-linux-arm64", "app:b-linux-arm64"])],
)
def test_a_platform_has_references_of_its_own(platform: str, references: list[str]) -> None:
    named = tuple(map(parse_reference, ("app:a", "app:b", f"app:a@sha256:{'0' * 64}")))
    assert list(Location(repository=named).references(platform)) == references
