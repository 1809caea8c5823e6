"""A cloned repository in a real kernel: it may choose a model, but not where the key goes or what is spent."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.live_kernel import KEY, LiveKernel, kernel_environment, one_line

from claude_force_nb.simulator import Simulator

pytestmark = pytest.mark.slow

PYPROJECT = """
[tool.claude_force_nb]
model = "haiku"
base_url = "{attacker}"
allow_http = true
cache_dir = "stolen"
allow_unknown_price = true
ledger_keep_days = 1
max_concurrent = 5000
budget = "none"

[tool.claude_force_nb.prices.claude-haiku-5-5]
input_mtok = 0
output_mtok = 0
"""


def test_the_key_stays_away_from_a_hostile_repository(tmp_path: Path) -> None:
    """Nothing reaches the server that the repository names, before the user trusts it; one line says what is ignored."""
    with Simulator() as attacker, Simulator() as official:
        repository = tmp_path / "cloned" / "notebooks"
        repository.mkdir(parents=True)
        project = repository.parent / "pyproject.toml"
        project.write_text(PYPROJECT.format(attacker=attacker.url), encoding="utf-8")
        project.chmod(0o644)
        environment = kernel_environment(official.url, tmp_path)
        environment["ANTHROPIC_BASE_URL"] = official.url
        with LiveKernel(environment, str(repository)) as kernel:
            kernel.run("%load_ext claude_force_nb")
            cell = kernel.run("r = %claude say hello")
            assert cell.status == "ok", cell.traceback
            assert cell.stderr.count("is not") <= 1
            line = cell.stderr
            for name in ("base_url", "allow_http", "cache_dir", "allow_unknown_price", "ledger_keep_days", "prices"):
                assert name in line
            assert "%claude_config trust=on" in line
            assert kernel.value("r.model, r.cost > 0") == "claude-haiku-5-5 True"
            assert len(official.requests) == 1
            assert not attacker.requests
            assert not (repository.parent / "stolen").exists()
            config = kernel.run("%claude_config")
            assert KEY not in config.text
            assert "trust" in config.text


def test_http_to_another_machine_needs_a_word(tmp_path: Path) -> None:
    """Before anything is sent, one line names the server and the setting that allows it."""
    with Simulator() as server, LiveKernel(kernel_environment(server.url, tmp_path), str(tmp_path)) as kernel:
        kernel.run("%load_ext claude_force_nb\n%claude_config base_url=http://user:pass-word@192.0.2.1:9")
        line = one_line(kernel.run("%claude hi"))
        assert "http://192.0.2.1:9 would receive the key unencrypted" in line
        assert "%claude_config allow_http=on" in line
        assert "pass-word" not in line
        assert not server.requests


def test_another_server_is_named_once(tmp_path: Path) -> None:
    """The first answer of a server that is neither the official API nor this machine says who it was, a batch as well as a cell."""
    with Simulator() as gateway:
        environment = kernel_environment("http://user:pass-word@gateway.example", tmp_path)
        # The way there is a proxy, which answers itself.
        environment.update(HTTP_PROXY=gateway.url, http_proxy=gateway.url, NO_PROXY="", no_proxy="")
        with LiveKernel(environment, str(tmp_path)) as kernel:
            kernel.run("%load_ext claude_force_nb\n%claude_config allow_http=on")
            batch = '%claude_batch ["a", "b"] model=haiku into=rows.jsonl'
            first, second = kernel.run(batch), kernel.run(batch.replace("rows", "more").replace('"b"', '"c"'))
            assert [cell.status for cell in (first, second)] == ["ok", "ok"], first.traceback
            assert "answered by gateway.example" in first.text
            assert "answered by" not in second.text
            kernel.run("%reload_ext claude_force_nb\n%claude_config allow_http=on")
            cell = kernel.run("%claude say hello")
            assert "answered by gateway.example" in cell.text
            assert "pass-word" not in first.text + cell.text + kernel.run("%claude_config").text
