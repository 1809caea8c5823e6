"""A saved notebook shows receipts and costs wherever it is read: on a code host, as HTML, Markdown, LaTeX and PDF."""

from __future__ import annotations

import html.parser
import io
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, List

import nbformat
import pytest
from support.live_kernel import LiveKernel, kernel_environment

from claude_force_nb.simulator import Simulator

pytestmark = pytest.mark.slow

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
# The last line of an answer; its two dollars would be a formula if they were left alone.
RECEIPT = "a_b · claude_*odd*<b> · 512→230 tok · $0.0033 · 1.9 s"
ANSWER = (
    "It costs $5, not $6_a; `echo $HOME` and\n\n```sh\nprintf $x $y\n```\n\nhave dollars too. <script>alert(1)</script>"
)
CELLS = [
    "%load_ext claude_force_nb",
    "%%claude agent=reviewer model=sonnet\nIs 1 + 1 = 2 in `bool`?",
    "%%claude agent=reviewer model=sonnet\nIs 1 + 1 = 2 in `bool`?",
    "from decimal import Decimal\n"
    "from claude_force_nb.messages.result import ClaudeResult, Usage\n"
    f"ClaudeResult(text={ANSWER!r}, agent='a_b', model='claude_*odd*<b>', usage=Usage(512, 230),\n"
    "             cost=Decimal('0.0033'), duration_seconds=1.9, attempts=1)",
    "%claude_cost",
]


@pytest.fixture(scope="module")
def notebook(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A notebook that a kernel has run, as a front end saves it."""
    folder = tmp_path_factory.mktemp("saved")
    made = nbformat.v4.new_notebook(metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})  # type: ignore[no-untyped-call]
    with Simulator() as server, LiveKernel(kernel_environment(server.url, folder), str(folder)) as kernel:
        for number, code in enumerate(CELLS, 1):
            ran = kernel.run(code)
            assert ran.status == "ok", ran.traceback
            cell = nbformat.v4.new_code_cell(code, execution_count=number)  # type: ignore[no-untyped-call]
            for output in ran.outputs:
                output = {key: value for key, value in output.items() if key != "transient"}
                cell.outputs.append(nbformat.from_dict(output))  # type: ignore[no-untyped-call]
            made.cells.append(cell)
    nbformat.validate(made)
    return made


class Page(html.parser.HTMLParser):
    """What a reader sees, and the text that a formula may be looked for in."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.seen = ""
        self.runs: List[str] = []
        self.tags: List[str] = []
        self._hidden = 0
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)
        self._hidden += tag in ("script", "style")

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag in ("script", "style")

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.seen += data
            self.runs.append(data)


def receipts(notebook: Any) -> List[str]:
    texts = [output["data"]["text/plain"] for cell in notebook.cells[1:4] for output in cell.outputs]
    return [text.rstrip().rpartition("\n")[2] for text in texts]


def test_receipts_are_in_the_file(notebook: Any) -> None:
    """Fresh, cached and odd: the last line of each, in the three forms that a front end or a code host may choose from."""
    fresh, cached, odd = receipts(notebook)
    assert re.fullmatch(r"reviewer · claude-sonnet-5-5 · \d+→\d+ tok · \$0\.\d{4} · \d+\.\d s", fresh)
    assert re.fullmatch(r"reviewer · claude-sonnet-5-5 · cached · asked \d{4}-\d\d-\d\d · saved \$0\.\d{4}", cached)
    assert odd == RECEIPT
    for cell, line in zip(notebook.cells[1:4], (fresh, cached, odd)):
        (output,) = cell.outputs
        assert set(output["data"]) == {"text/plain", "text/markdown", "text/html"}
        assert line in Page(output["data"]["text/html"]).seen


def exported(notebook: Any, exporter: str) -> Any:
    """Return what a class of nbconvert makes, which takes long to import."""
    import nbconvert

    return getattr(nbconvert, exporter)().from_notebook_node(notebook)[0]


def test_html(notebook: Any) -> None:
    """``nbconvert --to html``: every receipt and number, nothing of a name or an answer as an element or a formula."""
    page = exported(notebook, "HTMLExporter")
    body = Page(page)
    for line in (*receipts(notebook), "It costs $5, not $6_a;", "printf $x $y", "█ spent ░ saved"):
        assert line in body.seen, line
    assert "<script>alert(1)</script>" in body.seen
    # MathJax looks for pairs within one run of text, and never in an element of the class that it is told to pass over.
    for output in (output for cell in notebook.cells for output in cell.outputs):
        assert "".join(Page(output["data"]["text/html"]).seen.split()) in "".join(body.seen.split())
        assert output["data"]["text/html"].startswith('<div class="claude-force mathjax_ignore tex2jax_ignore"')
        assert not [run for run in Page(output["data"]["text/html"]).runs if run.count("$") > 1]


def test_markdown(notebook: Any) -> None:
    """``nbconvert --to markdown``: the lines are there, whichever form the exporter takes."""
    text = exported(notebook, "MarkdownExporter")
    assert [line for line in receipts(notebook) if line not in Page(text).seen] == []


def as_code_host(notebook: Any) -> str:
    """Return the outputs of a notebook in the form of a host that shows Markdown."""
    return "\n\n".join(output["data"]["text/markdown"] for cell in notebook.cells for output in cell.outputs)


def test_the_markdown_form_reads_the_same(notebook: Any) -> None:
    """Rendered by a Markdown parser it says what the plain text says: no name is emphasis, no dollar opens a formula."""
    from markdown_it import MarkdownIt

    text = as_code_host(notebook)
    seen = Page(MarkdownIt("commonmark").enable("table").render(text)).seen
    for line in receipts(notebook):
        assert line in seen, line
    assert "It costs $5, not $6_a;" in seen
    outside_code = re.sub(r"```.*?```|`[^`]*`", "", text, flags=re.DOTALL)
    assert not re.search(r"(?<!\\)\$", outside_code)
    assert not re.search(r"<(?!/?(?:td|tr)\b)\w", outside_code.replace("&lt;", "").replace("\\<", ""))


def pandoc() -> str:
    found = shutil.which("pandoc")
    if found:
        return os.path.dirname(found)
    binary = pytest.importorskip("pypandoc", reason="pandoc is not installed")
    return os.path.dirname(binary.get_pandoc_path())


def test_latex(notebook: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """``nbconvert --to latex``: the receipts with every special character escaped, and no formula anywhere in them."""
    monkeypatch.setenv("PATH", os.pathsep.join([pandoc(), os.environ["PATH"]]))
    text = exported(notebook, "LatexExporter")
    body = text[text.index(r"\begin{document}") :]
    # No formula, and every character that means something to LaTeX is escaped.
    assert not re.search(r"\\\(|\\\[", re.sub(r"\\(begin|end)\{[a-zA-Z]*\}\[[^]]*\]", "", body))
    flat = body.replace(r"\textgreater", ">").replace("{", "").replace("}", "")
    flat = re.sub(r"\s+", " ", re.sub(r"\\textless\s?", "<", flat))
    for line in (*receipts(notebook), "It costs $5, not $6_a;"):
        assert line.replace("_", r"\_").replace("$", r"\$") in flat, line


def words_of(content: bytes) -> str:
    """Return the text of a PDF as one line."""
    pypdf = pytest.importorskip("pypdf", reason="pypdf, which reads the PDF, is not installed")
    return " ".join(" ".join(page.extract_text() for page in pypdf.PdfReader(io.BytesIO(content)).pages).split())


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_pdf(notebook: Any, tmp_path: Path) -> None:
    """The page printed by Chromium, as ``nbconvert --to webpdf`` does: the receipts are text in it."""
    page = exported(notebook, "HTMLExporter")
    (tmp_path / "n.html").write_text(page, encoding="utf-8")
    assert CHROMIUM is not None
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--user-data-dir=" + str(tmp_path / "profile")]
    command += ["--no-pdf-header-footer", "--print-to-pdf=" + str(tmp_path / "n.pdf"), (tmp_path / "n.html").as_uri()]
    subprocess.run(command, check=True, timeout=100, stderr=subprocess.DEVNULL)
    text = words_of((tmp_path / "n.pdf").read_bytes())
    for line in receipts(notebook):
        assert line in text, line


@pytest.mark.skipif(
    shutil.which("xelatex") is None, reason="xelatex, which nbconvert makes a PDF with, is not installed"
)
def test_pdf_by_latex(notebook: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """``nbconvert --to pdf``: the receipts are text in it, however its lines are broken."""
    monkeypatch.setenv("PATH", os.pathsep.join([pandoc(), os.environ["PATH"]]))
    content = exported(notebook, "PDFExporter")
    text = words_of(content).replace(" ", "")
    for line in receipts(notebook):
        assert line.replace(" ", "") in text, line
