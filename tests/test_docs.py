"""The documentation holds: its code runs, its tables are those of the code, its links lead somewhere."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List, NamedTuple

import pytest
from support.live_kernel import LiveKernel

import claude_force_nb
from claude_force_nb.simulator import Simulator

ROOT = Path(__file__).resolve().parent.parent
# What stands in front of a file's path where the repository is published.
REPOSITORY_PAGES = "https://github.com/claude-force-nb/claude_force_nb/blob/main/"
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")])
# Everything else that is written for readers and has links: pages that GitHub shows, and the notebooks.
LINKING = [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *sorted((ROOT / "notebooks").glob("*.ipynb"))]


class Block(NamedTuple):
    """A fenced block of a page: the words behind the fence, its text and the line it begins at."""

    kind: str
    text: str
    line: int


def blocks(page: Path) -> List[Block]:
    return _blocks_of(page.read_text(encoding="utf-8"))


def _blocks_of(text: str) -> List[Block]:
    found = re.finditer(r"^```([^\n]*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [Block(match.group(1).strip(), match.group(2), text.count("\n", 0, match.start()) + 2) for match in found]


def with_blocks(kind: str, *, slow: bool = False) -> List[Any]:
    pages = [page for page in PAGES if any(block.kind.split(" ")[0] == kind for block in blocks(page))]
    marks = [[pytest.mark.slow] if slow and page.name != "README.md" else [] for page in pages]
    return [pytest.param(page, id=name(page), marks=mark) for page, mark in zip(pages, marks)]


def name(page: Path) -> str:
    """A page's path in the repository, without docs/."""
    return page.relative_to(ROOT).as_posix().replace("docs/", "", 1)


def environment(url: str) -> Dict[str, str]:
    """Return the environment of a process of a reader who follows docs/how-to/try-without-a-key.md."""
    # The package that is tested, whether it is installed or lies beside the tests.
    package = str(Path(claude_force_nb.__file__).resolve().parent.parent)
    path = os.pathsep.join(part for part in (package, os.environ.get("PYTHONPATH", "")) if part)
    return {**os.environ, "ANTHROPIC_BASE_URL": url, "ANTHROPIC_API_KEY": "simulated", "PYTHONPATH": path}


@pytest.mark.parametrize("page", with_blocks("ipython", slow=True))
def test_cells_run_in_a_kernel_and_fail_where_the_page_says_so(
    page: Path, simulator: Simulator, tmp_path: Path
) -> None:
    """Every cell of a page runs, in order, in one kernel; the block after a failing one is the line that it shows."""
    found = blocks(page)
    with LiveKernel(environment(simulator.url), str(tmp_path)) as kernel:
        for block, following in zip(found, [*found[1:], Block("", "", 0)]):
            if block.kind.split(" ")[0] != "ipython":
                continue
            where = f"{name(page)}:{block.line}"
            cell = kernel.run(block.text.rstrip("\n"))
            if block.kind == "ipython fails":
                assert "\n".join(cell.traceback) == following.text.rstrip("\n"), where
            else:
                assert cell.status == "ok", (where, cell.traceback)
                assert cell.stderr == "", where
                # Models think before they answer, the simulator's too: a small max_tokens can be used up by then.
                assert "cut off" not in cell.text, (where, cell.text)


@pytest.mark.parametrize("page", with_blocks("python"))
def test_python_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Python of a page runs from top to bottom as one program, without a key."""
    monkeypatch.chdir(tmp_path)
    names: Dict[str, Any] = {"__name__": "page"}
    for block in blocks(page):
        if block.kind == "python":
            # Empty lines before it, so that a traceback names the line of the page.
            exec(compile("\n" * (block.line - 1) + block.text, str(page), "exec"), names)


@pytest.mark.slow
def test_the_tests_that_a_page_shows_pass(tmp_path: Path) -> None:
    """Files that a page shows, such as a conftest.py and a test, pass under pytest as they stand."""
    page = ROOT / "docs" / "how-to" / "test-your-code.md"
    files = {block.kind.split(" ")[1]: block.text for block in blocks(page) if ".py" in block.kind}
    assert "conftest.py" in files
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(tmp_path),
        str(tmp_path),
    ]
    variables = environment("")
    done = subprocess.run(command, env=variables, cwd=str(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout.decode("utf-8", "replace")


@pytest.mark.parametrize("page", with_blocks("console"))
def test_commands_run(page: Path, simulator: Simulator, tmp_path: Path) -> None:
    """Every command of a page ends well on a machine where nothing was asked yet."""
    commands = [line[2:] for block in blocks(page) for line in block.text.splitlines() if block.kind == "console"]
    assert commands
    for command in commands:
        words = command.split()
        # The console script calls the same main; see test_the_console_script.
        ways = {"python": [], "claude-force-nb": ["-m", "claude_force_nb"]}
        assert words[0] in ways, command
        done = subprocess.run(
            [sys.executable, *ways[words[0]], *words[1:]],
            env=environment(simulator.url),
            cwd=str(tmp_path),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=60,
        )
        assert done.returncode == 0, (command, done.stdout.decode("utf-8", "replace"))


def test_the_console_script() -> None:
    """``claude-force-nb`` is ``python -m claude_force_nb``."""
    from claude_force_nb.__main__ import main

    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    found = re.search(r'^\[project.scripts\]\nclaude-force-nb = "([\w.]+):(\w+)"$', text, re.MULTILINE)
    assert found is not None
    assert getattr(importlib.import_module(found.group(1)), found.group(2)) is main


def _tool() -> Any:
    return _module(ROOT / "tools" / "update_docs.py")


def _module(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, str(path))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_tables_are_those_of_the_code() -> None:
    """Options, settings, agents, errors, faults and prices in the pages match the code."""
    tool = _tool()
    pages = {name(page): page.read_text(encoding="utf-8") for page in PAGES}
    for table in tool.TABLES:
        assert sum(f"<!-- {table}: made by" in text for text in pages.values()) == 1, table
    stale = [str(path) for path, text in tool.pages() if path.read_text(encoding="utf-8") != text]
    assert not stale, "run python tools/update_docs.py"


def test_every_magic_is_in_the_readme() -> None:
    """The table of magics names each one that is registered, and no other."""
    from claude_force_nb.notebook.magics.claude_magics import ClaudeMagics

    there = {name for names in ClaudeMagics.magics.values() for name in names}
    section = (ROOT / "README.md").read_text(encoding="utf-8").partition("## The magics")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `%+(\w+)", section, re.MULTILINE)) == there


def _anchors(page: Path) -> List[str]:
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]


def test_errors_and_references_lead_to_headings_that_are_there() -> None:
    """The page of each error, and of each magic's reference, exists and has the heading."""
    from importlib import import_module

    from claude_force_nb import errors
    from claude_force_nb.notebook.magics.claude_magics import ClaudeMagics
    from claude_force_nb.vocabulary import ERROR_PAGES

    assert {name for name in ERROR_PAGES if not hasattr(errors, name)} == set()
    pages = list(ERROR_PAGES.values())
    for name in {name for names in ClaudeMagics.magics.values() for name in names}:
        module = import_module(f"claude_force_nb.notebook.commands.{name.partition('_')[2] or 'claude'}")
        pages.append(module.REFERENCE.page)
    for link in pages:
        page, _, anchor = link.partition("#")
        assert (ROOT / "docs" / page).is_file(), link
        assert not anchor or anchor in _anchors(ROOT / "docs" / page), link


def _prose(page: Path) -> str:
    """Return a page, or the Markdown cells of a notebook, without code blocks."""
    text = page.read_text(encoding="utf-8")
    if page.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        text = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", [pytest.param(page, id=name(page)) for page in LINKING])
def test_links_lead_somewhere(page: Path) -> None:
    """Files, pictures and headings that a page links to exist."""
    for target in re.findall(r"\]\(([^)\s]+)\)", _prose(page)):
        path, _, anchor = target.partition("#")
        if target.startswith(REPOSITORY_PAGES):
            file = ROOT / path[len(REPOSITORY_PAGES) :]
        elif re.match(r"[a-z]+:", target):
            continue
        else:
            file = (page.parent / path).resolve() if path else page
        assert file.is_file(), target
        assert not anchor or anchor in _anchors(file), target


# `tests/test_docs.py`, `tests/test_docs.py::test_x`, and in a page for contributors `cache/signing.py`.
_MODULE = re.compile(r"`((?!build/)[a-z_]+(?:/[\w.-]+)*/[\w-]+\.(?:py|ipynb|md))(?:::(\w+))?`")


@pytest.mark.parametrize("page", [pytest.param(page, id=name(page)) for page in LINKING])
def test_modules_and_tests_that_a_page_names_exist(page: Path) -> None:
    for path, test in _MODULE.findall(_prose(page)):
        there = [file for file in (ROOT / path, ROOT / "claude_force_nb" / path) if file.is_file()]
        assert there, path
        assert not test or re.search(rf"def {test}\b", there[0].read_text(encoding="utf-8")), f"{path}::{test}"


def test_addresses_in_the_repository_lead_somewhere() -> None:
    """Wherever an address of this repository's files, or of its site, stands: in code, metadata, workflows, the badge of Binder."""
    kinds = {".py", ".md", ".toml", ".yml", ".yaml", ".ipynb"}
    folders = ("claude_force_nb", "docs", "notebooks", "tools", "tests", "benchmarks", "binder", ".github", ".ci")
    files = [*ROOT.glob("*.*"), *(file for folder in folders for file in (ROOT / folder).rglob("*.*"))]
    addresses = [
        (file, found)
        for file in files
        if file.suffix in kinds
        for found in re.findall(
            r"claude-force-nb/claude_force_nb/(?:blob|tree|raw)/main/([\w./-]*\w)|/claude_force_nb/main\?urlpath=lab/tree/([\w./-]*\w)",
            file.read_text(encoding="utf-8"),
        )
    ]
    assert addresses
    for file, found in addresses:
        assert (ROOT / "".join(found)).exists(), f"{file.relative_to(ROOT)}: {''.join(found)}"


INDEXES = sorted((ROOT / "docs").glob("*/index.md"))


def _extension() -> Any:
    """Return the part of the site's builder that reads pages, which does not need Sphinx."""
    return _module(ROOT / "docs" / "_extensions" / "runnable_pages.py")


@pytest.mark.parametrize("index", [pytest.param(index, id=name(index)) for index in INDEXES])
def test_an_index_lists_every_page_of_its_folder_once(index: Path) -> None:
    """The site's navigation is made from these tables."""
    made = _extension().with_contents(index.read_text(encoding="utf-8"))
    listed = re.findall(r"^([\w-]+)$", "\n".join(block.text for block in _blocks_of(made)), re.MULTILINE)
    assert sorted(listed) == sorted(page.stem for page in index.parent.glob("*.md") if page != index)


def test_a_page_with_cells_is_a_notebook_and_shows_each_error_once() -> None:
    """What fails may fail when the site is built; the line below it, for readers of the source, gives way to what the cell shows."""
    with_cells = _extension().with_cells
    plain = "# Page\n\n```python\n1\n```\n"
    assert with_cells(plain) == plain
    made = with_cells("# Page\n\n```ipython\n%x\n```\n\n```ipython fails\n%y\n```\n\n```text\nError: y\n```\n\nMore.\n")
    assert made.startswith("---\nfile_format: mystnb\n")
    cells = [(block.kind, block.text) for block in _blocks_of(made)]
    assert cells == [("{code-cell}", "%x\n"), ("{code-cell}", ":tags: [raises-exception]\n\n%y\n")]
    assert made.endswith("\nMore.\n")


def test_a_picture_fits_the_theme_where_it_has_a_dark_form(tmp_path: Path) -> None:
    """The page names one; the site has both, of which the theme hides one. A picture without a dark form stays as it is."""
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "cell-dark.png").touch()
    text = "# Page\n\n![A cell](images/cell.png)\n\n![Other](images/other.png)\n\nText ![in it](images/cell.png).\n"
    made = _extension().with_themes(text, tmp_path)
    assert [(block.kind, block.text) for block in _blocks_of(made)] == [
        ("{image} images/cell.png", ":alt: A cell\n:class: only-light\n"),
        ("{image} images/cell-dark.png", ":alt: A cell\n:class: only-dark\n"),
    ]
    assert made.endswith("\n\n![Other](images/other.png)\n\nText ![in it](images/cell.png).\n")


def test_every_picture_of_the_light_theme_has_one_of_the_dark() -> None:
    """Those of JupyterLab; the animation belongs to the README, and drawings are on a light ground."""
    pictures = {path.stem for path in (ROOT / "docs" / "images").glob("*.png")}
    assert {stem for stem in pictures if not stem.endswith("-dark") and stem + "-dark" not in pictures} == set()


def _pyproject() -> Dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    with (ROOT / "pyproject.toml").open("rb") as file:
        return tomllib.load(file)


def test_every_dependency_has_its_reason() -> None:
    """docs/explanation/dependencies.md has one line for each package that is required at run time, and for no other."""
    required = {re.match(r"[A-Za-z0-9-]+", line).group() for line in _pyproject()["project"]["dependencies"]}  # type: ignore[union-attr]
    page = (ROOT / "docs" / "explanation" / "dependencies.md").read_text(encoding="utf-8")
    needed, _, for_the_site = page.partition("`docs` builds the site")
    assert sorted(re.findall(r"^\| `([\w-]+)`", needed, re.MULTILINE)) == sorted(required)
    site = {
        re.match(r"[A-Za-z0-9-]+", line).group() for line in _pyproject()["project"]["optional-dependencies"]["docs"]
    }  # type: ignore[union-attr]
    assert sorted(re.findall(r"^\| `([\w-]+)`", for_the_site, re.MULTILINE)) == sorted(site - {"ipykernel", "pandas"})


def test_every_room_is_in_the_design() -> None:
    """The drawing of the package in docs/explanation/design.md has each of its modules and folders, and no other."""
    inside = Path(claude_force_nb.__file__).resolve().parent
    rooms = {path.name for path in inside.glob("*.py") if not path.name.startswith("__")}
    rooms |= {path.parent.name + "/" for kind in ("py", "md") for path in inside.glob("*/*." + kind)}
    drawing = (ROOT / "docs" / "explanation" / "design.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^[├└]── (\S+)", drawing, re.MULTILINE)) == rooms


# Spelled in parts, so that this file passes.
_MACHINE = re.compile(
    "|".join(
        [
            "/(?:root|home|Users|work)" + r"/\w",
            "/tmp" + r"/\w+/",
            "/opt" + r"/\w",
            "python" + "hosted",
            r"pypi" + r"\.org",
        ]
    ),
)


def test_no_path_of_a_machine_is_in_the_tree() -> None:
    """Nothing that is committed names a folder of somebody's machine or a package registry's host."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=str(ROOT), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    found = []
    for name in filter(None, listed.stdout.decode("utf-8").split("\0")):
        path = ROOT / name
        if path.is_file():
            match = _MACHINE.search(path.read_bytes().decode("utf-8", "ignore"))
            found += [f"{name}: {match.group()}"] if match else []
    assert not found
