"""The wheel adds one package to an environment and works next to any other packages.

The commands run in a directory with foreign packages, which have the names of phinas's folders or
of libraries that phinas imports. None of them may be imported, however phinas is started.
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
FOREIGN_NAMES = (*FOLDERS, "datasets", "ray")
SUFFIXES = (".py", ".yaml", ".html", ".css", ".js", ".jinja", ".typed")
SMALL_RUN = Path(__file__).parent / "small_run.yaml"
SCRIPT = """
import phinas

if __name__ == "__main__":
    assert phinas.describe("efficientnet_b0").cost.flops == 385_814_752
    import phinas.training.data.splits  # next to a foreign package `training`
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from a copy of the project's files, without ignored files."""
    source = tmp_path_factory.mktemp("source")
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        check=False,
    )
    if listed.returncode != 0:
        pytest.skip("not a git checkout, so the files of the project are unknown")
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
    """The `bin` folder of an environment with the wheel."""
    environment = tmp_path_factory.mktemp("environment")
    venv.create(environment, with_pip=True)
    folder = environment / "bin"
    install = ["install", "--quiet", "--no-deps", "--no-index", wheel]
    subprocess.run([folder / "python", "-m", "pip", *install], check=True)
    return folder


@pytest.fixture
def foreign_packages(tmp_path: Path) -> Path:
    """A directory with foreign packages, each of which writes a file when imported."""
    for name in FOREIGN_NAMES:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(
            f"import pathlib; pathlib.Path(__file__).parent.with_name('imported-{name}').touch()"
        )
    return tmp_path


def run_in(command: list[object], directory: Path) -> "subprocess.CompletedProcess[str]":
    """Run a command in a directory, with the libraries of the tests' environment.

    Python reads no .pth files in folders of PYTHONPATH, so it does not find an editable install of
    phinas there.
    """
    return subprocess.run(
        list(map(str, command)),
        cwd=directory,
        env={**os.environ, "PYTHONPATH": sysconfig.get_paths()["purelib"]},
        capture_output=True,
        text=True,
        check=False,
    )


def imported_packages(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.glob("imported-*"))


def test_wheel_contains_every_module_and_data_file(wheel: Path) -> None:
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


def test_wheel_adds_only_phinas_to_site_packages(wheel: Path) -> None:
    top = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {name for name in top if not name.endswith(".dist-info")} == {"phinas"}


@pytest.mark.slow
def test_installed_command_runs_all_stages_next_to_foreign_packages(
    bin_folder: Path, foreign_packages: Path
) -> None:
    command = [bin_folder / "phinas", "run", SMALL_RUN, "--out", "run"]
    result = run_in(command, foreign_packages)
    assert result.returncode == 0, result.stderr
    assert "a small run" in (foreign_packages / "run" / "report" / "index.html").read_text()
    assert imported_packages(foreign_packages) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["-m", "phinas", "describe", "efficientnet_b0", "--json"],
        ["-m", "phinas", "audit", "digits"],
        ["script.py"],
    ],
    ids=["module", "module with data", "script"],
)
def test_python_starts_phinas_next_to_foreign_packages(
    arguments: list[str], bin_folder: Path, foreign_packages: Path
) -> None:
    (foreign_packages / "script.py").write_text(SCRIPT)
    result = run_in([bin_folder / "python", *arguments], foreign_packages)
    assert result.returncode == 0, result.stderr
    assert imported_packages(foreign_packages) == []


@pytest.mark.slow
def test_torchrun_trains_next_to_foreign_packages(bin_folder: Path, foreign_packages: Path) -> None:
    options = ["--data", "digits", "--upsample", "--epochs", "1", "--resolution", "32"]
    options += ["--set", "data.max_train_images=200"]
    command = [bin_folder / "python", "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["-m", "phinas", "fit", "mobilenet_v2", *options, "--device", "cpu", "--out", "fit"]
    result = run_in(command, foreign_packages)
    assert result.returncode == 0, result.stderr
    assert (foreign_packages / "fit" / "weights.safetensors").exists()
    assert imported_packages(foreign_packages) == []


def test_error_names_the_foreign_package_that_shadows_a_library(
    bin_folder: Path, foreign_packages: Path
) -> None:
    # The directory of a script is first on Python's path, so the package there shadows the library.
    (foreign_packages / "script.py").write_text(
        "from phinas.training.data.source_dataset import ReadOptions\n"
        "from phinas.training.data.sources.hf_hub import list_hf_dataset\n"
        "list_hf_dataset('hf:owner/photos', ReadOptions())\n"
    )
    result = run_in([bin_folder / "python", "script.py"], foreign_packages)
    shadowing_file = foreign_packages / "datasets" / "__init__.py"
    assert f"needs the library datasets, but {shadowing_file} shadows it" in result.stderr
