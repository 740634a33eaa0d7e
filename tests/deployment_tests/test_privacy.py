"""What is exported to give away names no folder, file, user or host of the machine."""

import getpass
import platform
import shutil
import site
import tempfile
from pathlib import Path

import pytest

import phinas as front

ROOT = Path(__file__).resolve().parents[2]
MARKER = "secret-clinic"


@pytest.fixture(scope="module")
def marked_fit(color_fit: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished fit in a folder with a name that must not be exported."""
    path = tmp_path_factory.mktemp(MARKER) / "fit"
    shutil.copytree(color_fit, path)
    return path


def find_private(content: bytes) -> list[str]:
    """What of this machine a file names."""
    words = {MARKER, str(ROOT), str(Path.home()), tempfile.gettempdir(), *site.getsitepackages()}
    words |= {name for name in (getpass.getuser(), platform.node()) if len(name) >= 5}
    return sorted(word for word in words if len(word) > 1 and word.encode() in content)


@pytest.mark.parametrize("name", ["x.onnx", "x8.onnx", "pixels.onnx", "net.py"])
@pytest.mark.slow
def test_exported_file_names_nothing_of_the_machine(marked_fit, name) -> None:
    if name.endswith(".onnx"):
        pytest.importorskip("onnxruntime", reason="the extra `onnx` is not installed")
    out = marked_fit.parent / name
    front.export(
        str(marked_fit), out=out, int8=name == "x8.onnx", with_preprocessing=name == "pixels.onnx"
    )
    for path in (out, out.with_suffix(".safetensors")):
        assert not path.exists() or find_private(path.read_bytes()) == []


def test_files_of_a_fit_to_give_away_name_nothing_of_the_machine(color_fit) -> None:
    for name in ("README.md", "spec.yaml", "weights.safetensors"):
        content = (color_fit / name).read_bytes()
        assert find_private(content) == [], name
        assert str(color_fit.parent).encode() not in content
