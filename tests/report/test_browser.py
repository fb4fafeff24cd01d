"""Pages in a real browser: nothing to complain about, nothing fetched, nothing cut off or unreadable."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import full
import made_up
import pytest
from browser import CHROMIUM, DRIVER, Browser, browser
from test_html import HOSTILE, hostile_tuning

from hotlap.report import html

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None or DRIVER is None, reason="there is no chromium with its driver here"),
]

RECORDS = {
    "run": full.run(),
    "hostile run": full.run(HOSTILE),
    "tuning": made_up.tuning(),
    "hostile tuning": hostile_tuning(),
    "comparison": made_up.comparison(),
}
PHONE, DESK, PAPER = 390, 1100, 720

#: Words of one chart that lie on each other, beyond the descenders of a line and the ascenders of the next.
OVERLAPS = """
return [...document.querySelectorAll('svg.chart')].flatMap(chart => {
  const boxes = [...chart.querySelectorAll('text')].map(text => [text.textContent, text.getBoundingClientRect()])
    .filter(([_, box]) => box.width > 0 && box.height > 0);
  return boxes.flatMap(([a, one], i) => boxes.slice(i + 1)
    .filter(([_, two]) => Math.min(one.right, two.right) - Math.max(one.left, two.left) > 1
      && Math.min(one.bottom, two.bottom) - Math.max(one.top, two.top) > 5)
    .map(([b, _]) => `${a} | ${b}`));
});
"""
#: Words that go beyond the screen, but for those that can be scrolled to.
BEYOND = """
return [...document.querySelectorAll('main *, header *, footer *')]
  .filter(one => !one.closest('.scroll, thead')
    && one.getBoundingClientRect().right > document.documentElement.clientWidth + 1)
  .map(one => `${one.tagName} ${one.textContent.trim().slice(0, 40)}`).slice(0, 5);
"""
#: Words whose contrast with what is behind them is below what WCAG asks for (4.5; 3 for large ones).
FAINT = r"""
const numbers = colour => (colour.match(/[\d.]+/g) || []).map(Number);
const light = colour => numbers(colour).slice(0, 3).map(one => one / 255)
  .map(one => one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4)
  .reduce((sum, one, i) => sum + one * [0.2126, 0.7152, 0.0722][i], 0);
const behind = one => {
  const bar = one.tagName === 'text' && one.parentNode.querySelector(':scope > rect');
  if (bar) return getComputedStyle(bar).fill;
  for (; one; one = one.parentElement) {
    const colour = getComputedStyle(one).backgroundColor;
    if (numbers(colour)[3] !== 0) return colour;
  }
  return 'rgb(255, 255, 255)';
};
return [...document.querySelectorAll('body *')].filter(one => one.getBoundingClientRect().width > 0
  && [...one.childNodes].some(node => node.nodeType === 3 && node.textContent.trim())
  && !['title', 'desc', 'TITLE', 'STYLE'].includes(one.tagName)).flatMap(one => {
  const style = getComputedStyle(one), ink = one.tagName === 'text' ? style.fill : style.color;
  const [a, b] = [light(ink), light(behind(one))].sort((a, b) => b - a), contrast = (a + 0.05) / (b + 0.05);
  const least = parseFloat(style.fontSize) >= 24 ? 3 : 4.5;
  return contrast < least ? [`${one.textContent.trim().slice(0, 30)}: ${contrast.toFixed(2)} (${ink})`] : [];
}).slice(0, 8);
"""


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("browser")) as one:
        yield one


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    made = {}
    for name, record in RECORDS.items():
        made[name] = folder / f"{name.replace(' ', '-')}.html"
        made[name].write_text(html.render(record))
    return made


def test_what_is_planted_is_noticed(shown: Browser, tmp_path: Path) -> None:
    """An error, a request, words on each other or off the screen and faint words are found where there are some."""
    page = tmp_path / "wrong.html"
    page.write_text(
        "<!doctype html><meta name=viewport content='width=device-width'><body style='background: #fff'><main>"
        "<script>console.error('planted')</script><img src=other.png alt=''>"
        "<svg class=chart><text x=0 y=20>one word</text><text x=20 y=22>another</text></svg>"
        "<p style='width: 900px; color: #bbb'>wide</p></main>"
    )
    shown.look(PHONE)
    shown.show(page)
    assert any("planted" in line["message"] for line in shown.log("browser"))
    assert any(address.endswith("other.png") for address in shown.requests())
    assert shown.run(OVERLAPS) == ["one word | another"]
    assert shown.run(BEYOND)
    assert any("wide" in words for words in shown.run(FAINT))


@pytest.mark.parametrize("name", RECORDS)
def test_a_page_is_sound(shown: Browser, pages: dict[str, Path], name: str) -> None:
    """On a phone, a desk and paper, light and dark: no error, no request, nothing cut off, overlapping or faint."""
    shown.log("browser")
    shown.requests()
    shown.show(pages[name])
    assert shown.log("browser") == []
    assert shown.requests() == [pages[name].as_uri()]
    for width, dark, media in (
        (PHONE, False, "screen"),
        (PHONE, True, "screen"),
        (DESK, False, "screen"),
        (PAPER, True, "print"),
    ):
        shown.look(width, dark=dark, media=media)
        where = f"{width} pixels, {'dark' if dark else 'light'}, {media}"
        assert shown.run(OVERLAPS) == [], where
        assert shown.run(BEYOND) == [], where
        assert shown.run(FAINT) == [], where


def test_a_page_can_be_used_without_a_mouse(shown: Browser, pages: dict[str, Path]) -> None:
    """Tab goes to the first section's link, which Enter follows, and tables that scroll can be reached."""
    shown.look(DESK)
    shown.show(pages["run"])
    shown.press("\ue004")
    assert shown.run("return document.activeElement.getAttribute('href')") == "#s1"
    assert shown.run("return getComputedStyle(document.activeElement).outlineStyle") == "solid"
    shown.press("\ue007")
    assert shown.run("return location.hash") == "#s1"
    scrolled = "return [...document.querySelectorAll('.scroll')].every(one => one.tabIndex === 0 && one.ariaLabel)"
    assert shown.run(scrolled) is True


def test_a_page_has_landmarks_and_names(shown: Browser, pages: dict[str, Path]) -> None:
    """A screen reader finds the header, the navigation, the main part and the footer, and each chart by its name."""
    shown.show(pages["run"])
    assert shown.run("return [...document.querySelectorAll('header, nav, main, footer')].map(one => one.tagName)") == [
        "HEADER",
        "MAIN",
        "NAV",
        "FOOTER",
    ]
    tree = shown.command("Accessibility.getFullAXTree")["nodes"]
    charts = [node["name"]["value"] for node in tree if node.get("role", {}).get("value") in ("image", "img")]
    assert len(charts) > 5
    assert all(charts)
