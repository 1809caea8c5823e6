"""A Sphinx extension: the cells of a page are run against the simulator, an index lists its pages once, and pictures fit the theme.

The pages are plain Markdown, which GitHub shows as it is. While the site is built

- in a tutorial or a how-to guide, a block that begins with ``ipython`` becomes a cell, which MyST-NB runs in the kernel of its page. A block with ``ipython fails`` has to
  fail; the block after it, which shows the error to those who read the source, is what the cell then shows itself;
- an index gets a table of contents with the pages that its tables link to, in their order;
- a picture ``batch.png`` beside which there is a ``batch-dark.png`` is shown as the one that fits the theme.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any, Dict, List, Tuple

_BLOCK = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FAILING = re.compile(r"^```ipython fails\n(.*?)^```$\n+^```text\n.*?^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"^\|[^\n]*?\]\(([\w/-]+)\.md\)", re.MULTILINE)
_PICTURE = re.compile(r"^!\[([^\]\n]*)\]\(([\w./-]+)\.png\)$", re.MULTILINE)
_NOTEBOOK = """---
file_format: mystnb
kernelspec:
  name: python3
  display_name: Python 3
---
"""


def with_cells(text: str) -> str:
    """Return a page whose ``ipython`` blocks are cells; a page without any is left as it is."""
    if not re.search(r"^```ipython\b", text, re.MULTILINE):
        return text
    text = _FAILING.sub(lambda found: "```{code-cell}\n:tags: [raises-exception]\n\n" + found.group(1) + "```", text)
    text = re.sub(r"^```ipython$", "```{code-cell}", text, flags=re.MULTILINE)
    return _NOTEBOOK + text


def with_contents(text: str) -> str:
    """Return an index with a hidden table of contents for each of its sections, which links in tables make."""
    sections: List[Tuple[str, List[str]]] = [("", [])]
    for line in _BLOCK.sub("", text).splitlines():
        if line.startswith("## "):
            sections.append((line[3:], []))
        else:
            sections[-1][1].extend(page for page in _LINK.findall(line) if page not in sections[-1][1])
    for caption, pages in sections:
        if pages:
            titled = f":caption: {caption}\n" if caption else ""
            text += "\n```{{toctree}}\n:hidden:\n{}\n{}\n```\n".format(titled, "\n".join(pages))
    return text


def with_themes(text: str, folder: Path) -> str:
    """Return a page with both forms of each picture that has one for the dark theme; `folder` is that of the page."""

    def both(found: re.Match[str]) -> str:
        words, path = found.groups()
        if not (folder / f"{path}-dark.png").is_file():
            return found.group()
        forms = ((path, "only-light"), (f"{path}-dark", "only-dark"))
        return "\n\n".join(f"```{{image}} {name}.png\n:alt: {words}\n:class: {theme}\n```" for name, theme in forms)

    return _PICTURE.sub(both, text)


def _read(app: Any, name: str, source: List[str]) -> None:
    source[0] = with_themes(source[0], Path(app.env.doc2path(name)).parent)
    if name.rpartition("/")[2] == "index":
        source[0] = with_contents(source[0])
    elif name.startswith(("tutorials/", "how-to/")) and app.config.nb_execution_mode != "off":
        source[0] = with_cells(source[0])


def _begin(app: Any) -> None:
    """Give the kernels a home of their own and a simulator, so that nothing depends on who builds, and nothing is spent."""
    app.reader_home = tempfile.mkdtemp(prefix="claude-force-nb-docs-")
    kept: Dict[str, str] = {
        name: value for name, value in os.environ.items() if not name.startswith(("ANTHROPIC_", "CLAUDE_", "XDG_"))
    }
    os.environ.clear()
    os.environ.update(kept)
    os.environ["HOME"] = app.reader_home
    os.environ["CLAUDE_FORCE_BASE_URL"] = "simulator"
    if os.name == "posix" and app.config.nb_execution_mode != "off":
        _use_files_instead_of_ports(app.reader_home)


def _use_files_instead_of_ports(folder: str) -> None:
    """Let the kernels of pages listen on sockets in `folder`.

    A port that was free may belong to a kernel of another page by the time a kernel takes it: pages are read in parallel.
    """
    from nbclient import NotebookClient

    create = NotebookClient.create_kernel_manager

    def create_on_files(client: NotebookClient) -> Any:
        manager = create(client)
        manager.transport = "ipc"
        manager.ip = os.path.join(tempfile.mkdtemp(dir=folder), "s")
        return manager

    NotebookClient.create_kernel_manager = create_on_files  # type: ignore[method-assign]


def _end(app: Any, error: Any) -> None:
    shutil.rmtree(app.reader_home, ignore_errors=True)


def setup(app: Any) -> Dict[str, Any]:
    app.connect("builder-inited", _begin)
    app.connect("source-read", _read)
    app.connect("build-finished", _end)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
