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
_URL_CREDENTIALS = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<user>[^/\s]*)@", re.IGNORECASE)
# What stands before the @ of these is a name: an image's, before its digest, or a user's, who has no password here.
_IMAGE_SCHEMES = ("docker-image", "oci-layout")
_USER_SCHEMES = ("ssh", "git")
_FIELDS = r"(?P<name>\b(?:secret_access_key|access_key_id|session_token|token|ghtoken|password)=)"
_QUOTED_SECRET_FIELD = re.compile(rf'"{_FIELDS}(?:[^"]|"")*"')
_SECRET_FIELD = re.compile(rf'{_FIELDS}[^,"]+')


class Secret(str):
    """A value that may be handed to a child process but never shown."""

    __slots__ = ()

    def __repr__(self) -> str:
        return HIDDEN


def is_secret_name(name: str) -> bool:
    """Whether a build argument or variable of this name holds a secret: ``NPM_TOKEN``, not ``AUTHOR``."""
    return _SECRET_NAME.search(name) is not None


def redact(text: str) -> str:
    """``text`` without credentials inside URLs and without the secret attributes of cache entries."""
    text = _URL_CREDENTIALS.sub(_without_password, text)
    text = _QUOTED_SECRET_FIELD.sub(rf'"\g<name>{HIDDEN}"', text)
    return _SECRET_FIELD.sub(rf"\g<name>{HIDDEN}", text)


def _without_password(match: re.Match[str]) -> str:
    scheme = match["scheme"].lower()
    if scheme in _IMAGE_SCHEMES or (scheme in _USER_SCHEMES and ":" not in match["user"]):
        return match[0]
    return f"{match['scheme']}://{HIDDEN}@"
