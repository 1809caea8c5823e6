"""binder/ is what repo2docker, and so mybinder.org, takes, and the image that it makes answers without a key."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Dict, List

import pytest
from support.served_notebook import JupyterServer, texts

ROOT = Path(__file__).resolve().parent.parent
BINDER = ROOT / "binder"
# repo2docker, buildpacks/conda/supported_python_version.py, read in November 2026.
SUPPORTED_PYTHONS = ("3.8", "3.9", "3.10", "3.11", "3.12", "3.13", "3.14")


def test_the_python_is_one_that_repo2docker_supports() -> None:
    """runtime.txt is one line, ``python-x.y``; another form is refused or taken for another language."""
    found = re.fullmatch(r"python-(3\.\d+)\n", (BINDER / "runtime.txt").read_text(encoding="utf-8"))
    assert found is not None
    assert found.group(1) in SUPPORTED_PYTHONS


def test_the_scripts_are_as_repo2docker_wants_them() -> None:
    """Both begin with the path of a shell and can be run; an error ends the build; start hands over to Jupyter's command."""
    for name in ("postBuild", "start"):
        script = BINDER / name
        assert script.read_text(encoding="utf-8").startswith("#!"), name
        assert os.access(str(script), os.X_OK), name
    assert re.search(r"^set -e", (BINDER / "postBuild").read_text(encoding="utf-8"), re.MULTILINE)
    assert (BINDER / "start").read_text(encoding="utf-8").endswith('\nexec "$@"\n')


def test_the_launch_button_opens_a_notebook_that_exists() -> None:
    """The button of the README names this repository and the quickstart."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.search(r"\(https://mybinder\.org/v2/gh/([\w-]+/[\w-]+)/\w+\?urlpath=lab/tree/([\w/.]+)\)", text)
    assert found is not None
    assert f"https://github.com/{found.group(1)}" in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert (ROOT / found.group(2)).is_file()


@pytest.mark.slow
def test_repo2docker_takes_the_steps_that_are_tested_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """What mybinder.org runs says itself what it makes of this folder: which Python, and which commands in which order."""
    repo2docker = pytest.importorskip("repo2docker.app", reason="repo2docker is not installed (the extra 'frontends')")
    monkeypatch.chdir(ROOT)
    packs = [pack(base_image="base") for pack in repo2docker.Repo2Docker().buildpacks]
    taken = next(pack for pack in packs if pack.detect())
    taken.platform = "linux/amd64"
    assert type(taken).__name__ == "PythonBuildPack"
    assert f"python-{taken.python_version}\n" == (BINDER / "runtime.txt").read_text(encoding="utf-8")
    lines = taken.render().splitlines()
    of_ours = ("requirements.txt", "postBuild", "binder/start", "COPY --chown=1000:1000 src/ ", "USER ${NB_USER}")
    steps = [
        line
        for line in lines
        if line.startswith(("RUN ", "COPY ", "ENV ", "USER ")) and any(word in line for word in of_ours)
    ]
    # The requirements are installed before the rest of the repository is there, so they name no file of it.
    assert steps == [
        "COPY --chown=1000:1000 src/binder/requirements.txt ${REPO_DIR}/binder/requirements.txt",
        "USER ${NB_USER}",
        'RUN ${KERNEL_PYTHON_PREFIX}/bin/pip install --no-cache-dir -r "binder/requirements.txt"',
        "COPY --chown=1000:1000 src/ ${REPO_DIR}/",
        "USER ${NB_USER}",
        "RUN chmod +x binder/postBuild",
        "RUN ./binder/postBuild",
        'RUN chmod +x "${REPO_DIR}/binder/start"',
        'ENV R2D_ENTRYPOINT="${REPO_DIR}/binder/start"',
    ]
    assert "WORKDIR ${REPO_DIR}" in lines


def _checkout(target: Path) -> None:
    """Copy what a clone has, with what is not committed yet."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"], cwd=str(ROOT), stdout=subprocess.PIPE
    )
    if listed.returncode:
        pytest.skip("there is no git here")
    for name in listed.stdout.decode("utf-8").split("\0"):
        if name and (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(str(ROOT / name), str(target / name))


def _run(command: List[str], folder: Path, environment: Dict[str, str]) -> None:
    done = subprocess.run(
        command, cwd=str(folder), env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=900
    )
    assert done.returncode == 0, done.stdout.decode("utf-8", "replace")[-3000:]


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.skipif(sys.platform == "win32", reason="mybinder.org runs Linux")
def test_an_empty_environment_is_built_and_answers_the_quickstart(tmp_path: Path) -> None:
    """The steps of repo2docker, with an empty home and environment: requirements, postBuild, start; then a visitor's *Run All*."""
    checkout, home, python = tmp_path / "repository", tmp_path / "home", tmp_path / "environment" / "bin" / "python"
    home.mkdir()
    (checkout / "binder").mkdir(parents=True)
    shutil.copy(str(BINDER / "requirements.txt"), str(checkout / "binder"))
    subprocess.run([sys.executable, "-m", "venv", str(python.parent.parent)], check=True)
    passed = ("pip_", "http_proxy", "https_proxy", "no_proxy", "ssl_cert", "requests_ca", "lang", "lc_")
    environment = {name: value for name, value in os.environ.items() if name.lower().startswith(passed)}
    environment["PATH"] = os.pathsep.join([str(python.parent), "/usr/local/bin", "/usr/bin", "/bin"])
    environment["HOME"] = str(home)
    _run([str(python), "-m", "pip", "install", "--quiet", "-r", "binder/requirements.txt"], checkout, environment)
    _checkout(checkout)
    _run([str(checkout / "binder" / "postBuild")], checkout, environment)

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    token = secrets.token_hex(16)
    command = [str(checkout / "binder" / "start"), "jupyter", "lab", "--no-browser", "--ip=127.0.0.1"]
    command += [f"--port={port}", f"--IdentityProvider.token={token}"]
    if os.geteuid() == 0:
        command.append("--allow-root")
    environment["JUPYTER_RUNTIME_DIR"] = str(tmp_path / "runtime")
    with (tmp_path / "lab.log").open("wb") as log:
        running = subprocess.Popen(command, cwd=str(checkout), env=environment, stdout=log, stderr=log)
        try:
            server = JupyterServer(f"http://127.0.0.1:{port}", token, tmp_path / "runtime")
            server.wait()
            first, second = (texts(server.run("notebooks/quickstart.ipynb")) for _ in range(2))
        finally:
            running.send_signal(signal.SIGTERM)
            running.wait(timeout=30)
    assert "simulated" in first
    assert " tok · " in first
    assert " tok · " not in second.partition("Every answer")[0]
    assert " · cached · " in second
    assert [path.name for path in (checkout / "notebooks").glob(".*")] == []
