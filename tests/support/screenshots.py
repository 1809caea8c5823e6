"""Pictures of what a browser shows, to be looked at.

They go to ``build/screenshots``, or to the folder that ``CLAUDE_FORCE_SCREENSHOTS`` names.
"""

from __future__ import annotations

import os
from pathlib import Path

from .live_lab import NotebookPage

FOLDER = Path(
    os.environ.get("CLAUDE_FORCE_SCREENSHOTS")
    or Path(__file__).resolve().parent.parent.parent / "build" / "screenshots"
)


def screenshot_path(name: str) -> Path:
    """Return the path of the picture with this name."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    return FOLDER / (name + ".png")


def picture(notebook: NotebookPage, name: str, cell: int = -1) -> None:
    """Take a picture, of one cell or of the whole page."""
    notebook.page.mouse.move(5, 400)  # no tooltip
    notebook.page.wait_for_timeout(150)
    if cell >= 0:
        notebook.cell(cell).scroll_into_view_if_needed()
        notebook.cell(cell).screenshot(path=str(screenshot_path(name)))
    else:
        notebook.page.screenshot(path=str(screenshot_path(name)))
