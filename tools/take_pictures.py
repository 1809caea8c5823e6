"""Take the pictures in docs/images, and the animation in the README, in a real JupyterLab with the simulator.

::

    python tools/take_pictures.py [--output FOLDER] [PICTURE …]

Needs Chromium, the extras ``browser`` and ``lab``, and Pillow for the animation. JupyterLab and the kernel write only to a
temporary folder. The page is driven by ``tests/support/live_lab.py``, which the tests in ``tests/browser`` use as well.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import sys
import tempfile
from pathlib import Path
from types import MappingProxyType
from typing import Any, Callable, Dict, List, Mapping, NamedTuple

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY / "tests"))

from support.live_lab import BROWSER_ARGUMENTS, DARK, LIGHT, Lab, NotebookPage, find_browser  # noqa: E402

from claude_force_nb.simulator import Simulator  # noqa: E402

MOST_BYTES = 200_000
MOST_BYTES_OF_ANIMATION = 1_000_000
LOAD = "%load_ext claude_force_nb"

# A session for the dashboard: paid and cached answers of three models, and a batch that runs while the picture is taken.
DASHBOARD = [
    LOAD + "\n%config ClaudeForce.budget = 0.5\n"
    "reviews = ['review {} of a pair of shoes'.format(number) for number in range(400)]",
    "%claude_dashboard",
    "%%claude_batch reviews[:25] model=haiku\nLabel the sentiment of {{ item }}.",
    "%%claude_batch reviews[:40] model=haiku\nLabel the sentiment of {{ item }}.",
    "%%claude_batch reviews[:12] model=sonnet\nSummarise {{ item }}.",
    "%%claude_batch reviews[:16] model=sonnet\nSummarise {{ item }}.",
    "%%claude_batch reviews[:8] model=opus\nAnswer {{ item }}.",
    "%%claude_batch reviews[:40] model=haiku\nLabel the sentiment of {{ item }}.",
    "%%claude_batch reviews model=haiku max_concurrent=8\nTranslate {{ item }}.",
]
REVIEWS = """reviews = [
    {"product": "lamp", "text": "Warm light, and it looks lovely on the shelf."},
    {"product": "lamp", "text": "The switch broke on the second day."},
    {"product": "kettle", "text": "Boils in two minutes. That is all I ask of it."},
    {"product": "kettle", "text": "It leaks. The handle gets hot. I sent it back."},
    {"product": "chair", "text": "Comfortable enough for an hour."},
    {"product": "chair", "text": None},
    {"product": "radio", "text": "The sound is thin, and the clock is late."},
]"""
LABEL = "Label the sentiment of this review of a {{ product }}: {{ text }}"
BATCH = [
    LOAD + "\nfrom typing import Literal\nfrom pydantic import BaseModel\n" + REVIEWS,
    'class Label(BaseModel):\n    sentiment: Literal["positive", "neutral", "negative"]\n    stars: Literal[1, 2, 3, 4, 5]',
    "%%claude_batch reviews model=haiku schema=Label into=labels\n" + LABEL,
]
COMPARE = [
    LOAD + '\ndef parse_price(text):\n    return float(text.strip("$").replace(",", ""))',
    "%%claude_compare models=haiku,sonnet agents=reviewer\nWhat can go wrong with {{ parse_price }}?",
]
RECEIPTS = [
    LOAD,
    "%claude agent=explainer model=haiku What is a generator?",
    "%claude agent=explainer model=haiku What is a generator?",
    "%claude agent=explainer model=haiku thinking=off max_tokens=20 What is a coroutine?",
]
TOUR = [
    LOAD + "\nimport inspect, textwrap\n\nsource = inspect.getsource(textwrap.shorten)\n"
    "reviews = ['Lovely.', 'It broke.', 'Works.', 'Never again!', 'Too small.', 'Just right.', 'So-so.', 'Late, but good.']",
    "%%claude agent=reviewer model=haiku thinking=off into=review\nReview this function: {{ source }}",
    "%%claude_batch reviews agent=labeller max_concurrent=1 into=labels\n"
    "Label as positive, neutral or negative: {{ item }}",
]


def quickstart_cells() -> List[str]:
    """Return the code of the quickstart, up to the review."""
    cells = json.loads((REPOSITORY / "notebooks" / "quickstart.ipynb").read_text(encoding="utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    return code[: 1 + next(number for number, text in enumerate(code) if text.startswith("%%claude agent=reviewer"))]


def take_cell(notebook: NotebookPage, number: int, target: Path) -> None:
    """Take a picture of a cell with its output, without focus or pointer."""
    notebook.page.evaluate("document.activeElement && document.activeElement.blur()")
    cell = notebook.cell(number)
    cell.scroll_into_view_if_needed()
    notebook.page.mouse.move(5, 400)
    notebook.page.wait_for_timeout(1500)
    cell.screenshot(path=str(target))


def take_last(notebook: NotebookPage, cells: List[str], target: Path) -> None:
    """Run all cells and take a picture of the last one."""
    for number in range(len(cells)):
        notebook.run(number)
    take_cell(notebook, len(cells) - 1, target)


def take_dashboard(notebook: NotebookPage, cells: List[str], target: Path) -> None:
    """Run all cells and take a picture of the dashboard while the last batch is running."""
    notebook.page.locator(".jp-CodeCell .cm-content").first.click()
    for _ in cells:
        notebook.page.keyboard.press("Shift+Enter")
        notebook.page.wait_for_timeout(150)
    tile = notebook.cell(1).locator(".cf-tile", has_text=re.compile(r"Queue\s*3\d\d$")).first
    tile.wait_for(timeout=120_000)
    take_cell(notebook, 1, target)


def take_receipts(notebook: NotebookPage, cells: List[str], target: Path) -> None:
    """Run all cells and take a picture of those that ask a question, one below the other."""
    for number in range(len(cells)):
        notebook.run(number)
    notebook.page.evaluate("document.activeElement && document.activeElement.blur()")
    notebook.page.mouse.move(5, 400)
    notebook.page.wait_for_timeout(1500)
    boxes = [notebook.cell(number).bounding_box() for number in range(1, len(cells))]
    top, bottom = boxes[0]["y"], boxes[-1]["y"] + boxes[-1]["height"]
    clip = {"x": boxes[0]["x"], "y": top, "width": boxes[0]["width"], "height": bottom - top}
    notebook.page.screenshot(path=str(target), clip=clip)


class Film:
    """Frames of the notebook panel, and the duration of each."""

    def __init__(self, notebook: NotebookPage) -> None:
        self._page = notebook.page
        self._panel = notebook.page.locator(".jp-NotebookPanel").first
        self._frames: List[Any] = []
        self._milliseconds: List[int] = []

    def shoot(self, milliseconds: int) -> None:
        """Take one frame; if it shows nothing new, extend the last one instead."""
        from PIL import Image, ImageChops

        image = Image.open(io.BytesIO(self._panel.screenshot())).convert("RGB")
        if self._frames and ImageChops.difference(image, self._frames[-1]).getbbox() is None:
            self._milliseconds[-1] += milliseconds
        else:
            self._frames.append(image)
            self._milliseconds.append(milliseconds)

    def shoot_until(self, done: Callable[[], bool], *, every: int = 250, at_most: int = 80) -> None:
        """Take frames until `done`."""
        for _ in range(at_most):
            self.shoot(every)
            if done():
                return
            self._page.wait_for_timeout(max(0, every - 150))
        raise TimeoutError("what the animation waits for did not happen")

    def save(self, target: Path) -> None:
        """Write the frames as a GIF that loops forever, with one palette of 64 colours."""
        from PIL import Image

        # The palette is that of the frame with the most colours.
        richest = max(self._frames, key=lambda frame: len(frame.getcolors(frame.width * frame.height)))
        palette = richest.quantize(64, method=Image.Quantize.MEDIANCUT)
        frames = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in self._frames]
        frames[0].save(
            str(target), save_all=True, append_images=frames[1:], duration=self._milliseconds, loop=0, optimize=True
        )


def take_tour(notebook: NotebookPage, cells: List[str], target: Path) -> None:
    """Film an answer that streams in, and a batch that is stopped and then run again, which only sends the rest."""
    page = notebook.page
    notebook.run(0)
    page.wait_for_timeout(4000)  # the SDK is imported meanwhile
    film = Film(notebook)

    def ended(number: int) -> Callable[[], bool]:
        return lambda: bool(notebook.cell(number).locator(".jp-InputPrompt").evaluate("prompt => prompt.hasEnded"))

    film.shoot(800)
    notebook.start(1)
    film.shoot_until(ended(1))
    film.shoot(1500)
    notebook.start(2)
    film.shoot_until(lambda: "4 of 8" in notebook.cell(2).inner_text())
    page.locator('.jp-NotebookPanel-toolbar [data-command="notebook:interrupt-kernel"]').first.click()
    film.shoot_until(ended(2))
    film.shoot(2500)
    notebook.start(2)
    film.shoot_until(ended(2))
    film.shoot(3500)
    film.save(target)


class Scene(NamedTuple):
    """One picture."""

    theme: str
    cells: Callable[[], List[str]]
    take: Callable[[NotebookPage, List[str], Path], None]
    simulator: Mapping[str, Any] = MappingProxyType({})
    scale: int = 2
    height: int = 1200


SLOWLY = {"latency_seconds": 0.5, "tokens_per_second": 50}
LIMITED = {
    **{"latency_seconds": 0.4, "tokens_per_second": 60},
    **{"requests_per_minute": 1000, "input_tokens_per_minute": 450_000, "output_tokens_per_minute": 90_000},
}
SCENES = {
    "cell.png": Scene(LIGHT, quickstart_cells, take_last),
    "cell-dark.png": Scene(DARK, quickstart_cells, take_last),
    "dashboard.png": Scene(LIGHT, lambda: DASHBOARD, take_dashboard, LIMITED),
    "dashboard-dark.png": Scene(DARK, lambda: DASHBOARD, take_dashboard, LIMITED),
    "batch.png": Scene(LIGHT, lambda: BATCH, take_last),
    "batch-dark.png": Scene(DARK, lambda: BATCH, take_last),
    "compare.png": Scene(LIGHT, lambda: COMPARE, take_last),
    "compare-dark.png": Scene(DARK, lambda: COMPARE, take_last),
    "receipts.png": Scene(LIGHT, lambda: RECEIPTS, take_receipts),
    "receipts-dark.png": Scene(DARK, lambda: RECEIPTS, take_receipts),
    "doctor.png": Scene(LIGHT, lambda: [LOAD, "%claude_doctor"], take_last),
    "doctor-dark.png": Scene(DARK, lambda: [LOAD, "%claude_doctor"], take_last),
    "tour.gif": Scene(LIGHT, lambda: TOUR, take_tour, SLOWLY, 1, 920),
}


def environment(url: str, folder: Path) -> Dict[str, str]:
    """Return JupyterLab's environment: the server's address, and no settings of the person who runs this."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("ANTHROPIC_", "CLAUDE_", "JUPYTER", "SSL_"))
    }
    return {
        **kept,
        **{"HOME": str(folder), "ANTHROPIC_BASE_URL": url, "ANTHROPIC_API_KEY": "simulated"},
        "CLAUDE_CACHE_SECRET": "only for the pictures, whose cache is thrown away",
    }


def take(browser: Any, name: str, target: Path) -> None:
    """Take one picture in a JupyterLab of its own."""
    scene = SCENES[name]
    # A neutral folder name, since it may be visible in a picture.
    with tempfile.TemporaryDirectory() as above, Simulator(**scene.simulator) as simulator:
        folder = Path(above) / "ada"
        folder.mkdir()
        with Lab(folder, environment(simulator.url, folder)) as lab:
            lab.set_theme(scene.theme)
            cells = scene.cells()
            lab.write("notebook.ipynb", cells)
            page = browser.new_page(viewport={"width": 1180, "height": scene.height}, device_scale_factor=scene.scale)
            scene.take(NotebookPage(lab, page, "notebook.ipynb"), cells, target)
            page.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=REPOSITORY / "docs" / "images", help="default: docs/images")
    parser.add_argument("pictures", nargs="*", metavar="PICTURE", help="of {}; default: all".format(", ".join(SCENES)))
    arguments = parser.parse_args()
    from playwright.sync_api import sync_playwright

    arguments.output.mkdir(parents=True, exist_ok=True)
    status = 0
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=find_browser(), args=BROWSER_ARGUMENTS)
        for name in arguments.pictures or SCENES:
            target = arguments.output / name
            take(browser, name, target)
            size, most = target.stat().st_size, MOST_BYTES if target.suffix == ".png" else MOST_BYTES_OF_ANIMATION
            print(f"{target}: {size:,} bytes")
            if size > most:
                print(f"{target} is larger than {most:,} bytes", file=sys.stderr)
                status = 1
        browser.close()
    return status


if __name__ == "__main__":
    sys.exit(main())
