"""The page of a report in a real browser: real builds and one of 500 steps, wide and narrow, light and dark."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from buildx_cache.report.html import html_page
from tests.browser.conftest import Open
from tests.selection import quick
from tests.unit.report.builds import Build, generated, recorded

BUILDS: Mapping[str, Build] = {
    "failed": recorded("failing-run"),
    "exported": recorded("push-and-cache-export"),
    "platforms": recorded("two-platforms"),
    "large": generated(500),
    "long-words": generated(30, text=" " + "long" * 200),
}

# The least contrast of a text with what is behind it, over all elements that have text of their own.
CONTRAST = """
() => {
  const channels = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const luminance = (colour) => {
    const [r, g, b] = channels(colour).map((each) => each / 255)
      .map((each) => each <= 0.04045 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    const colour = getComputedStyle(element).backgroundColor;
    return channels(colour)[3] === 0 ? behind(element.parentElement) : colour;
  };
  const texts = [...document.querySelectorAll("body *")].filter((element) =>
    !element.matches("script") && [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim()));
  return Math.min(...texts.map((element) => {
    const [low, high] = [getComputedStyle(element).color, behind(element)].map(luminance).sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  }));
}
"""


@pytest.fixture(scope="session")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    for name, build in BUILDS.items():
        (folder / f"{name}.html").write_text(html_page(build.report, build.trace, build.logs), encoding="utf-8")
    return {name: folder / f"{name}.html" for name in BUILDS}


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", BUILDS)
def test_a_page_opens_whole(pages: Mapping[str, Path], opened: Open, name: str, width: int, dark: bool) -> None:  # noqa: FBT001
    with opened(pages[name], width=width, dark=dark) as window:
        page = window.page
        assert page.locator("h2", has_text="Timeline").is_visible()
        assert page.locator(".row > summary:visible").count() == len(BUILDS[name].trace.steps) + len(
            BUILDS[name].trace.transfers
        )
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert page.evaluate(CONTRAST) >= 4.5
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (background == "rgb(20, 22, 26)") is dark
        page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert (window.complaints, window.requests) == ([], [])


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", quick(["exported", "large"], "exported"))
def test_the_keyboard_reaches_every_step(pages: Mapping[str, Path], opened: Open, name: str, width: int) -> None:
    with opened(pages[name], width=width) as window:
        page = window.page
        page.locator("#shown-all").focus()
        rows = page.locator(".row").count()
        reached = []
        for _ in range(rows):
            page.keyboard.press("Tab")
            reached.append(
                page.evaluate(
                    """() => {
                        const row = document.activeElement.parentElement, card = document.querySelector("#card");
                        const place = card.getBoundingClientRect(), style = getComputedStyle(document.activeElement);
                        return {
                            number: [...document.querySelectorAll(".row")].indexOf(row),
                            told: card.querySelector("pre").textContent === row.querySelector("code").textContent
                                && card.textContent.endsWith(row.querySelector(".detail").textContent),
                            inside: !card.hidden && place.top >= 0 && place.left >= 0 && place.right <= innerWidth
                                && place.bottom <= innerHeight && place.height > 20,
                            outlined: style.outlineStyle === "solid" && style.outlineWidth === "2px",
                        };
                    }"""
                )
            )
        assert reached == [{"number": each, "told": True, "inside": True, "outlined": True} for each in range(rows)]
        assert window.complaints == []


def test_a_row_opens_and_closes_by_the_keyboard(pages: Mapping[str, Path], opened: Open) -> None:
    with opened(pages["failed"]) as window:
        page = window.page
        row = page.locator(".row", has_text="RUN echo step one")
        row.locator("summary").focus()
        page.keyboard.press("Enter")
        row.locator(".detail").wait_for(state="visible")
        page.locator("#card").wait_for(state="hidden")
        page.keyboard.press("Space")
        row.locator(".detail").wait_for(state="hidden")


def test_escape_takes_the_card_away(pages: Mapping[str, Path], opened: Open) -> None:
    with opened(pages["failed"]) as window:
        page = window.page
        page.locator("#shown-all").focus()
        page.keyboard.press("Tab")
        assert page.locator("#card").is_visible()
        assert page.locator(":focus").get_attribute("aria-describedby") == "card"
        page.keyboard.press("Escape")
        assert page.locator("#card").is_hidden()
        assert page.locator(":focus").get_attribute("aria-describedby") is None


def test_the_pointer_shows_the_card_and_may_enter_it(pages: Mapping[str, Path], opened: Open) -> None:
    with opened(pages["failed"]) as window:
        page = window.page
        page.locator(".row", has_text="test 4").locator("summary").hover()
        card = page.locator("#card")
        card.wait_for(state="visible")
        assert "test 4: FAILED [3/4]" in card.locator(".log").inner_text()
        card.locator(".log").hover()
        assert card.is_visible()
        page.mouse.move(1, 1)
        card.wait_for(state="hidden")


@pytest.mark.parametrize("script", [True, False], ids=["script", "no-script"])
def test_rows_are_chosen_by_the_keyboard(pages: Mapping[str, Path], opened: Open, script: bool) -> None:  # noqa: FBT001
    with opened(pages["exported"], script=script) as window:
        page = window.page
        shown = page.locator(".row > summary:visible")
        page.locator("#shown-all").focus()
        page.keyboard.press("ArrowRight")
        assert shown.count() == 6
        assert page.locator(".lane:visible").count() == 2
        page.keyboard.press("ArrowRight")
        assert shown.count() == page.locator(".row.critical").count() == 4
        page.keyboard.press("ArrowRight")
        assert shown.count() == 15


def test_a_page_is_read_without_its_script(pages: Mapping[str, Path], opened: Open) -> None:
    with opened(pages["failed"], width=390, script=False) as window:
        page = window.page
        row = page.locator(".row", has_text="RUN echo step one")
        row.locator("summary").click()
        assert row.locator(".log").inner_text() == "step one"
        assert page.locator(".failure .log").inner_text().endswith("test 4: FAILED [3/4]")
        assert (window.complaints, window.requests) == ([], [])


@pytest.mark.parametrize(
    ("attempt", "directive"),
    [
        ("document.body.append(Object.assign(new Image(), {src: 'https://example.invalid/'}))", "img-src"),
        ("fetch('https://example.invalid/').catch(() => {})", "connect-src"),
        ("document.body.setAttribute('style', 'color: red')", "style-src-attr"),
        ("document.body.append(Object.assign(document.createElement('script'), {text: 'alert()'}))", "script-src-elem"),
        ("document.body.setAttribute('onclick', 'alert()'); document.body.click()", "script-src-attr"),
    ],
)
def test_the_policy_lets_nothing_else_in(pages: Mapping[str, Path], opened: Open, attempt: str, directive: str) -> None:
    with opened(pages["failed"]) as window:
        refused = window.page.evaluate(
            f"""() => new Promise((told) => {{
                document.addEventListener("securitypolicyviolation", (event) => told(event.effectiveDirective));
                {attempt};
            }})"""
        )
        assert refused == directive
