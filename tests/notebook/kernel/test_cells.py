"""The running cell, as front ends report it."""

from __future__ import annotations

import pytest

from claude_force_nb.notebook.kernel.cells import cell_id, cell_run


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("7f9d3f0e-2d1c", "7f9d3f0e-2d1c"),  # JupyterLab, Notebook 7
        ("vscode-notebook-cell:/folder/book.ipynb#W1sZmlsZQ%3D%3D", "W1sZmlsZQ%3D%3D"),
        (
            "vscode-notebook-cell://ssh-remote%2Bhost/book.ipynb#X22sdnNjb2RlLXJlbW90ZQ%3D%3D",
            "X22sdnNjb2RlLXJlbW90ZQ%3D%3D",
        ),
        ("cell#", "cell#"),
        ("", None),
        (None, None),
    ],
)
def test_the_id_of_a_cell(given: object, found: object) -> None:
    """VS Code gives a URI; what tells its cells apart is the fragment."""
    assert cell_id({"metadata": {"cellId": given}}) == found


def test_two_cells_of_vs_code_have_two_names() -> None:
    """They differ in messages to the user too, which show only the first characters."""
    names = [
        cell_run({"metadata": {"cellId": f"vscode-notebook-cell:/book.ipynb#W{number}sZmlsZQ%3D%3D"}}, 1).label
        for number in (1, 2)
    ]
    assert names == ["[1] W1sZmlsZ", "[1] W2sZmlsZ"]
