"""The page as a browser shows it: drawn, without errors, within its width, light and dark."""

import html
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

from report.figures import Figures
from report.page import page
from report.style import sheet
from tests import sample

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--enable-logging=stderr",
)  # fmt: skip
# Looks at the page in a frame of the width in question and leaves what it saw in the title.
PROBE = """<!doctype html><iframe srcdoc="{page}" style="border:0;width:{width}px;height:900px">
</iframe><script>
addEventListener("load", () => {{
  const inner = document.querySelector("iframe").contentDocument;
  const drawn = [...inner.querySelectorAll("polyline")].filter((line) => {{
    const box = line.getBoundingClientRect();
    return box.width > 100 && box.height > 10;
  }});
  document.title = JSON.stringify([inner.documentElement.scrollWidth, drawn.length]);
}});
</script>"""
# WCAG 2.2, 1.4.3: body text needs this contrast to what it stands on.
CONTRAST_MIN = 4.5


class Page(unittest.TestCase):
    def test_it_needs_nothing_but_itself(self):
        text = page(Figures(sample.results()))
        self.assertNotRegex(text, r"(src|href)=\"(?!#)")
        self.assertNotIn("<script", text)
        self.assertIn("it &lt;ended&gt;", text)

    @unittest.skipUnless(CHROMIUM, "chromium is not there")
    def test_it_fits_and_is_drawn(self):
        for width in (1280, 400):
            seen, errors = probe(page(Figures(sample.results())), width)
            scroll_width, line_count = map(int, re.findall(r"\d+", seen))
            self.assertLessEqual(scroll_width, width, f"{width} pixels: it scrolls sideways")
            self.assertGreaterEqual(line_count, 3 * len(sample.COSTS))
            self.assertEqual(errors, [])

    def test_text_stands_out_in_both_schemes(self):
        for colours in schemes(sheet()):
            for text, back in (
                ("text", "page"), ("text", "card"), ("soft", "page"), ("soft", "card"),
                ("good", "good-back"), ("bad", "bad-back"), ("us", "page"),
            ):  # fmt: skip
                self.assertGreaterEqual(contrast(colours[text], colours[back]), CONTRAST_MIN)


def probe(text: str, width: int) -> tuple:
    """What the page's title says after loading, and the errors on the console."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "probe.html"
        path.write_text(PROBE.format(page=html.escape(text), width=width))
        outcome = subprocess.run(
            [CHROMIUM, *FLAGS, f"--user-data-dir={folder}/data", f"--window-size={width + 40},900",
             "--dump-dom", path.as_uri()],
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip
    title = re.search(r"<title>(.*?)</title>", outcome.stdout)
    errors = [line for line in outcome.stderr.splitlines() if "CONSOLE" in line]
    return (title.group(1) if title else outcome.stderr[-500:], errors)


def schemes(css: str) -> list:
    """The colours by name: the light ones, the dark ones."""
    blocks = css.split("@media (prefers-color-scheme: dark)")
    return [dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block)) for block in blocks]


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    parts = [int(colour[index : index + 2], 16) / 255 for index in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
