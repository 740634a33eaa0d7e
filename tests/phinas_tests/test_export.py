"""A trained member of a family leaves as ONNX and gives what it gave."""

import json
from pathlib import Path

import pytest

pytest.importorskip("onnxruntime", reason="the extra `onnx` is not installed")
pytest.importorskip("onnxscript", reason="the extra `onnx` is not installed")


@pytest.mark.slow
def test_an_exported_member_gives_equal_logits_for_any_batch(finished_run: Path, tmp_path: Path, phinas) -> None:
    family = finished_run / "scaling" / "family"
    out = tmp_path / "b0.onnx"
    told = phinas("export", family / "b0.yaml", "--weights", family / "b0.safetensors", "--out", out, "--json")
    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout)["largest_relative_difference"] < 1e-4
    assert out.stat().st_size > 1000

    import numpy as np
    import onnxruntime
    import torch
    from safetensors.torch import load_file

    from space.blocks import build
    from space.search_space import load_spec

    spec = load_spec(str(family / "b0.yaml"))
    model = build(spec).eval()
    model.load_state_dict(load_file(family / "b0.safetensors"))
    images = np.random.default_rng(1).normal(size=(5, spec.channels, spec.resolution, spec.resolution)).astype(np.float32)
    given = onnxruntime.InferenceSession(out).run(None, {"images": images})[0]
    with torch.inference_mode():
        expected = model(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(given, expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize(("name", "told"), [("b0.txt", "does not end in .onnx"), ("b0.onnx", "weights of another spec")])
def test_what_cannot_be_exported_is_refused(name: str, told: str, finished_run: Path, tmp_path: Path, phinas) -> None:
    family = finished_run / "scaling" / "family"
    ended = phinas("export", family / "b7.yaml", "--weights", family / "b0.safetensors", "--out", tmp_path / name)
    assert ended.returncode == 2
    assert told in ended.stderr
    assert not list(tmp_path.iterdir())
