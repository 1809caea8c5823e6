"""The SDK is imported while a person types, and only where a call is likely."""

from __future__ import annotations

import threading
from typing import List

import pytest

from claude_force_nb.api import sdk
from claude_force_nb.notebook.kernel.early_import import EarlyImport


@pytest.fixture
def imported(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set when the SDK would have been imported: it is in this process already."""
    done = threading.Event()
    monkeypatch.setattr(sdk, "import_module", lambda name: done.set())
    return done


def test_an_idle_kernel_imports_once(imported: threading.Event) -> None:
    """A second pause finds nothing to do."""
    asked: List[bool] = []
    early = EarlyImport(lambda: not asked.append(True), idle_seconds=0.01)
    early.idle()
    assert imported.wait(10)
    imported.clear()
    early.idle()
    assert not imported.wait(0.1)
    assert len(asked) == 1


def test_cells_that_follow_each_other_import_nothing(imported: threading.Event) -> None:
    """A notebook that is run from the top has no pause; nor has one that was unloaded."""
    early = EarlyImport(lambda: True, idle_seconds=0.05)
    for _ in range(5):
        early.idle()
        early.busy()
    assert not imported.wait(0.2)
    early.idle()
    early.close()
    assert not imported.wait(0.2)


@pytest.mark.parametrize("fault", [False, True])
def test_where_no_call_is_likely_nothing_is_imported(imported: threading.Event, fault: bool) -> None:
    """Nor where that cannot be told; the thread says nothing of it."""
    looked = threading.Event()

    def is_expected() -> bool:
        looked.set()
        if fault:
            raise OSError("no ledger")
        return False

    EarlyImport(is_expected, idle_seconds=0.01).idle()
    assert looked.wait(10)
    assert not imported.wait(0.1)
