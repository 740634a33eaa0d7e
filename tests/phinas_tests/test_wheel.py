"""The wheel: it adds one package to an environment, and works beside any other packages.

The directory that commands run in holds packages of somebody else, called like our folders and like
libraries that we import. None of them may be imported, whatever way phinas is started.
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
FOLDERS = ("space", "experiment", "training", "nas", "scaling_search", "reports")
FOREIGN = (*FOLDERS, "datasets", "ray")
SUFFIXES = (".py", ".yaml", ".html", ".css", ".js", ".jinja", ".typed")
SMALL_RUN = Path(__file__).parent / "small_run.yaml"
SCRIPT = """
import phinas

if __name__ == "__main__":
    assert phinas.describe("efficientnet_b0")["flops"] == 385_814_752
    import phinas.training.data.splits  # by its full name, beside a foreign package `training`
"""


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
    for name in filter(None, listed.stdout.decode().split("\0")):
        original, copy = ROOT / name, source / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        if original.is_symlink():
            copy.symlink_to(original.readlink())
        elif original.is_file():
            copy.write_bytes(original.read_bytes())
    out = tmp_path_factory.mktemp("dist")
    options = ["--wheel", "--no-isolation", "--outdir", str(out)]
    built = subprocess.run(
        [sys.executable, "-m", "build", *options, str(source)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    return next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def bin_folder(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment into which the wheel was installed."""
    environment = tmp_path_factory.mktemp("environment")
    venv.create(environment, with_pip=True)
    folder = environment / "bin"
    install = ["install", "--quiet", "--no-deps", "--no-index", wheel]
    subprocess.run([folder / "python", "-m", "pip", *install], check=True)
    return folder


@pytest.fixture
def foreign_packages(tmp_path: Path) -> Path:
    """A directory with packages of somebody else; each leaves a file when it is imported."""
    for name in FOREIGN:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(
            f"import pathlib; pathlib.Path(__file__).parent.with_name('imported-{name}').touch()"
        )
    return tmp_path


def run_there(command: list[object], directory: Path) -> "subprocess.CompletedProcess[str]":
    """Run a command in a directory. Libraries are those of the tests' environment: on PYTHONPATH
    its own .pth files are not read, so our sources are not found through them.
    """
    return subprocess.run(
        list(map(str, command)),
        cwd=directory,
        env={**os.environ, "PYTHONPATH": sysconfig.get_paths()["purelib"]},
        capture_output=True,
        text=True,
        check=False,
    )


def imported(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.glob("imported-*"))


def test_wheel_holds_every_module_and_data_file(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder in (*FOLDERS, "phinas"):
        sources = [
            path
            for path in (ROOT / folder).rglob("*")
            if path.suffix in SUFFIXES and "__pycache__" not in path.parts
        ]
        prefix = Path() if folder == "phinas" else Path("phinas")
        expected = {str(prefix / path.relative_to(ROOT)) for path in sources}
        assert expected
        assert not expected - names


def test_wheel_adds_nothing_but_phinas_to_site_packages(wheel: Path) -> None:
    top = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {name for name in top if not name.endswith(".dist-info")} == {"phinas"}


@pytest.mark.slow
def test_installed_command_runs_all_stages_beside_foreign_packages(
    bin_folder: Path, foreign_packages: Path
) -> None:
    command = [bin_folder / "phinas", "run", SMALL_RUN, "--out", "run"]
    result = run_there(command, foreign_packages)
    assert result.returncode == 0, result.stderr
    assert "a small run" in (foreign_packages / "run" / "report" / "index.html").read_text()
    assert imported(foreign_packages) == []


@pytest.mark.parametrize(
    "words",
    [
        ["-m", "phinas", "describe", "efficientnet_b0", "--json"],
        ["-m", "phinas", "data", "digits"],
        ["script.py"],
    ],
    ids=["module", "module with data", "script"],
)
def test_python_starts_phinas_beside_foreign_packages(
    words: list[str], bin_folder: Path, foreign_packages: Path
) -> None:
    (foreign_packages / "script.py").write_text(SCRIPT)
    result = run_there([bin_folder / "python", *words], foreign_packages)
    assert result.returncode == 0, result.stderr
    assert imported(foreign_packages) == []


@pytest.mark.slow
def test_torchrun_trains_beside_foreign_packages(bin_folder: Path, foreign_packages: Path) -> None:
    options = ["--data", "digits", "--upsample", "--epochs", "1", "--resolution", "32"]
    options += ["--set", "data.max_train_images=200"]
    command = [bin_folder / "python", "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["-m", "phinas", "fit", "mobilenet_v2", *options, "--device", "cpu", "--out", "fit"]
    result = run_there(command, foreign_packages)
    assert result.returncode == 0, result.stderr
    assert (foreign_packages / "fit" / "weights.safetensors").exists()
    assert imported(foreign_packages) == []


def test_library_hidden_by_a_foreign_package_is_named(
    bin_folder: Path, foreign_packages: Path
) -> None:
    """A script's own directory comes first on Python's path, so there the library is hidden."""
    (foreign_packages / "script.py").write_text(
        "from phinas.training.data.sources.hf_hub import list_hf_dataset\n"
        "list_hf_dataset('hf:somebody/photos')\n"
    )
    result = run_there([bin_folder / "python", "script.py"], foreign_packages)
    hidden = foreign_packages / "datasets" / "__init__.py"
    assert f"needs the library datasets, but {hidden} hides it" in result.stderr
