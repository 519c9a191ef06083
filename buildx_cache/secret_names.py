"""Tables of words: which build arguments and variables hold secrets, and which values are too common to redact.

A name is split into words: ``NPM_TOKEN``, ``npm-token``, ``npm.token``, ``npmToken``, ``TOKEN2``. Its last words
decide. An ambiguous name counts as secret: a missed secret is public, a redacted word is only a nuisance.
"""

from __future__ import annotations

import re

_SECRETS = """
    token, tokens, jwt
    password, passwords, passwd, passphrase, passcode, pass word, pass phrase, pass code
    secret, secrets, credential, credentials, cred, creds
    api key, access key, auth key, private key, secret key, signing key, encryption key, master key, ssh key, deploy key
    license key, licence key
    auth config                                         docker's logins, in DOCKER_AUTH_CONFIG
    webhook, webhooks, webhook url, webhook uri         who knows the address may post there
    connection string, conn string, conn str
"""
"""Secret anywhere in a name (``PASSWORD_OF_ALICE``), unless the last word is in ``_ABOUT``."""

_LAST_ONLY = """
    key, keys                                           but for those of _PLAIN_KEYS, and by themselves
    pass, pwd, pw, pgpass, sshpass, dbpass
    auth, cookie, session, session id                   in the middle they name a subject: AUTH_SERVICE, COOKIE_BANNER
    pat, pats                                           a personal access token
    dsn                                                 a database's address, with its login
    sas, sas url, sas uri                               a shared access signature
    bearer, netrc, npmrc
"""
"""Secret only at the end of a name; ordinary words elsewhere."""

_PLAIN_KEYS = """
    public, pub, publishable, authorized, trusted       the half that everybody may have
    cache, primary, foreign, sort, partition, range, shard, index, object, routing, group, row, column, lookup
    feature, flag, translation, idempotency, hot, shortcut
    project, issue                                      SONAR_PROJECT_KEY, JIRA_ISSUE_KEY
    site, anon                                          reCAPTCHA's and Supabase's, which each page holds
"""
"""Words before ``key`` that make it a public key, an identifier or a lookup key."""

_ABOUT = """
    port, host, hostname, domain, url, urls, uri, server, address, addr, endpoint, region, arn
    ttl, timeout, age, lifetime, expiry, expires, expiration, interval, duration
    day, days, hour, hours, minute, minutes, second, seconds
    driver, provider, backend, store, engine, manager, helper, plugin, validator, generator
    method, mode, type, types, format, algorithm, algo, alg, strength, complexity, policy, rule, rules, pattern, regex
    name, names, user, username, issuer, audience, scope, scopes, label, prefix, suffix, field, param, parameter
    header, headers, var, variable, env
    file, files, filename, path, paths, dir, directory, folder, location, mount, source
    length, len, size, min, max, minimum, maximum, count, limit, retries, attempts, version
    enabled, disabled, required, optional, rotation, encoding
"""
"""Last words of a name that describes a secret but does not hold it: ``TOKEN_TTL``, ``PASSWORD_FILE``."""

_SWITCHES = """
    enable, enabled, disable, disabled, use, skip, allow, require, max, min, num
"""
"""First words of a switch or a number: ``ENABLE_AUTH``, ``MAX_TOKENS``."""

_PUBLISHED = """
    next public, nuxt public, expo public
"""
"""First words of values that a framework writes into every page: ``NEXT_PUBLIC_MAPBOX_TOKEN``."""

_QUALIFIERS = """
    prod, production, staging, stage, dev, development, test, testing, ci, old, new, next
    v, b, base, json, pem, raw, plain, plaintext, text, data, value, content, contents
"""
"""Last words to ignore: ``DB_PASS_PROD``, ``DEPLOY_KEY_BASE64``, ``TOKEN_V2``. Digits are ignored everywhere."""

_ORDINARY = """
    disabled, optional, required, automatic, undefined, anonymous, placeholder, production, development, localhost
    postgres, postgresql, memcached, database, dynamodb, rabbitmq, filesystem, kubernetes, internal, external, standard
    username, password, passphrase, credentials
"""
"""Values of eight letters or more that are not secret under any name; shorter values are never secret."""

_CONTROLLING = """
    path, home, shell, env, bash_env, ifs, ps4, shellopts, bashopts, tmpdir, hostaliases, localdomain, res_options
    nlspath, locpath, gconv_path, docker_host, docker_context, docker_config, docker_auth_config, docker_cert_path
    docker_api_version, docker_custom_headers, docker_content_trust_server, kubeconfig, kuberc
    ssh_askpass, ssh_auth_sock, ssh_pkcs11_helper, git_askpass, git_ssh, git_ssh_command, git_ssh_variant
    git_exec_path, git_dir, git_work_tree, git_proxy_command, git_external_diff, git_common_dir, git_allow_protocol
    git_no_lazy_fetch, git_object_directory, git_alternate_object_directories, git_index_file
    godebug, ssl_cert_file, ssl_cert_dir, sslkeylogfile, gnupghome, gss_mech_config
    aws_config_file, aws_shared_credentials_file, aws_ca_bundle, aws_web_identity_token_file
    actions_results_url, actions_cache_url, google_application_credentials, azure_authority_host
    identity_endpoint, msi_endpoint, imds_endpoint, no_proxy
    pythonpath, pythonhome, pythonstartup, pythonuserbase, pythonwarnings, pythonpycacheprefix, pythonplatlibdir
    pythonbreakpoint, pythonexecutable, perl5lib, perl5opt, rubyopt, rubylib, curl_ca_bundle, requests_ca_bundle
    node_options, node_path, node_extra_ca_certs, java_tool_options, jdk_java_options
"""
"""Variables by which docker, its plug-ins and helpers, ssh, git or an interpreter find programs, engines and logins."""

_CONTROLLING_START = (
    *("ld_", "dyld_", "glibc_", "malloc_", "bash_func_", "buildx_", "buildkit_", "docker_cli_", "docker_tls"),
    *("git_config", "git_trace", "otel_", "xdg_", "ssh_sk_", "openssl_", "krb5_", "password_store_"),
    *(
        "cloudsdk_api",
        "cloudsdk_auth_token_host",
        "cloudsdk_config",
        "cloudsdk_core",
        "cloudsdk_proxy",
        "cloudsdk_python",
    ),
    *("gce_metadata_", "aws_endpoint_url", "aws_container_", "aws_ec2_metadata_", "dbus_"),
)
"""The beginnings of such names."""

_SHORTEST = 8
# A number, a version, an address or a time; a longer number can be a key.
_NUMBER = re.compile(r"[+-]?\d[\d.,:_]{0,15}")


def _phrases(table: str) -> frozenset[tuple[str, ...]]:
    """Return the phrases of a table, without the explanation at the end of a line."""
    lines = (re.split(r" {3,}", line.strip())[0] for line in table.strip().splitlines())
    return frozenset(tuple(phrase.split()) for line in lines for phrase in line.split(","))


def _words(table: str) -> frozenset[str]:
    return frozenset(word for (word,) in _phrases(table))


_SECRET_PHRASES = _phrases(_SECRETS)
_PUBLISHED_PHRASES = _phrases(_PUBLISHED)
_LAST_PHRASES = _SECRET_PHRASES | _phrases(_LAST_ONLY)
_PLAIN_KEY_WORDS, _ABOUT_WORDS, _SWITCH_WORDS = map(_words, (_PLAIN_KEYS, _ABOUT, _SWITCHES))
_QUALIFIER_WORDS, _ORDINARY_WORDS, _CONTROLLING_WORDS = map(_words, (_QUALIFIERS, _ORDINARY, _CONTROLLING))
_LONGEST = 3  # words in the longest phrase
# The endings of NPMTOKEN and SECRETKEY; shorter phrases end too many other words.
_GLUED = tuple(glued for phrase in _SECRET_PHRASES if len(glued := "".join(phrase)) >= 5)  # noqa: PLR2004 -- see there

# Bundler's login to a gem server: the host with __ for each dot. Bundler's other settings with __ are no logins.
_BUNDLER = re.compile(r"BUNDLE_(?!(?:BUILD|LOCAL|MIRROR|PLUGINS|DISABLE_\w+)__)\w(?:(?!__)\w)*+__\w+", re.IGNORECASE)
_LETTERS = re.compile(r"[a-z]+")
_CAMEL = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


def is_secret_name(name: str) -> bool:
    """Return whether a build argument or variable of this name holds a secret: ``NPM_TOKEN``, not ``AUTHOR``."""
    words = _LETTERS.findall(name.lower())
    camel = [word.lower() for word in _CAMEL.findall(name)]
    if _SWITCH_WORDS.intersection(words[:1] if len(words) > 1 else camel[:1]):
        return False
    if tuple(words[:2]) in _PUBLISHED_PHRASES:
        return False
    return _is_secret(words) or _is_secret(camel) or _BUNDLER.fullmatch(name) is not None


def is_controlling(name: str) -> bool:
    """Return whether a variable of this name controls docker, or the programs that docker starts."""
    low = name.lower()
    return low in _CONTROLLING_WORDS or low.startswith(_CONTROLLING_START)


def is_ordinary(value: str) -> bool:
    """Return whether a value is too common to redact: a boolean, number or ordinary word, or under 8 characters."""
    word = value.strip()
    return len(word) < _SHORTEST or _NUMBER.fullmatch(word) is not None or word.lower() in _ORDINARY_WORDS


def _is_secret(words: list[str]) -> bool:
    count = len(words)
    while count > 1 and words[count - 1] in _QUALIFIER_WORDS:
        count -= 1
    words = words[:count]
    if _ends_as_secret(words):
        return True
    is_about = bool(_ABOUT_WORDS.intersection(words[-1:]))
    return not is_about and any(
        _ends_in(words[max(end - _LONGEST, 0) : end], _SECRET_PHRASES) for end in range(1, count)
    )


def _ends_as_secret(words: list[str]) -> bool:
    if words[-1:] in (["key"], ["keys"]):
        return len(words) > 1 and words[-2] not in _PLAIN_KEY_WORDS
    return _ends_in(words, _LAST_PHRASES)


def _ends_in(words: list[str], phrases: frozenset[tuple[str, ...]]) -> bool:
    last = tuple(words[-_LONGEST:])
    return any(last[start:] in phrases for start in range(len(last))) or "".join(last[-1:]).endswith(_GLUED)
