"""A run that cannot start leaves nothing, and no result of another version is overwritten."""

import sys
from pathlib import Path

import pytest
import yaml

import phinas
from phinas.experiment.run_dir import RunDir
from phinas.experiment.schema.config import Config
from phinas.grid_feasibility import check_grid_feasibility
from phinas.space.search_spaces.loading import load_space
from phinas.space.spec import SpecError

FUNCTION = "phinas.testing.functions:smooth"


def search(out: Path, **options: object) -> "phinas.api.search.RunSummary":
    values: dict[str, object] = {"space": "tiny", "trials": 3, "evaluator": FUNCTION}
    settings = {"search.reference": "none", "run.executor": "inline", "search.finalists": 1}
    return phinas.search(out=out, quiet=True, settings=settings, **(values | options))


@pytest.mark.parametrize("exists", [False, True])
def test_a_storage_that_cannot_be_reached_leaves_nothing(exists: bool, tmp_path: Path) -> None:
    out = tmp_path / "run"
    if exists:
        out.mkdir()
    with pytest.raises(phinas.PhinasError):
        search(out, storage="sqlite:////proc/no/such/folder/study.db")
    assert list(tmp_path.rglob("*")) == ([out] if exists else [])


@pytest.mark.parametrize("begin", ["run", "fit"])
def test_a_start_that_fails_leaves_no_parent_folders_that_it_made(
    begin: str, tmp_path: Path
) -> None:
    (tmp_path / "kept").mkdir()
    out = tmp_path / "kept" / "new" / "deeper" / "out"
    starts = {
        "run": lambda: search(out, storage="sqlite:////proc/no/such/folder/study.db"),
        "fit": lambda: phinas.fit(
            "efficientnet_b0", data=str(tmp_path / "none"), out=out, quiet=True
        ),
    }
    with pytest.raises(phinas.PhinasError):
        starts[begin]()
    assert list(tmp_path.rglob("*")) == [tmp_path / "kept"]


def test_a_network_that_does_not_exist_is_named_and_not_the_removed_directory(
    tmp_path: Path,
) -> None:
    with pytest.raises(SpecError, match="'nosuch' is neither a file nor a preset"):
        phinas.fit("nosuch", data="digits", out=tmp_path / "fit", quiet=True)
    assert not (tmp_path / "fit").exists()


def test_parent_folders_with_other_files_stay_after_a_start_that_failed(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "new" / "deeper" / "out")
    created = run.missing_directories
    assert created == (run.path, run.path.parent, run.path.parent.parent)
    run.path.mkdir(parents=True)
    (run / "data").mkdir()
    (tmp_path / "new" / "notes.txt").touch()
    run.remove_created(created)
    assert sorted(tmp_path.rglob("*")) == [tmp_path / "new", tmp_path / "new" / "notes.txt"]


def test_a_device_that_is_missing_is_refused_before_the_images_are_read(tmp_path: Path) -> None:
    with pytest.raises(phinas.InputError, match=r"^device: cuda:77 is not available"):
        phinas.run(tmp_path / "no-images", out=tmp_path / "run", device="cuda:77")
    assert not (tmp_path / "run").exists()


def test_a_latency_runtime_that_is_not_installed_leaves_nothing(monkeypatch, tmp_path) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(phinas.InputError, match=r"^runtime: .* pip install 'phinas\[onnx\]'"):
        search(tmp_path / "run", cost="latency", runtime="onnxruntime")
    assert list(tmp_path.iterdir()) == []


def test_a_latency_runtime_without_the_device_of_the_run_leaves_nothing(
    monkeypatch, tmp_path
) -> None:
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: True)
    with pytest.raises(phinas.InputError, match=r"^device: mps is not available for runtime=onnx"):
        search(tmp_path / "run", cost="latency", runtime="onnxruntime", device="mps")
    assert list(tmp_path.iterdir()) == []


def test_a_baseline_of_a_newer_version_is_not_overwritten_by_a_resumed_run(tmp_path: Path) -> None:
    out = tmp_path / "run"
    search(out)
    path = out / "search" / "baseline.yaml"
    data = yaml.safe_load(path.read_text())
    text = yaml.safe_dump({**data, "version": data["version"] + 1})
    path.write_text(text)
    with pytest.raises(phinas.InputError, match=r"format version 2 is newer .* \(1\); upgrade"):
        phinas.resume(out, quiet=True)
    assert path.read_text() == text


def test_a_network_file_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    search(tmp_path / "run")
    path = tmp_path / "run" / "search" / "baseline.yaml"
    assert phinas.describe(path).cost.flops > 0
    path.write_text(path.read_text().replace("version: 1", "version: 2", 1))
    with pytest.raises(phinas.InputError, match=r"baseline\.yaml: format version 2 is newer"):
        phinas.describe(path)


def tiny_space() -> "phinas.space.search_spaces.search_space.SearchSpace":
    return load_space("tiny").adapt_to(channels=1, classes=10, resolution=12)


def config(**scaling: object) -> Config:
    return Config.model_validate({"data": {"source": "digits"}, "scaling": scaling})


def test_networks_that_cannot_be_scaled_are_noted_before_the_search() -> None:
    result = check_grid_feasibility(
        tiny_space(), config(grid_phi=1, rounding="ceil"), max_resolution=24
    )
    assert 0 < result.failed < result.tried
    assert f"{result.failed} of {result.tried} networks sampled" in result.note
    assert "scaling.tolerance" in result.note


def test_a_space_whose_networks_can_all_be_scaled_has_no_note() -> None:
    space = load_space("small_images").adapt_to(channels=3, classes=10, resolution=None)
    result = check_grid_feasibility(space, config(), max_resolution=1e9)
    assert result.failed == 0
    assert result.note == ""
    assert len(result.smallest[1]) <= len(result.largest[1])


def test_a_space_of_which_no_network_can_be_scaled_is_refused() -> None:
    with pytest.raises(phinas.InputError, match=r"^scaling\.tolerance: the grid needs two"):
        check_grid_feasibility(tiny_space(), config(tolerance=1e-9), max_resolution=24)
