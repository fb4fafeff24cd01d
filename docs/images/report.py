"""The pictures of a page and of a card, made anew from the committed result of the demo.

python docs/images/report.py          needs Chromium and Pillow
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

from hotlap.report import card, load, load_report

HERE = Path(__file__).resolve().parent
RESULT = HERE.parents[1] / "benchmarks" / "results" / "demo.result.json"
#: Pixels: the beginning of the page, down to the links to its sections.
WIDTH, HEIGHT = 1000, 826
#: Of a page with few of them, so that the file stays small.
COLOURS = 128


def main() -> None:
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        sys.exit("there is no Chromium here: install it (apt-get install chromium), and make the picture again")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        page, picture = Path(name) / "report.html", Path(name) / "report.png"
        page.write_text(load_report(RESULT))
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
        flags += ["--disable-component-update", "--disable-sync", "--disable-quic", "--hide-scrollbars"]
        flags += [f"--user-data-dir={name}/profile", f"--window-size={WIDTH},{HEIGHT}", f"--screenshot={picture}"]
        subprocess.run([browser, *flags, page.as_uri()], check=True, capture_output=True, timeout=120)
        Image.open(picture).convert("RGB").quantize(COLOURS).save(HERE / "report.png", optimize=True)
    (HERE / "card.png").write_bytes(card.render(load(RESULT)))


if __name__ == "__main__":
    main()
