"""A Chromium, and notebooks opened in a real JupyterLab; what either needs and is not installed skips the test."""

from __future__ import annotations

from typing import Any, Iterator, List

import pytest
from support.live_kernel import kernel_environment
from support.live_lab import BROWSER_ARGUMENTS, LIGHT, Lab, NotebookPage, OpenNotebook, find_browser
from support.screenshots import screenshot_path

from claude_force_nb.simulator import Simulator


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed (the extra 'browser')")
    path = find_browser()
    if path is None:
        pytest.skip("there is no Chromium here (Debian: apt-get install chromium)")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=BROWSER_ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def server() -> Iterator[Simulator]:
    with Simulator(
        requests_per_minute=1000,
        input_tokens_per_minute=450_000,
        output_tokens_per_minute=90_000,
        accept_any_model=True,
    ) as simulator:
        yield simulator


@pytest.fixture(scope="session")
def lab(server: Simulator, chromium: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    pytest.importorskip("jupyterlab", reason="JupyterLab is not installed (the extra 'browser')")
    folder = tmp_path_factory.mktemp("lab")
    with Lab(folder, kernel_environment(server.url, folder)) as running:
        yield running


@pytest.fixture(scope="session")
def pages(chromium: Any) -> Iterator[Any]:
    """Where pages are opened, which share what they have loaded."""
    context = chromium.new_context()
    yield context
    context.close()


@pytest.fixture
def open_notebook(lab: Lab, pages: Any, server: Simulator, request: pytest.FixtureRequest) -> Iterator[OpenNotebook]:
    """``open_notebook(cells)`` opens a new notebook; a page that fails is photographed, and every kernel is ended."""
    opened: List[NotebookPage] = []

    def open_(cells: List[str], tree: str = "lab/tree") -> NotebookPage:
        name = lab.new_notebook(cells)
        page = pages.new_page()
        page.set_viewport_size({"width": 1180, "height": 1150})
        opened.append(NotebookPage(lab, page, name, tree))
        return opened[-1]

    failed = request.session.testsfailed
    yield open_
    for number, each in enumerate(opened):
        if request.session.testsfailed > failed:
            each.page.screenshot(path=str(screenshot_path(f"failed-{request.node.name}-{number}")))
        each.page.close()
    server.heal()
    lab.set_theme(LIGHT)
    lab.end_kernels()
