"""Makes the README's picture of the lab, docs/images/lab.png, from a real training in Chromium."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

IMAGE = Path(__file__).parent.parent / "docs" / "images" / "lab.png"
TRAINING = "#/playground?model=mlp&data=spirals&num_hiddens=16%2C16&lr=0.3&seed=1"


def main() -> None:
    """Starts a lab, and photographs its playground after twelve seconds of training."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "gradbook", "lab", "--no-browser", "--port", "0"]
        lab = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True)
        try:
            opening = next(line.strip() for line in lab.stdout if line.strip().startswith("http"))
            photograph(opening)
        finally:
            lab.terminate()
            lab.wait()


def photograph(opening: str) -> None:
    """Trains in the playground of the lab at an address, and keeps what the page then shows."""
    with sync_playwright() as playwright:
        path = shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 860}, locale="en-US")
        page.goto(opening)
        page.goto(f"{opening.partition('?')[0]}{TRAINING}")
        page.locator("canvas").first.wait_for(timeout=60_000)
        page.get_by_role("button", name="Start").click()
        page.wait_for_timeout(12_000)
        page.screenshot(path=IMAGE)
        browser.close()


if __name__ == "__main__":
    main()
