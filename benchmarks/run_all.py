"""``make bench``: run all benchmarks, and print their figures with their bounds in one table.

    python benchmarks/run_all.py [--write] [--quick]

With `--write`, the table is written to README.md in this folder, with the machine and the date. This takes under fifteen minutes
on two cores; the output of each benchmark is shown as it runs.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import List, Sequence, Tuple

from figures import VARIABLE, Figure, read

HERE = Path(__file__).resolve().parent
MOST_SECONDS = 900.0
BEGIN, END = "<!-- figures -->", "<!-- /figures -->"

# The benchmarks, with arguments that keep each within its share of the time.
RUNS: List[Tuple[str, ...]] = [
    ("prompt_cache.py",),
    ("cache.py", "--rounds", "1500"),
    ("cache.py", "--open"),
    ("replay.py", "--latency", "0.2"),
    ("batch.py",),
    ("notebook.py",),
    ("first_answer.py",),
    ("dispatch.py", "--calls", "1000", "--rounds", "5"),
    ("batches.py", "--rows", "20000"),
    ("cluster.py", "--only", "speed", "--rows", "800", "--most", "2"),
    ("growth.py",),
]
QUICK = {
    "growth.py": ("--largest", "10000", "--rows", "10000"),
    "batches.py": ("--rows", "2000"),
    "cluster.py": ("--only", "speed", "--rows", "200", "--most", "2"),
    "dispatch.py": ("--only", "latency"),
}


def machine() -> str:
    """Return a description of this machine: processor, cores, system, Python."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = [line for line in cpuinfo.read_text(encoding="utf-8").splitlines() if line.startswith("model name")]
        name = lines[0].partition(":")[2].strip() if lines else name
    return f"{os.cpu_count()} cores of {name}, {platform.system()}, Python {platform.python_version()}"


def number(value: float) -> str:
    """Return a figure with about three digits."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.2f}" if value < 10 else f"{value:.1f}"


def table(figures: Sequence[Figure]) -> List[str]:
    """Return the figures as a Markdown table."""
    lines = ["| Figure | Measured | Bound | Kept | Beside it |", "| --- | ---: | ---: | --- | --- |"]
    for each in figures:
        bound = "" if each.bound is None else f"{'≤' if each.at_most else '≥'} {number(each.bound)} {each.unit}"
        kept = {None: "", True: "yes", False: "**no**"}[each.holds]
        lines.append(f"| {each.name} | {number(each.value)} {each.unit} | {bound} | {kept} | {each.limit} |")
    return lines


def write(lines: Sequence[str]) -> None:
    """Write the table to README.md, in place of the previous one."""
    path = HERE / "README.md"
    text = path.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    path.write_text(before + BEGIN + "\n" + "\n".join(lines) + "\n" + END + after, encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="put the table into README.md")
    parser.add_argument("--quick", action="store_true", help="smaller sizes, to see that everything runs")
    chosen = parser.parse_args()
    began = time.perf_counter()
    failed = []
    with tempfile.TemporaryDirectory() as folder:
        noted = Path(folder, "figures.jsonl")
        for script, *arguments in RUNS:
            arguments = list(QUICK.get(script, arguments)) if chosen.quick else arguments
            print(f"== {script} {' '.join(arguments)}", flush=True)
            command = [sys.executable, str(HERE / script), *arguments]
            since = time.perf_counter()
            done = subprocess.run(command, env={**os.environ, VARIABLE: str(noted)}, check=False)
            print(f"   took {time.perf_counter() - since:.0f} s", flush=True)
            if done.returncode:
                failed.append(script)
        figures = read(noted)
    minutes = (time.perf_counter() - began) / 60
    day = datetime.date.today().isoformat()
    head = f"{day}, {machine()}; all of it took {minutes:.1f} minutes."
    lines = ["", head, "", *table(figures), ""]
    print("\n".join(lines))
    if failed:
        print("failed: " + ", ".join(failed))
    if chosen.write and not failed:
        write(lines)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
