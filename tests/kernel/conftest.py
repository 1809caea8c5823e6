"""A simulator and a kernel for all tests of a module."""

from __future__ import annotations

from typing import Iterator

import pytest
from support.live_kernel import LiveKernel, kernel_environment

from claude_force_nb.simulator import Simulator


@pytest.fixture(scope="module")
def server() -> Iterator[Simulator]:
    with Simulator() as simulator:
        yield simulator


@pytest.fixture(scope="module")
def shared(server: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveKernel]:
    """One kernel with the extension loaded, for tests that leave nothing behind in it."""
    folder = tmp_path_factory.mktemp("kernel")
    with LiveKernel(kernel_environment(server.url, folder), str(folder)) as kernel:
        assert kernel.run("%load_ext claude_force_nb").status == "ok"
        yield kernel
