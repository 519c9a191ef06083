"""Texts of others that try to be more than texts, and what CIs, shells and browsers would make of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser

CANARY = "/tmp/buildx-cache-canary"
"""A file that exists once anything here was run."""

NAME = "CANARY"
"""What a command, variable or tag is called if it got through."""

SHELL = (
    f"$(touch {CANARY})",
    f"`touch {CANARY}`",
    f"; touch {CANARY} ;",
    f"' ; touch {CANARY} ; '",
    f'" ; touch {CANARY} ; "',
    f"| touch {CANARY}",
    f"&& touch {CANARY}",
    f"$(printf x)$(touch {CANARY})",
    "${IFS}${PATH}",
    f"x\\' ; touch {CANARY} ; '",
)
COMMANDS = (
    f"::set-output name={NAME}::x",
    f"  ::set-env name={NAME}::x",
    f"\t::add-path::/{NAME}",
    f"::add-mask::{NAME}",
    f"::stop-commands::{NAME}",
    "::endgroup::",
    f"::error file=x::{NAME}",
    f"::SET-OUTPUT name={NAME}::x",
    f"##[set-output name={NAME};]x",
    f"x ##[group]{NAME}",
    f"##vso[task.setvariable variable={NAME}]x",
    f"x ##vso[task.setvariable variable={NAME};isOutput=true]x",
    f"x ##VSO[task.complete result=Succeeded;]{NAME}",
    f"##vso[task.prependpath]/{NAME}",
    f"###vso[task.prependpath]/{NAME}",
    f"#\u200b#vso[task.prependpath]/{NAME}",
    f"##\u00advso[task.prependpath]/{NAME}",
    f"#\ufe0f#vso[task.prependpath]/{NAME}",
    f"##\u034fv\ufe0fso\u115f[task.prependpath]/{NAME}",
    f"#\ufe0f#[group]{NAME}",
    f"##team\u2060city[x {NAME}='x']",
    f"\u200b::set-output name={NAME}::x",
    f":\ufe0f:set-output name={NAME}::x",
    f"##teamcity[setParameter name='env.{NAME}' value='x']",
    f"x ##teamcity[buildStatus text='{NAME}']",
    f"##TeamCity[blockClosed name='{NAME}']",
    f"];isSecret=true;##vso[task.x]{NAME}",
    f"|]##teamcity[x {NAME}='|n']",
    f"%0A##vso[task.x]{NAME}%0D%25",
    f"%0A::set-output name={NAME}::x",
)
FILES = (
    f"x {NAME}=x",
    f"{NAME}<<EOF x EOF",
    f"export {NAME}=x",
    f"BUILDX_CACHE_TAGS=x {NAME}",
    f"' export {NAME}=x '",
)
MARKUP = (
    f"<script>document.title='{NAME}'</script>",
    f"</script><script>document.title='{NAME}'</script>",
    f"<!--<script>{NAME}",
    f"-->{NAME}<!--",
    f'"><img src=x onerror={NAME}>',
    f"'><svg/onload={NAME}>",
    f"</title><{NAME}>",
    f"</style><{NAME}>",
    f"</textarea></code></pre><{NAME}>",
    f"]]><{NAME}>",
    f"&lt;{NAME}&gt; &amp; &#60;{NAME}&#62;",
    f"<a href='javascript:{NAME}'>x</a>",
    f"[{NAME}](javascript:{NAME})",
    f"![{NAME}](http://127.0.0.1:9/{NAME})",
    f"| {NAME} | x |",
    f"`</code><{NAME}>`",
    f"{{{{ {NAME} }}}} ${{{{ {NAME} }}}}",
    f"<!DOCTYPE x [<!ENTITY {NAME} 'x'>]>&{NAME};",
)
TERMINAL = (
    "\x1b[2J\x1b[H",
    "\x1b[31;1mx",
    "\x1b]0;x\x07",
    "\x1b]52;c;eA==\x07",
    "\x1b]8;;http://127.0.0.1:9/\x1b\\x\x1b]8;;\x1b\\",
    "\x1bP1;2|x\x1b\\",
    "\x1bc\x1bM",
    "\x9b31m\x9d0;x\x9c",
    "x\rerror: nothing failed",
    "x\x08\x08\x7f\x0b\x0c",
    "\x1b\x1b[2J[2J",
    "\x1b[\x1b[2J2J",
    "\u202egpj.exe\u202c",
    "\u2066x\u2069\u200f",
    "\x85x\u2028y\u2029",
)
PATHS = ("../../../../tmp/x", "/etc/x", "..", "~/x", "-rf", "a/../../b", "%2e%2e/x", ".\\..\\x")

ONE_LINE = (*SHELL, *COMMANDS, *FILES, *MARKUP, *TERMINAL, *PATHS)
TEXTS = (
    *ONE_LINE,
    f"x\n::set-output name={NAME}::x",
    f"x\r\n::set-output name={NAME}::x",
    f"x\n##vso[task.setvariable variable={NAME}]x",
    f"x\n##teamcity[x name='{NAME}']",
    f"x\n{NAME}=x",
    f"x\nexport {NAME}=x",
    f"x\ntags<<EOF\n{NAME}\nEOF",
    f"x\n\n# {NAME}\n",
    f"x\n--- {NAME}",
)

_GITHUB = re.compile(r"^\s*::(?P<name>[^\s:]+)(?: (?P<properties>[^:]*))?::|##\[(?P<old>[^\]]*)\]", re.IGNORECASE)
_AZURE = re.compile(r"##(?:vso)?\[(?P<name>[^\]]*)\]", re.IGNORECASE)
_TEAMCITY = re.compile(r"##teamcity\[(?P<name>(?:[^|\]]|\|.)*)\]", re.IGNORECASE)
_PASSED_OVER = re.compile("[\u00ad\u034f\u115f\ufe00-\ufe0f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")


def commands(provider: str, text: str) -> Iterator[str]:
    """What the CI of that name takes for commands: names with their properties, messages left out."""
    patterns = {"github": _GITHUB, "azure": _AZURE, "teamcity": _TEAMCITY}
    pattern = patterns.get(provider)
    for line in re.split(r"\r\n|\r|\n", _PASSED_OVER.sub("", text)) if pattern else ():
        for match in pattern.finditer(line) if pattern else ():
            yield " ".join(filter(None, match.groups()))


class Page(HTMLParser):
    """The elements and attributes of a page as a browser finds them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
