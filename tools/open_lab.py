"""``make lab``: open copies of the notebooks in JupyterLab, with answers from the simulator.

::

    python tools/open_lab.py [NOTEBOOK] [--folder FOLDER] [JupyterLab's options …]

The notebooks in git do not change: JupyterLab opens copies in ``build/notebooks``. Copies that were edited are kept and opened
again. Each kernel starts a simulator of its own with its first call; after
``%claude_config base_url=https://api.anthropic.com`` a session calls the API, with the key in ``ANTHROPIC_API_KEY``.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Dict, List, Optional

REPOSITORY = Path(__file__).resolve().parent.parent
NOTEBOOKS = REPOSITORY / "notebooks"


def copy_notebooks(folder: Path) -> List[Path]:
    """Copy the notebooks to `folder`, unless there is a copy already.

    Returns
    -------
    list of Path
        Existing copies that differ from their original, and were kept.
    """
    folder.mkdir(parents=True, exist_ok=True)
    kept = []
    for original in sorted(NOTEBOOKS.glob("*.ipynb")):
        copy = folder / original.name
        if not copy.exists():
            shutil.copyfile(str(original), str(copy))
        elif copy.read_bytes() != original.read_bytes():
            kept.append(copy)
    return kept


def environment(folder: Path) -> Dict[str, str]:
    """Return JupyterLab's environment: answers come from the simulator; cache and ledger are next to the copies."""
    state = folder / ".claude-force"
    return {"CLAUDE_FORCE_HOME": str(state), **os.environ, "CLAUDE_FORCE_BASE_URL": "simulator"}


def command(notebook: str, options: List[str]) -> List[str]:
    """Return the command that opens one of the copies; it must run in their folder."""
    # In a container one is often root. The server listens on this machine only, and requires its token.
    root = ["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    return [sys.executable, "-m", "jupyter", "lab", *root, *options, notebook]


def main(arguments: Optional[List[str]] = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notebook", nargs="?", default="quickstart.ipynb", help="default: %(default)s")
    parser.add_argument(
        "--folder", type=Path, default=REPOSITORY / "build" / "notebooks", help="default: build/notebooks"
    )
    given, options = parser.parse_known_args(arguments)
    if not (NOTEBOOKS / given.notebook).is_file():
        names = ", ".join(sorted(path.name for path in NOTEBOOKS.glob("*.ipynb")))
        parser.error(f"no notebook is called {given.notebook}; choose one of {names}")
    kept = copy_notebooks(given.folder)
    print(f"copies of the notebooks: {given.folder}; the simulator answers, and nothing is spent", file=sys.stderr)
    if kept:
        names = ", ".join(path.name for path in kept)
        print(f"kept as you saved them: {names}; delete a copy to get the original again", file=sys.stderr)
    return subprocess.call(
        command(given.notebook, options), cwd=str(given.folder), env=environment(given.folder.resolve())
    )


if __name__ == "__main__":
    sys.exit(main())
