"""What must never be shown: values that are secret by their name or by where they stand."""

from __future__ import annotations

import re

HIDDEN = "***"

# Names of build arguments and environment variables whose values are secrets, by the words in them.
_SECRET_NAME = re.compile(
    r"(?:^|[_.-])(?:TOKEN|SECRET|SECRETS|PASSWORD|PASSWD|PASSPHRASE|PASS|PWD|CREDENTIALS?|CREDS"
    r"|API_?KEY|APIKEY|AUTH|PRIVATE_?KEY|ACCESS_?KEY(?:_ID)?|SIGNING_?KEY|COOKIE|SESSION)(?:$|[_.-])"
    r"|(?:TOKEN|SECRET|PASSWORD|APIKEY)$",
    re.IGNORECASE,
)
# A scheme's length is bounded so that a long word costs no more than its length.
_URL_CREDENTIALS = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]{0,31})://(?P<user>[^/\s]*)@", re.IGNORECASE)
# Parameters that sign a URL (S3, Google Cloud Storage, Azure's SAS, CloudFront) or are a token; `_state` is that of an
# upload in distribution's registry.
_URL_PARAMETER = re.compile(
    r"(?P<name>[?&;#](?:X-Amz-(?:Signature|Security-Token|Credential)|X-Goog-(?:Signature|Credential)|Signature|sig"
    r"|AWSAccessKeyId|Policy|Key-Pair-Id|_state|(?:access_|session_|gh)?token|password|secret_access_key|access_key_id"
    r")=)[^&#\s\"]+",
    re.IGNORECASE,
)
# What stands before the @ of these is a name: an image's, before its digest, or a user's, who has no password here.
_IMAGE_SCHEMES = ("docker-image", "oci-layout")
_USER_SCHEMES = ("ssh", "git")
_FIELDS = r"(?P<name>\b(?:secret_access_key|access_key_id|session_token|token|ghtoken|password)=)"
_QUOTED_SECRET_FIELD = re.compile(rf'"{_FIELDS}(?:[^"]|"")*"')
# Not where a URL's parameter is hidden already, after which others follow.
_SECRET_FIELD = re.compile(rf'{_FIELDS}(?!{re.escape(HIDDEN)}(?:[&#\s"]|$))[^,"]+')


class Secret(str):
    """A value that may be handed to a child process but never shown."""

    __slots__ = ()

    def __repr__(self) -> str:
        return HIDDEN


def is_secret_name(name: str) -> bool:
    """Whether a build argument or variable of this name holds a secret: ``NPM_TOKEN``, not ``AUTHOR``."""
    return _SECRET_NAME.search(name) is not None


def redact(text: str) -> str:
    """``text`` without credentials and signatures inside URLs and without the secret attributes of cache entries."""
    text = _URL_CREDENTIALS.sub(_without_password, text)
    text = _URL_PARAMETER.sub(rf"\g<name>{HIDDEN}", text)
    text = _QUOTED_SECRET_FIELD.sub(rf'"\g<name>{HIDDEN}"', text)
    return _SECRET_FIELD.sub(rf"\g<name>{HIDDEN}", text)


def _without_password(match: re.Match[str]) -> str:
    scheme = match["scheme"].lower()
    if scheme in _IMAGE_SCHEMES or (scheme in _USER_SCHEMES and ":" not in match["user"]):
        return match[0]
    return f"{match['scheme']}://{HIDDEN}@"
