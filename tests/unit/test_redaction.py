from __future__ import annotations

import time
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from buildx_cache.formatting import printable
from buildx_cache.redaction import (
    HIDDEN,
    Redactor,
    Secret,
    is_secret_argument,
    redact,
    secret_forms,
    secret_parts,
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain words", "plain words"),
        ("https://registry.example.com/app", "https://registry.example.com/app"),
        ("https://user:secret@example.com/x", "https://***@example.com/x"),
        ("https://token@example.com/x.git", "https://***@example.com/x.git"),
        ("HTTPS://user:secret@example.com", "HTTPS://***@example.com"),
        ("https://user:p@ss@example.com/x", "https://***@example.com/x"),
        ("INDEX=https://u:p@example.com/simple/", "INDEX=https://***@example.com/simple/"),
        ("https://u:p@a.example.com https://u:p@b.example.com", "https://***@a.example.com https://***@b.example.com"),
        ("git+https://x:y@example.com/x.git#main", "git+https://***@example.com/x.git#main"),
        ("https://example.com/@scope/package", "https://example.com/@scope/package"),
        ("ssh://git@example.com/x.git", "ssh://git@example.com/x.git"),
        ("src=ssh://git@example.com/x.git", "src=ssh://git@example.com/x.git"),
        ("ssh://git:secret@example.com/x.git", "ssh://***@example.com/x.git"),
        ("git@example.com:org/x.git", "git@example.com:org/x.git"),
        ("base=docker-image://alpine@sha256:0123", "base=docker-image://alpine@sha256:0123"),
        ("base=oci-layout://folder@sha256:0123", "base=oci-layout://folder@sha256:0123"),
        ("type=registry,ref=registry.example.com/app:main", "type=registry,ref=registry.example.com/app:main"),
        (
            "type=s3,access_key_id=A,secret_access_key=B,session_token=C,bucket=b",
            "type=s3,access_key_id=***,secret_access_key=***,session_token=***,bucket=b",
        ),
        ("type=gha,url=x,token=abc,ghtoken=def,scope=s", "type=gha,url=x,token=***,ghtoken=***,scope=s"),
        ('type=s3,"secret_access_key=a,b",bucket=b', 'type=s3,"secret_access_key=***",bucket=b'),
        ('type=s3,"secret_access_key=a"",b",bucket=b', 'type=s3,"secret_access_key=***",bucket=b'),
        ("id=token,src=token.txt", "id=token,src=token.txt"),
        ("password=", "password="),
        (
            "https://s3.example.com/a?X-Amz-Algorithm=x&X-Amz-Credential=AKIA%2Fs3&X-Amz-Signature=abc&partNumber=1",
            "https://s3.example.com/a?X-Amz-Algorithm=x&X-Amz-Credential=***&X-Amz-Signature=***&partNumber=1",
        ),
        ("https://a.example.com/x?sv=1&SIG=a%2Bb&se=2 and more", "https://a.example.com/x?sv=1&SIG=***&se=2 and more"),
        (
            'Put "https://r.example.com/v2/app/blobs/uploads/1?_state=abc==&digest=sha256:0": EOF',
            'Put "https://r.example.com/v2/app/blobs/uploads/1?_state=***&digest=sha256:0": EOF',
        ),
        ("https://example.com/x?token=abc&ref=main,dev", "https://example.com/x?token=***&ref=main,dev"),
        ("https://example.com/x?password=abc&ref=main", "https://example.com/x?password=***&ref=main"),
        ("https://example.com/#access_token=abc", "https://example.com/#access_token=***"),
        ("https://g.example/o/r.git?private_token=abc", "https://g.example/o/r.git?private_token=***"),
        ("https://g.example/?a=b&job-token=abc&c=d", "https://g.example/?a=b&job-token=***&c=d"),
        ("https://g.example/?client_secret=abc;api_key=d", "https://g.example/?client_secret=***"),
        ("https://g.example/?api_key=abc&tokens=3", "https://g.example/?api_key=***&tokens=3"),
        (
            "https://example.com/x.tar?ref=main&design=a&policy_id=7",
            "https://example.com/x.tar?ref=main&design=a&policy_id=7",
        ),
    ],
)
def test_what_is_shown_of_a_text(text: str, shown: str) -> None:
    assert redact(text) == shown
    assert redact(shown) == shown


SIGNING = (
    "X-Amz-Signature", "X-Amz-Security-Token", "X-Amz-Credential", "X-Goog-Signature", "X-Goog-Credential", "Signature",
    "sig", "AWSAccessKeyId", "token", "access_token", "Policy", "Key-Pair-Id", "_state",
)  # fmt: skip


@given(
    name=st.sampled_from([*SIGNING, *map(str.lower, SIGNING), *map(str.upper, SIGNING)]),
    value=st.text(min_size=8, max_size=60).map(lambda text: "SECRET" + quote(text, safe="/?:@!$'()*+,;=")),
    before=st.sampled_from(["", "a=1&", "a=b,c&token=x&"]),
    after=st.sampled_from(["", "&b=2", "#main", ' "said', "\nnext line"]),
)
@settings(derandomize=True, deadline=None)
def test_nothing_of_a_signature_is_shown(name: str, value: str, before: str, after: str) -> None:
    shown = redact(f"GET https://example.com/x?{before}{name}={value}{after}")
    assert "SECRET" not in shown
    assert shown.endswith(f"{name}=***{after}")


@pytest.mark.parametrize(
    ("value", "hidden"),
    [
        ("http://me:pass-word@proxy:3128", ["pass-word"]),
        ("http://me:pass%2Fword@proxy:3128", ["pass%2Fword", "pass/word"]),
        ("https://x-oauth-basic-token-1:x-oauth-basic@example.com", ["x-oauth-basic", "x-oauth-basic-token-1"]),
        ("https://ghx_0123456789abcdef@example.com/a.git", ["ghx_0123456789abcdef"]),
        (
            "machine a\nhttps://me:pass-word@example.com\n",
            ["https://me:pass-word@example.com", "pass-word", "machine a"],
        ),
        ("https://me@example.com/a.git", []),
        ("postgres://postgres:postgres@db/x", []),
        ("http://me:short@proxy", []),
        ("https://me:line%0Abreak@example.com", ["line%0Abreak"]),
        ("ssh://a-name-that-is-quite-long@example.com", []),
    ],
)
def test_the_password_of_a_url_is_a_secret_by_itself(value: str, hidden: list[str]) -> None:
    assert sorted({*secret_parts([value])} - {value}) == sorted(hidden)
    assert all("\n" not in form for form in secret_forms([value]))


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("NPM_TOKEN", "x", True),
        ("HTTP_PROXY", "http://me:abc@proxy", True),
        ("INDEX", "a https://token@example.com", True),
        ("HTTP_PROXY", "http://proxy:3128", False),
        ("SOURCE", "git+ssh://git@example.com/a.git", False),
        ("MAIL", "me@example.com", False),
    ],
)
def test_an_argument_is_secret_by_its_name_or_for_a_login_in_it(name: str, value: str, expected: bool) -> None:  # noqa: FBT001 -- a table
    assert is_secret_argument(name, value) is expected


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("ht\x1b[0mtps://user:secret@example.com", "https://***@example.com"),
        ("https\u200b://user:secret@example.com", "https://***@example.com"),
        ("x?tok\x00en=secret", "x?token=***"),
        ("type=s3,pass\x1b]0;x\x07word=secret", "type=s3,password=***"),
        ("https://user:sec\x08ret@example.com", "https://***@example.com"),
        ("\x1b]https://user:secret@example.com", "\x1b]https://***@example.com"),
        ("\x1b[31mred\x1b[0m", "\x1b[31mred\x1b[0m"),
    ],
    ids=ascii,
)
def test_control_characters_keep_nothing_from_being_found(text: str, shown: str) -> None:
    assert redact(text) == shown
    assert "secret" not in printable(redact(text))


@pytest.mark.parametrize(
    ("secret", "said"),
    [
        ("hunt\x1b[0mer2secret", "hunter2secret"),
        ("hunt\ter2secret", "hunt\ter2secret"),
        ("hunt\rer2secret", "hunter2secret"),
        ("hunt\x1cer2secret", "hunter2secret"),
        ("hunt\x1cer2secret", "hunt\\u001cer2secret"),
        ("hunt\x85er2secret\n", "hunter2secret"),
        ("hunt\u00ader2secret", "hunter2secret"),
        ("first line of it\r\nhunt\x0cer2secret\r\n", "hunter2secret"),
        (" hunter2secret \n", "hunter2secret"),
        ("hunter2\udcffsecret", "hunter2\ufffdsecret"),
        ("correct horse battery", "correct\nhorse  battery"),
        ("correct horse battery", "correct \t horse battery"),
        ("correct  horse", "correct horse"),
        ("correct\u2028horse", "correcthorse"),
    ],
    ids=ascii,
)
def test_a_value_is_found_as_it_is_shown(secret: str, said: str) -> None:
    redactor = Redactor([secret])
    assert redactor.text(f"<{said}>") == "<***>"
    assert redactor.text(" ".join(redactor.text(said).split())) == "***"


@pytest.mark.parametrize("value", ["\x1b[0m\x1b[0m", "\x00\x01ab", "\u200b" * 20], ids=ascii)
def test_nothing_is_looked_for_that_is_not_seen(value: str) -> None:
    assert Redactor([value]).text("a plain abc text") == "a plain abc text"


HOSTILE = {
    "schemes": "a://" * 250_000,
    "a user without an end": "a" * 32 + "://" + "b" * 1_000_000,
    "users": ("abcdefgh://" + "b" * 100) * 10_000,
    "parameters": "?token=" * 150_000,
    "names": "?" + "a_" * 500_000,
    "starts": "?a_" * 300_000,
    "quoted": '"token=a""' * 100_000,
    "a quote without an end": '"password=' + 'x""' * 300_000 + "x",
    "fields": "token=" * 170_000,
    "escapes": "\x1b" * 1_000_000,
    "CSI without an end": "\x1b[" + "0" * 1_000_000,
    "many of them": "\x1b[0" * 300_000,
    "OSC without an end": "\x1b]0;" * 250_000,
    "intermediates": ("\x1b" + " " * 1000) * 1000,
    "beginnings": "hunter2" * 150_000,
    "spaces": "correct" + " \t" * 500_000,
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_text_takes_no_longer_than_another(text: str) -> None:
    redactor = Redactor(["hunter2secret", "correct horse battery"])
    started = time.process_time()
    redact(redactor.text(text))
    assert time.process_time() - started < 20.0  # half a second at most; a square of a million is never seen


def test_a_long_text_is_shown_too() -> None:
    text = "a" * 1_000_000
    assert redact(f"{text}://user:secret@example.com") == f"{text}://***@example.com"


def test_a_secret_is_a_string_that_does_not_show_itself() -> None:
    secret = Secret("hunter2")
    assert secret == "hunter2"  # noqa: S105 -- it is one
    assert repr(secret) == HIDDEN
    assert repr({"password": secret}) == "{'password': ***}"
    assert not hasattr(secret, "__dict__")
