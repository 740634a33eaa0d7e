"""Damaged and absurd files result in exit code 2 within seconds and a message with file and reason.

Most cases were discovered by random mutation of valid files.
"""

import io
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from PIL import Image

try:
    import resource
except ImportError:  # Windows
    resource = None

IMAGES = np.random.default_rng(0).integers(0, 256, (8, 8, 8, 3), dtype=np.uint8)
LABELS = np.arange(8) % 2
CENTRAL_DIRECTORY = (
    b"PK\x01\x02"  # the beginning of an entry, to which these offsets in bytes are relative
)
VERSION_NEEDED, COMPRESSION_METHOD = 6, 10


def encode_array(array):
    """The content of an .npy file."""
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def write_npz(path, *, images=None):
    """Write images and labels of two classes. `images` replaces the content of images.npy."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("images.npy", encode_array(IMAGES) if images is None else images)
        archive.writestr("labels.npy", encode_array(LABELS))


def overwrite_zip_field(path, offset, value):
    """Overwrite a 16-bit field in the first entry of the central directory."""
    content = bytearray(path.read_bytes())
    begin = content.index(CENTRAL_DIRECTORY) + offset
    content[begin : begin + 2] = value.to_bytes(2, "little")
    path.write_bytes(content)


def assert_names_the_damaged_file(result, path):
    assert result.exit_code == 2, result.stderr
    assert path.name in result.stderr


def test_undamaged_npz_is_read(tmp_path, run_phinas):
    write_npz(tmp_path / "valid.npz")
    result = run_phinas("audit", tmp_path / "valid.npz")
    assert result.exit_code == 0, result.stderr


def test_npz_with_an_unclosed_array_header_is_refused(tmp_path, run_phinas):
    path = tmp_path / "damaged.npz"
    write_npz(path, images=encode_array(IMAGES).replace(b"}", b" ", 1))
    assert_names_the_damaged_file(run_phinas("audit", path, may_crash=True), path)


def test_npz_of_an_unknown_zip_version_is_refused(tmp_path, run_phinas):
    path = tmp_path / "damaged.npz"
    write_npz(path)
    overwrite_zip_field(path, VERSION_NEEDED, 240)
    assert_names_the_damaged_file(run_phinas("audit", path, may_crash=True), path)


def test_npz_with_an_unknown_compression_method_is_refused(tmp_path, run_phinas):
    path = tmp_path / "damaged.npz"
    write_npz(path)
    overwrite_zip_field(path, COMPRESSION_METHOD, 99)
    assert_names_the_damaged_file(run_phinas("audit", path, may_crash=True), path)


@pytest.fixture
def parquet_file(tmp_path):
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    contents = []
    for pixels in IMAGES:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        contents.append(buffer.getvalue())
    table = arrow.table({"image": contents, "label": arrow.array(LABELS)})
    parquet.write_table(table, tmp_path / "images.parquet")
    return tmp_path / "images.parquet"


def test_undamaged_parquet_file_is_read(parquet_file, run_phinas):
    result = run_phinas("audit", parquet_file)
    assert result.exit_code == 0, result.stderr


def test_parquet_file_with_a_column_name_that_is_not_utf_8_is_refused(parquet_file, run_phinas):
    content = parquet_file.read_bytes()
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    name = content.index(b"label", footer)
    parquet_file.write_bytes(content[: name + 2] + b"\xf0" + content[name + 3 :])
    result = run_phinas("audit", parquet_file, may_crash=True)
    assert_names_the_damaged_file(result, parquet_file)


def write_space(path, *, depth, stages="{}"):
    path.write_text(
        "base: efficientnet_b0\n"
        f"stages: {stages}\n"
        "layers: {kernel: [3, 5]}\n"
        f"overrides: {{2: {{depth: [2, {depth}]}}}}\n"
    )
    return path


def test_search_space_with_a_depth_that_is_text_is_refused(tmp_path, run_phinas):
    space = write_space(tmp_path / "space.yaml", depth='"3"', stages="{depth: {add: [0, 1]}}")
    plan = ("plan", "--data", "digits", "--space", space, "--upsample")
    result = run_phinas(*plan, may_crash=True)
    assert_names_the_damaged_file(result, space)
    assert "depth" in result.stderr


def test_search_space_with_too_many_layers_is_refused(tmp_path, run_phinas):
    space = write_space(tmp_path / "space.yaml", depth=1000)
    result = run_phinas("plan", "--data", "digits", "--space", space, "--upsample")
    assert_names_the_damaged_file(result, space)
    assert "layers: the space has 1," in result.stderr


def limit_resources():
    """Limit a process to 5 s of CPU time, which does not depend on other processes, and 8 GB."""
    resource.setrlimit(resource.RLIMIT_CPU, (5, 6))
    resource.setrlimit(resource.RLIMIT_AS, (8 * 10**9, 8 * 10**9))


@pytest.mark.slow
@pytest.mark.skipif(resource is None, reason="needs resource limits, which Windows does not have")
def test_search_space_of_a_huge_depth_is_refused_within_seconds(tmp_path):
    space = write_space(tmp_path / "space.yaml", depth=10**9)
    plan = ["plan", "--data", "digits", "--space", str(space), "--upsample"]
    result = subprocess.run(
        [sys.executable, "-m", "phinas", *plan],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        preexec_fn=limit_resources,
        check=False,
    )
    assert result.returncode == 2, result.stderr
    assert all(text in result.stderr for text in ("space.yaml", "depth"))
