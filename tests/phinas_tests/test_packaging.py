"""The wheel: it holds every package and no test, and runs the main job in an environment that has
nothing else of ours.
"""

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("space", "experiment", "training", "nas", "scaling_search", "reports", "phinas")
ENDINGS = (".py", ".yaml", ".html", ".css", ".js", ".jinja", ".typed")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of the tracked files, so that nothing untracked can slip in or be left
    behind.
    """
    source = tmp_path_factory.mktemp("source")
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        check=False,
    )
    if listed.returncode != 0:
        pytest.skip("not a git checkout: there is no list of what belongs to the project")
    for name in listed.stdout.decode().split("\0"):
        if name and (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    out = tmp_path_factory.mktemp("dist")
    command = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        str(out),
        str(source),
    ]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    return next(out.glob("*.whl"))


def test_the_wheel_holds_every_module_and_what_it_reads(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for package in PACKAGES:
        wanted = [path for path in (ROOT / package).rglob("*") if path.suffix in ENDINGS]
        missing = [
            str(path.relative_to(ROOT))
            for path in wanted
            if str(path.relative_to(ROOT)) not in names
        ]
        assert not missing
        assert f"{package}/py.typed" in names


def test_the_wheel_holds_no_tests(wheel: Path) -> None:
    roots = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {root for root in roots if not root.endswith(".dist-info")} == set(PACKAGES)


@pytest.mark.slow
def test_the_wheel_alone_runs_the_main_job(wheel: Path, tmp_path: Path) -> None:
    place = tmp_path / "environment"
    venv.create(place, with_pip=True)
    python = place / "bin" / "python"
    subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", wheel], check=True
    )
    # Only the libraries are borrowed from the environment of the tests: on this path its own .pth
    # files are not read.
    environment = {**os.environ, "PYTHONPATH": sysconfig.get_paths()["purelib"]}
    config = Path(__file__).parent / "small_run.yaml"
    command = [place / "bin" / "phinas", "run", config, "--out", tmp_path / "run"]
    ended = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    where = subprocess.run(
        [python, "-c", "import nas; print(nas.__file__)"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert where.stdout.startswith(str(place))
    page = (tmp_path / "run" / "report" / "index.html").read_text()
    assert "a small run" in page
