from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from buildx_cache.redaction import is_hidden_argument, is_secret_argument
from buildx_cache.secret_names import _SECRET_PHRASES, is_ordinary, is_secret_name


@pytest.mark.parametrize(
    "name",
    [
        "NPM_TOKEN", "npm_token", "npmToken", "NPMTOKEN", "GITHUB_TOKEN", "TOKEN", "token", "_authToken", "TOKENS",
        "TOKEN2", "TOKEN_2", "TOKEN_V2", "OAUTH2TOKEN", "TOKEN_GITHUB", "NPM_TOKEN_PROD", "NPM_TOKEN_B64",
        "SECRET", "CLIENT_SECRET", "AWS_SECRET_ACCESS_KEY", "SECRETS", "clientSecret", "SECRET_ID", "SECRETKEY",
        "PASSWORD", "DB_PASSWORD", "PGPASSWORD", "PASSWORD_HASH", "DB_PASS", "PASS", "PWD", "DB_PASSWD", "PASSPHRASE",
        "PASSWORD1", "PASSWORD_OF_ALICE", "PGPASS", "dbPassword", "db_pass_prod", "MYSQL_PWD", "SSHPASS",
        "CREDENTIAL", "GOOGLE_CREDENTIALS", "CREDS", "GOOGLE_CREDENTIALS_JSON", "DOCKER_AUTH_CONFIG",
        "API_KEY", "APIKEY", "STRIPE_API_KEY", "PRIVATE_KEY", "PRIVATEKEY", "SIGNING_KEY", "ACCESS_KEY", "apiKey",
        "DEPLOY_KEY", "SSH_KEY", "ENCRYPTION_KEY", "LICENSE_KEY", "APP_KEY", "STRIPE_KEY", "API_KEYS", "deployKey",
        "SSH_PRIVATE_KEY_BASE64", "DEPLOYKEY", "SSH_KEY_DATA", "TOKEN_KEY",
        "AWS_ACCESS_KEY_ID", "AUTH", "NPM_AUTH", "SESSION_COOKIE", "COOKIE", "SESSION", "SESSION_SECRET",
        "TS_AUTHKEY", "TAILSCALE_AUTH_KEY", "BUNDLE_GITHUB__COM", "BUNDLE_GEMS__CONTRIBSYS__COM",
        "BUNDLE_RUBYGEMS__PKG__GITHUB__COM", "PUBLIC_REGISTRY_PASSWORD", "PUBLIC_API_SECRET", "SITE_PASSWORD",
        "my.registry.password", "my-registry-password", "my registry/password",
        "GITHUB_PAT", "PAT", "githubPat", "JWT", "JWT_PROD", "SENTRY_DSN", "SLACK_WEBHOOK", "SLACK_WEBHOOK_URL",
        "slackWebhookUrl", "AZURE_SAS", "SAS_URL", "AZURE_STORAGE_CONNECTION_STRING", "ConnectionString", "DB_CONNSTR",
    ],
)  # fmt: skip
def test_a_name_gives_a_secret_away(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "", "_", "7", "VERSION", "AUTHOR", "AUTHORS", "GIT_AUTHOR_NAME", "KEYBOARD", "MONKEY", "KEY_COUNT", "KEY",
        "PUBLIC_KEY", "CACHE_KEY", "PRIMARY_KEY", "SORT_KEY", "FOREIGN_KEY", "SONAR_PROJECT_KEY", "AUTHORIZED_KEYS",
        "RECAPTCHA_SITE_KEY", "VITE_SUPABASE_ANON_KEY", "NEXT_PUBLIC_POSTHOG_KEY", "NEXT_PUBLIC_SENTRY_DSN",
        "EXPO_PUBLIC_MAPBOX_TOKEN", "BUNDLE_BUILD__NOKOGIRI", "BUNDLE_LOCAL__RACK", "BUNDLE_WITHOUT",
        "publicKey", "PUBLIC_KEY_BASE64", "KEY_ID",
        "PASSTHROUGH", "BYPASS", "COMPASS", "PASSENGERS", "TOKENIZER", "TOKENIZERS_VERSION", "SECRETARY",
        "OAUTHLIB_VERSION", "SESSIONS", "COOKIECUTTER", "CREDIT", "PWDX", "http_proxy", "PATH", "PATTERN", "SASS",
        "ENABLE_AUTH", "enableAuth", "USE_TOKEN", "useToken", "DISABLE_PASSWORD", "MAX_TOKENS", "REQUIRE_SECRET",
        "SESSION_DRIVER", "AUTH_PORT", "TOKEN_TTL", "AUTH_METHOD", "COOKIE_DOMAIN", "TOKEN_NAME", "TOKEN_FILE",
        "PASSWORD_FILE", "PASSWORD_LENGTH", "PASSWORD_MIN_LENGTH", "PASSWORD_MIN", "AUTH_HEADER", "PIP_AUTH_HEADER",
        "tokenTtl", "token-ttl", "TOKEN_TTL_SECONDS", "OAUTH_TOKEN_URL", "SECRETS_MANAGER_REGION", "SECRET_NAME_PROD",
        "WEBHOOK_PORT", "AUTH_SERVICE_VERSION", "PAT_COUNT", "SAS_HOME",
    ],
)  # fmt: skip
def test_a_name_is_innocent(name: str) -> None:
    assert not is_secret_name(name)


@given(
    phrase=st.sampled_from(
        [*sorted(_SECRET_PHRASES), ("pass",), ("pwd",), ("auth",), ("pat",), ("dsn",), ("ssh", "key")]
    ),
    before=st.lists(st.sampled_from(["npm", "my", "node", "user", "issue", "x", "r2"]), max_size=3),
    after=st.sampled_from([[], ["2"], ["prod"], ["v2"], ["base64"]]),
    separator=st.sampled_from(["_", "-", ".", "__", "/", " "]),
    seed=st.integers(0, 1000),
)
@settings(derandomize=True, deadline=None)
def test_no_name_that_ends_in_a_secret_word_is_missed(
    phrase: tuple[str, ...], before: list[str], after: list[str], separator: str, seed: int
) -> None:
    words = [*before, *phrase, *after]
    chance = random.Random(seed)  # noqa: S311 -- of letters
    name = separator.join(words)
    anyhow = "".join(chance.choice((str.lower, str.upper))(letter) for letter in name)
    camel = words[0] + "".join(map(str.capitalize, words[1:]))
    missed = [each for each in (name, name.upper(), name.title(), anyhow, camel) if not is_secret_name(each)]
    assert missed == []


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        *((word, True) for word in ("", "true", "False", "on", "1", "8080", "3600", "12345678", "-1.5", "redis")),
        *((word, True) for word in ("none", "default", "Disabled", "disabled ", "postgres", "PASSWORD", "hunter2")),
        *((word, True) for word in ("127.0.0.1:8080",)),
        *((word, False) for word in ("hunter2secret", "correcthorse", "Sunshine", "12345678a", "correct horse")),
        *((word, False) for word in ("/run/secrets/x", "0123456789abcdef", "http://u:p@h")),
    ],
)  # fmt: skip
def test_an_ordinary_value(value: str, expected: bool) -> None:  # noqa: FBT001 -- a table
    assert is_ordinary(value) is expected


@pytest.mark.parametrize(
    ("name", "value", "is_kept_off", "is_hidden"),
    [
        ("ENABLE_AUTH", "true", False, False),
        ("SESSION_DRIVER", "memcached-of-mine", False, False),
        ("AUTH", "disabled", True, False),
        ("NPM_TOKEN", "x", True, False),
        ("NPM_TOKEN", "hunter2secret", True, True),
        ("GITHUB_PAT", "hunter2secret", True, True),
        ("HTTP_PROXY", "http://u:p@h", True, True),
        ("HTTP_PROXY", "http://proxy:3128", False, False),
    ],
)
def test_an_argument_is_kept_off_the_command_line_by_its_name_and_hidden_for_its_value(
    name: str,
    value: str,
    is_kept_off: bool,  # noqa: FBT001 -- a table
    is_hidden: bool,  # noqa: FBT001
) -> None:
    assert (is_secret_argument(name, value), is_hidden_argument(name, value)) == (is_kept_off, is_hidden)
