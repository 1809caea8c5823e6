"""The import of the SDK in real kernels: early in a new notebook, never in one that is answered from the cache."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from support.live_kernel import LiveKernel, kernel_environment

from claude_force_nb.simulator import Simulator

IMPORTED = "'anthropic' in sys.modules"


@pytest.mark.slow
def test_a_new_notebook_imports_while_somebody_types_and_a_known_one_does_not(tmp_path: Path) -> None:
    """The first kernel is idle before it is asked; the second, whose notebook was asked before, answers from the cache."""
    with Simulator() as server:
        environment = kernel_environment(server.url, tmp_path)
        with LiveKernel(environment, str(tmp_path)) as kernel:
            kernel.run("import sys\n%load_ext claude_force_nb")
            assert kernel.value(IMPORTED) == "False"
            time.sleep(2.5)
            deadline = time.monotonic() + 60
            while kernel.value(IMPORTED) != "True" and time.monotonic() < deadline:
                time.sleep(0.5)
            assert kernel.value(IMPORTED) == "True"
            assert kernel.run("%claude hello").status == "ok"
        with LiveKernel(environment, str(tmp_path)) as kernel:
            kernel.run("import sys\n%load_ext claude_force_nb")
            time.sleep(2.5)
            assert kernel.value(IMPORTED) == "False"
            assert "cached" in str(kernel.run("%claude hello"))
            time.sleep(2.5)
            assert kernel.value(IMPORTED) == "False"
