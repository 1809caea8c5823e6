"""Take the pictures in docs/images: the quickstart and a dashboard in a real JupyterLab, answered by the simulator.

::

    python tools/take_pictures.py --lab PYTHON [--browser PATH] [--output FOLDER]

PYTHON is an interpreter with ``claude_force_nb[lab]``; the one that runs this file needs Playwright from PyPI. Everything
that JupyterLab and the kernel write goes to a temporary folder.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Dict, Iterator, List

REPOSITORY = Path(__file__).resolve().parent.parent
NOTEBOOK = REPOSITORY / "notebooks" / "quickstart.ipynb"
LIGHT, DARK = "JupyterLab Light", "JupyterLab Dark"
# A session to look at: paid and cached answers of three models, and a batch that goes on while the picture is taken.
DASHBOARD = [
    "%load_ext claude_force_nb\n%config ClaudeForce.budget = 0.5\n"
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
BROWSER_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
MOST_BYTES = 200_000


@contextmanager
def process(command: List[str], environment: Dict[str, str], folder: Path, **options: Any) -> Iterator[Any]:
    """Run a command for the length of a block; its log goes to a file in `folder`."""
    with (folder / "log.txt").open("a", encoding="utf-8") as log:
        running = subprocess.Popen(command, env=environment, cwd=str(folder), stderr=log, text=True, **options)
        try:
            yield running
        finally:
            running.terminate()
            running.wait(timeout=20)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def wait_for(url: str, seconds: float = 60.0) -> None:
    """Wait until a server answers; raises TimeoutError."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.2)
        else:
            return
    raise TimeoutError(f"no answer from {url}")


def environment_in(folder: Path, theme: str) -> Dict[str, str]:
    """Return an environment in which everything is new: no key, no setting, no cache of whoever runs this."""
    settings = folder / "settings" / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True)
    (settings / "themes.jupyterlab-settings").write_text(json.dumps({"theme": theme}), encoding="utf-8")
    (settings / "notification.jupyterlab-settings").write_text(
        '{"fetchNews": "false", "checkForUpdates": false}', encoding="utf-8"
    )
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("ANTHROPIC_", "CLAUDE_", "JUPYTER"))
    }
    return {
        **kept,
        "HOME": str(folder),
        "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"),
        "CLAUDE_CACHE_SECRET": secrets.token_hex(16),
    }


@contextmanager
def lab(python: str, folder: Path, theme: str, scene: str) -> Iterator[str]:
    """Run the simulator and JupyterLab on a copy of the quickstart, or on `DASHBOARD`; yields the page's address."""
    notebooks = folder / "notebooks"
    notebooks.mkdir()
    if scene == "cell":
        shutil.copy(str(NOTEBOOK), str(notebooks / NOTEBOOK.name))
    else:
        cells: List[Dict[str, Any]] = [
            {"cell_type": "code", "metadata": {}, "execution_count": None, "outputs": [], "source": source}
            for source in DASHBOARD
        ]
        kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
        text = json.dumps({"nbformat": 4, "nbformat_minor": 4, "metadata": kernel, "cells": cells})
        (notebooks / NOTEBOOK.name).write_text(text, encoding="utf-8")
    environment = environment_in(folder, theme)
    simulator = [python, "-m", "claude_force_nb", "simulator", "--latency", "0.3", "--tokens-per-second", "200"]
    simulator += ["--rpm", "1000", "--itpm", "50000", "--otpm", "40000"] if scene == "dashboard" else []
    with process(simulator, environment, folder, stdout=subprocess.PIPE) as serving:
        for _ in range(2):
            name, _, value = serving.stdout.readline().strip().replace("export ", "").partition("=")
            environment[name] = value
        port, token = free_port(), secrets.token_hex(16)
        command = [python, "-m", "jupyter", "lab", "--no-browser", "--ip=127.0.0.1", f"--port={port}"]
        command += [f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={notebooks}"]
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            command.append("--allow-root")
        with process(command, environment, folder):
            address = f"http://127.0.0.1:{port}/lab/tree/{NOTEBOOK.name}?token={token}"
            wait_for(address)
            yield address


def take(page: Any, address: str, target: Path) -> None:
    """Run the first cells and take the picture of the review with its receipt."""
    page.goto(address)
    page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=60_000)
    page.wait_for_selector("text=/Python 3.*Idle/", timeout=60_000)
    page.click(".jp-Notebook .jp-Cell >> nth=0")
    asked = page.locator(".jp-CodeCell", has_text="%%claude agent=reviewer").first
    for _ in range(20):
        page.keyboard.press("Shift+Enter")
        page.wait_for_timeout(150)
        if asked.get_attribute("class").find("jp-mod-active") >= 0:
            page.keyboard.press("Shift+Enter")
            break
    asked.locator(".claude-force", has_text=re.compile(r"→\d+ tok · ")).wait_for(timeout=60_000)
    page.wait_for_timeout(1500)
    asked.scroll_into_view_if_needed()
    page.evaluate("document.activeElement && document.activeElement.blur()")
    page.wait_for_timeout(300)
    asked.screenshot(path=str(target))


def take_dashboard(page: Any, address: str, target: Path) -> None:
    """Run all cells and take the picture of the dashboard while the last batch goes on."""
    page.goto(address)
    page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=60_000)
    page.wait_for_selector("text=/Python 3.*Idle/", timeout=60_000)
    page.locator(".jp-CodeCell .cm-content").first.click()
    for _ in DASHBOARD:
        page.keyboard.press("Shift+Enter")
        page.wait_for_timeout(150)
    dashboard = page.locator(".jp-CodeCell").nth(1)
    dashboard.locator(".cf-tile", has_text=re.compile(r"Queue\s*3\d\d$")).first.wait_for(timeout=120_000)
    page.evaluate("document.activeElement && document.activeElement.blur()")
    dashboard.scroll_into_view_if_needed()
    page.mouse.move(5, 400)
    page.wait_for_timeout(1500)
    dashboard.screenshot(path=str(target))


SCENES = {
    "cell.png": (LIGHT, "cell", take),
    "cell-dark.png": (DARK, "cell", take),
    "dashboard.png": (LIGHT, "dashboard", take_dashboard),
    "dashboard-dark.png": (DARK, "dashboard", take_dashboard),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lab", default=sys.executable, metavar="PYTHON", help="interpreter with JupyterLab")
    parser.add_argument("--browser", default="/usr/bin/chromium", help="default: %(default)s")
    parser.add_argument("--output", type=Path, default=REPOSITORY / "docs" / "images", help="default: docs/images")
    parser.add_argument("pictures", nargs="*", metavar="PICTURE", help="names of files; default: all")
    arguments = parser.parse_args()
    from playwright.sync_api import sync_playwright  # type: ignore[import-not-found,unused-ignore]

    arguments.output.mkdir(parents=True, exist_ok=True)
    status = 0
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=arguments.browser, args=BROWSER_ARGUMENTS)
        for name in arguments.pictures or SCENES:
            theme, scene, shoot = SCENES[name]
            target = arguments.output / name
            with tempfile.TemporaryDirectory() as folder, lab(arguments.lab, Path(folder), theme, scene) as address:
                page = browser.new_page(viewport={"width": 1180, "height": 1200}, device_scale_factor=2)
                shoot(page, address, target)
                page.close()
            size = target.stat().st_size
            print(f"{target}: {size:,} bytes")
            if size > MOST_BYTES:
                print(f"{target} is larger than {MOST_BYTES:,} bytes", file=sys.stderr)
                status = 1
        browser.close()
    return status


if __name__ == "__main__":
    sys.exit(main())
