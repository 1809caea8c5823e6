"""``claude-force-nb demo``: runs the quickstart notebook twice in a real kernel, against the simulator."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Tuple

from claude_force_nb.costs.ledger import Ledger, LedgerRow, default_ledger_path
from claude_force_nb.errors import ClaudeForceError, ConfigurationError
from claude_force_nb.simulator import Simulator
from claude_force_nb.vocabulary import counted

if TYPE_CHECKING:
    from nbformat import NotebookNode

__all__ = ["add_arguments", "run"]

_SECRET = "only for the demo's own throw-away cache"

_PACKAGE = Path(__file__).resolve().parent.parent


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the demo to `parser`."""
    parser.description = (
        "Run a notebook twice in a real kernel against the simulator, and show what the second run saved."
    )
    parser.add_argument("--notebook", type=Path, help="notebook to run instead of the quickstart")
    parser.add_argument(
        "--output", type=Path, default=Path("build"), help="folder for the results (default: %(default)s)"
    )
    parser.add_argument(
        "--latency", type=float, default=0.3, metavar="SECONDS", help="of the simulator (default: %(default)s)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the demo; return the exit status."""
    print(
        "Answers come from the simulator and nothing is spent; "
        "for real ones set ANTHROPIC_API_KEY and open the notebook in JupyterLab."
    )
    try:
        import nbclient  # noqa: F401
    except ImportError:
        raise ConfigurationError("the demo needs nbclient: pip install 'claude_force_nb[demo]'") from None
    path = arguments.notebook or _quickstart()
    if not path.is_file():
        raise ConfigurationError(f"there is no notebook {path}")
    output = arguments.output
    state = output / "demo-state"
    shutil.rmtree(state, ignore_errors=True)
    try:
        state.mkdir(parents=True)
        state = state.resolve()
    except OSError as error:
        raise ConfigurationError(f"{state} cannot be made: {error.strerror or error}; give another --output") from None
    ledger = Ledger(default_ledger_path(_environment("", state), local=True))
    runs: List[LedgerRow] = []
    receipts: List[List[str]] = []
    with Simulator(latency_seconds=arguments.latency, tokens_per_second=200) as simulator:
        for name in ("first", "second"):
            began = time.time()
            notebook, seconds = _execute(path, _environment(simulator.url, state), f"{name} run")
            runs.append(ledger.total(since=began))
            receipts.append(_receipts(notebook))
            print(f"{name} run: {seconds:.1f} s")
    for name, lines in zip(("first", "second"), receipts):
        print(f"\nreceipts of the {name} run:")
        for line in lines:
            print("  " + line)
    ledger.close()
    stem = path.stem
    _write(notebook, output / stem)
    print()
    print(" · ".join(_summary(name, row) for name, row in zip(("first run", "second run"), runs)))
    print(f"written: {output / stem}.html and {output / stem}.ipynb")
    return 0


def _quickstart() -> Path:
    """Return the path of the notebook in the installed package, or in the source tree."""
    shipped = _PACKAGE / "quickstart.ipynb"
    return shipped if shipped.is_file() else _PACKAGE.parent / "notebooks" / "quickstart.ipynb"


def _environment(url: str, state: Path) -> Dict[str, str]:
    """Return the kernel's environment, in which everything that the demo writes stays in its own folder."""
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(("CLAUDE_", "ANTHROPIC_"))},
        "ANTHROPIC_BASE_URL": url,
        "ANTHROPIC_API_KEY": "simulated",
        "CLAUDE_CACHE_DIR": str(state / "cache"),
        "CLAUDE_CACHE_SECRET": _SECRET,
        "CLAUDE_FORCE_DATA_DIR": str(state / "data"),
        "IPYTHONDIR": str(state / "ipython"),
        "JPY_SESSION_NAME": "quickstart.ipynb",
        # The kernel imports the package from the same place as this process.
        "PYTHONPATH": os.pathsep.join(
            part for part in (str(_PACKAGE.parent), os.environ.get("PYTHONPATH", "")) if part
        ),
    }


def _execute(path: Path, environment: Dict[str, str], label: str) -> Tuple[NotebookNode, float]:
    import nbformat
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError

    class ThisInterpreter(AsyncKernelManager):
        """Starts a kernel with the running interpreter, whatever kernels are installed."""

        @property
        def kernel_spec(self) -> KernelSpec:
            # Log errors only, since a kernel on loopback warns that its ports are not encrypted.
            quiet = "--IPKernelApp.log_level=40"
            command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}", quiet]
            return KernelSpec(argv=command, display_name="Python 3", language="python")

    notebook = nbformat.read(str(path), as_version=4)  # type: ignore[no-untyped-call]
    total = sum(cell.cell_type == "code" for cell in notebook.cells)
    done = 0

    def progress(**event: Any) -> None:
        nonlocal done
        done += 1
        _print_progress(f"{label}: cell {done} of {total}", end=done == total)

    client = NotebookClient(
        notebook,
        kernel_manager_class=ThisInterpreter,
        timeout=300,
        on_cell_executed=progress,
        resources={"metadata": {"path": str(path.parent)}},
    )
    began = time.perf_counter()
    try:
        client.execute(env=environment)
    except CellExecutionError as error:
        raise ClaudeForceError(f"the notebook stopped in the {label}: {error.ename}: {error.evalue}") from None
    except (RuntimeError, OSError) as error:
        raise ClaudeForceError(f"no kernel can be started here: {error}") from None
    return notebook, time.perf_counter() - began


def _print_progress(line: str, *, end: bool) -> None:
    if sys.stdout.isatty():
        print("\r\x1b[2K" + line, end="\n" if end else "", flush=True)
    else:
        print(line, flush=True)


def _receipts(notebook: NotebookNode) -> List[str]:
    """Return the receipts in a notebook's outputs, in order."""
    found = []
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            text = output.get("data", {}).get("text/plain", "")
            last = text.rstrip().rpartition("\n")[2]
            if " tok · " in last or " · cached " in last:
                found.append(last)
    return found


def _summary(name: str, row: LedgerRow) -> str:
    spent = f"${row.cost:.4f}" if row.cost else "$0.00"
    text = f"{name}: {counted(row.calls, 'call')}, {spent}"
    return text + (f", {row.hits} cached, saved ${row.saved:.4f}" if row.hits else "")


def _write(notebook: NotebookNode, target: Path) -> None:
    import nbformat
    from nbconvert import HTMLExporter

    nbformat.write(notebook, str(target.with_suffix(".ipynb")))  # type: ignore[no-untyped-call]
    html, _ = HTMLExporter().from_notebook_node(notebook)  # type: ignore[no-untyped-call]
    target.with_suffix(".html").write_text(html, encoding="utf-8")
