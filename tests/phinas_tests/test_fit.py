"""`phinas fit`: one network, trained on one's images, with what came of it as files; killed and
carried on; wrongly asked.
"""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import click.testing
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import phinas as front
from phinas.cli import cli
from phinas.experiment.errors import InputError, NoResultError
from phinas.experiment.measurement import Measurement
from phinas.experiment.statistics.intervals import wilson_interval
from phinas.fit_pipeline.results import summary_line
from phinas.space.blocks import build
from phinas.space.loading import load_spec
from phinas.space.search_spaces.loading import load_space
from phinas.space.spec import ArchSpec
from phinas.space.yaml_io import parse_yaml, read_yaml
from phinas.training.data.prepared_dataset import read_prepared

pytestmark = pytest.mark.usefixtures("restore_torch_threads")

SPEC = load_space("tiny").adapt_to(channels=1, classes=10, resolution=8).base
SPEC = replace(SPEC, drop_path=0.1, stem_stride=2)  # timm's has no other
SHORT = (
    "--recipe",
    "quick",
    "--batch-size",
    "32",
    "--threads",
    "1",
    "--device",
    "cpu",
    "--set",
    "data.max_train_images=400",
)


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    path = tmp_path_factory.mktemp("network") / "small net.yaml"
    path.write_text(SPEC.to_yaml())
    return path


def table(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def run_fit(network, out, **settings):
    """The same fit as a Python call."""
    always = {
        "recipe": "quick",
        "recipe.batch_size": 32,
        "threads": 1,
        "device": "cpu",
        "data.max_train_images": 400,
    }
    return front.fit(str(network), data="digits", out=out, settings=always | settings, quiet=True)


def fit_arguments(network, out, *more):
    return ("fit", network, "--data", "digits", "--out", out, *SHORT, *more)


@pytest.fixture(scope="module")
def finished(network, tmp_path_factory, phinas_in_process):
    """A fit that nothing disturbed, with what the command said. Copy it before changing it."""
    out = tmp_path_factory.mktemp("fits") / "done"
    result = phinas_in_process(*fit_arguments(network, out))
    assert result.returncode == 0, result.stderr
    return out, result


def test_weights_and_spec_load_as_the_card_shows(finished, monkeypatch):
    out, _ = finished
    (code,) = re.findall(r"```python\n(.*?)```", (out / "README.md").read_text(), flags=re.S)
    images = torch.randint(0, 256, (5, 1, 8, 8), dtype=torch.uint8)
    monkeypatch.chdir(out)
    names = {"images": images}
    exec(compile(code, "README.md", "exec"), names)
    assert len(names["classes"]) == 5
    assert set(names["classes"]) <= set(map(str, range(10)))
    assert not names["model"].training


def test_the_network_that_is_kept_is_the_one_that_was_measured(finished):
    out, _ = finished
    fit_result = read_yaml(out / "spec.yaml")
    model = build(load_spec(str(out / "spec.yaml"))).eval()
    model.load_state_dict(load_file(out / "weights.safetensors"))
    images, labels = read_prepared(out / "data").test_arrays()
    mean, std = (torch.tensor(fit_result[name]).view(-1, 1, 1) for name in ("mean", "std"))
    images_normalized = (torch.from_numpy(images.copy()).permute(0, 3, 1, 2) / 255 - mean) / std
    with torch.inference_mode():
        right = model(images_normalized).argmax(1) == torch.from_numpy(labels.copy())
    measurement = Measurement.from_dict(json.loads((out / "measurement.json").read_text()))
    assert measurement.split == "test"
    assert measurement.accuracy == pytest.approx(right.double().mean().item())
    rows = table(out / "per_class_accuracy.csv")
    assert sum(int(row["images"]) for row in rows) == len(labels)
    total = sum(int(row["images"]) * float(row["accuracy"]) for row in rows)
    assert total / len(labels) == pytest.approx(measurement.accuracy, abs=1e-4)


def test_the_curve_has_a_row_an_epoch_and_the_terminal_a_line(finished):
    out, result = finished
    rows = table(out / "curve.csv")
    measurement = json.loads((out / "measurement.json").read_text())
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3]
    assert [float(row["accuracy"]) for row in rows] == measurement["curve"]
    lines = [
        line
        for line in result.stderr.splitlines()
        if re.match(r"training: \d of 3, .*validation images right", line)
    ]
    assert len(lines) == 3
    assert "images/s" in lines[0]


def test_the_card_says_accuracy_and_interval_and_names_no_path_of_this_machine(finished):
    out, result = finished
    card = (out / "README.md").read_text()
    measurement = json.loads((out / "measurement.json").read_text())
    low, high = wilson_interval(measurement["accuracy"], measurement["images"])
    assert f"{low:.2%} to {high:.2%}" in card
    assert f"{measurement['mean_class_accuracy']:.2%}" in card
    assert str(out.parent) not in card
    assert "/" + "tmp" not in card
    assert "What was not measured" in card
    assert result.stdout.splitlines()[0].startswith(
        f"{measurement['accuracy']:.1%} of {measurement['images']} test images right"
    )
    assert result.stdout.splitlines()[1] == str(out / "README.md")


def test_the_front_matter_is_what_the_hub_reads(finished):
    out, _ = finished
    cards = pytest.importorskip("huggingface_hub").ModelCard.load(out / "README.md")
    (result,) = [row for row in cards.data.eval_results if row.metric_name == "accuracy"]
    measurement = json.loads((out / "measurement.json").read_text())
    assert result.task_type == "image-classification"
    assert result.dataset_split == "test"
    assert result.metric_value == pytest.approx(measurement["accuracy"], abs=1e-6)
    assert cards.data.pipeline_tag == "image-classification"


def test_a_finished_fit_tells_its_result_again_and_trains_nothing(
    finished, network, phinas_in_process
):
    out, result = finished
    before = {
        path: path.stat().st_mtime_ns
        for path in out.rglob("*")
        if path.is_file() and path.name != ".lock"
    }
    repeated = phinas_in_process(*fit_arguments(network, out))
    assert repeated.returncode == 0, repeated.stderr
    assert repeated.stdout == result.stdout
    assert {
        path: path.stat().st_mtime_ns
        for path in out.rglob("*")
        if path.is_file() and path.name != ".lock"
    } == before
    fit_result = json.loads(phinas_in_process(*fit_arguments(network, out, "--json")).stdout)
    assert fit_result["accuracy"] == json.loads((out / "measurement.json").read_text())["accuracy"]
    assert fit_result["weights"] == str(out / "weights.safetensors")


def test_other_settings_are_refused_with_the_difference(finished, network, phinas_in_process):
    out, _ = finished
    result = phinas_in_process(*fit_arguments(network, out, "--epochs", "5", "--seed", "1"))
    assert result.returncode == 2
    assert "recipe.epochs was 3 and is now 5" in result.stderr
    assert "seed was 0 and is now 1" in result.stderr
    assert "use a new --out" in result.stderr
    other = phinas_in_process(*fit_arguments("mobilenet_v2", out))
    assert other.returncode == 2
    assert "spec was" in other.stderr


@pytest.mark.slow
def test_another_number_of_threads_or_an_onnx_file_is_no_other_fit(
    finished, network, tmp_path, phinas
):
    out = shutil.copytree(finished[0], tmp_path / "copy")
    result = phinas(*fit_arguments(network, out, "--threads", "2", "--onnx"))
    assert result.returncode == 0, result.stderr
    assert (out / "model.onnx").stat().st_size > 10_000


def start(*arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "phinas", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(condition, process, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, f"ended before it was disturbed: {process.communicate()[1]}"
        assert time.monotonic() < deadline
        time.sleep(0.01)


# Every step is left as a snapshot, so a kill finds one.
FREQUENT_CHECKPOINTS = (
    "--epochs",
    "20",
    "--set",
    "checkpoint_minutes=0.00001",
    "--set",
    "recipe.ema_fraction=0.1",
    "--set",
    "recipe.min_crop_area=0.5",
)
INFREQUENT_CHECKPOINTS = (*FREQUENT_CHECKPOINTS, "--set", "checkpoint_minutes=5")


@pytest.fixture(scope="module")
def undisturbed(network, tmp_path_factory, phinas_in_process):
    out = tmp_path_factory.mktemp("undisturbed") / "fit"
    result = phinas_in_process(*fit_arguments(network, out, *INFREQUENT_CHECKPOINTS))
    assert result.returncode == 0, result.stderr
    return out


def assert_same(one, two):
    assert (one / "weights.safetensors").read_bytes() == (two / "weights.safetensors").read_bytes()
    assert (one / "curve.csv").read_text() == (two / "curve.csv").read_text()


@pytest.mark.slow
def test_a_killed_fit_that_is_carried_on_ends_with_the_same_bits(
    network, undisturbed, tmp_path, phinas_in_process
):
    out = tmp_path / "killed"
    for _ in range(2):
        process = start(*fit_arguments(network, out, *FREQUENT_CHECKPOINTS))
        wait_for((out / "checkpoints" / "training.checkpoint.previous").exists, process)
        time.sleep(0.3)
        process.kill()
        process.communicate()
        assert not (out / "measurement.json").exists()
    result = phinas_in_process(*fit_arguments(network, out, *INFREQUENT_CHECKPOINTS))
    assert result.returncode == 0, result.stderr
    before, resumed, _ = result.stderr.partition("carried on after")
    assert resumed
    assert "training:" not in before  # epochs of before are no news
    assert_same(out, undisturbed)
    assert not (out / "checkpoints").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_a_snapshot_and_says_how_to_go_on(
    number, code, network, tmp_path, phinas_in_process, undisturbed
):
    """No snapshot is due for five minutes: the signal takes it."""
    out = tmp_path / "stopped"
    process = start(*fit_arguments(network, out, *INFREQUENT_CHECKPOINTS))
    for line in process.stderr:
        if line.startswith("training: 2 of"):
            break
    process.send_signal(number)
    _, result = process.communicate(timeout=60)
    assert process.returncode == code
    assert "training: done" not in result
    assert "interrupted: everything so far is kept; carry on with: the same command again" in result
    assert (out / "checkpoints" / "training.checkpoint").exists()
    repeated = phinas_in_process(*fit_arguments(network, out, *INFREQUENT_CHECKPOINTS))
    assert repeated.returncode == 0, repeated.stderr
    assert_same(out, undisturbed)


def test_a_second_fit_in_one_directory_is_refused(network, tmp_path, phinas_in_process):
    out = tmp_path / "held"
    process = start(*fit_arguments(network, out, "--epochs", "2000"))
    wait_for((out / "fit.yaml").exists, process)
    result = phinas_in_process(*fit_arguments(network, out, "--epochs", "2000"))
    process.kill()
    process.communicate()
    assert result.returncode == 3
    assert f"is in use by process {process.pid}" in result.stderr


WRONG_CALLS = {
    "a frozen random backbone": (
        ["--freeze-backbone"],
        "without weights would freeze what is random",
    ),
    "an unknown recipe": (
        ["--recipe", "fast"],
        "is no recipe; write one of quick, proxy, validate, full",
    ),
    "an unknown key": (
        ["--set", "recipe.epoch=3"],
        "recipe.epoch: unknown key; did you mean `epochs`",
    ),
    "no epochs": (["--epochs", "0"], "recipe.epochs: 0 should be greater than or equal to 1"),
    "batches of one": (
        ["--batch-size", "1"],
        "recipe.batch_size: 1 image alone has no batch statistics",
    ),
    "more pixels than there are": (
        ["--resolution", "32"],
        "the images have 8; set it lower, or --upsample",
    ),
    "fewer than the strides": (
        ["--resolution", "2"],
        "2 pixels of a side are below the network's total stride 8",
    ),
    "weights that are not there": (
        ["--weights", "none.safetensors"],
        "none.safetensors: there is no such file",
    ),
    "a mean without a deviation": (
        ["--set", "mean=[0.5]"],
        "mean and std: one number of each channel in both",
    ),
    "channels that the images have not": (
        ["--set", "mean=[0.5, 0.5, 0.5]", "--set", "std=[0.5, 0.5, 0.5]"],
        "mean and std: 3 channels are given and the images have 1",
    ),
    "weights that are a folder": (
        ["--weights", "."],
        ".: is a directory; name the safetensors file in it",
    ),
    "a device that is not there": (["--device", "cuda:77"], "cuda:77 is not there"),
    "no threads": (["--threads", "0"], "threads: 0 should be greater than or equal to 1"),
    "an odd seed": (["--seed", "-1"], "seed: -1 should be greater than or equal to 0"),
    "no time": (["--max-minutes", "0"], "recipe.max_minutes: 0.0 should be greater than 0"),
}


@pytest.mark.parametrize("name", WRONG_CALLS)
def test_a_wrong_call_says_what_is_wrong_and_leaves_nothing(name, network, tmp_path, monkeypatch):
    options, message = WRONG_CALLS[name]
    monkeypatch.chdir(tmp_path)
    assert message in error_of(network, tmp_path / "out", options)
    assert not (tmp_path / "out").exists()


def error_of(network, out, options):
    """The command in this process: what it says, where it ends with 2."""
    cli_result = click.testing.CliRunner().invoke(
        cli, [*map(str, fit_arguments(network, out, *options))]
    )
    assert isinstance(cli_result.exception, InputError), cli_result.output
    return str(cli_result.exception)


def test_a_directory_of_somebody_else_is_left_alone(network, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_text("mine")
    assert "holds 'cat.jpg' and is not a fit" in error_of(network, tmp_path / "photos", [])
    assert [path.name for path in (tmp_path / "photos").iterdir()] == ["cat.jpg"]


def test_a_training_that_diverges_is_told_in_one_line(network, tmp_path):
    with pytest.raises(
        NoResultError,
        match=r"^the loss was nan in epoch 1 of 3; lower the learning rate, with a new --out$",
    ):
        run_fit(network, tmp_path / "out", **{"recipe.learning_rate": 1e30})
    assert not (tmp_path / "out" / "measurement.json").exists()


def test_a_fit_that_runs_out_of_time_keeps_what_it_has_and_says_so(network, tmp_path):
    fit_result = run_fit(
        network, tmp_path / "out", **{"recipe.epochs": 2000, "recipe.max_minutes": 0.01}
    )
    assert fit_result["stop_reason"] == "deadline"
    assert "ended at its time limit" in summary_line(fit_result)
    assert "**ended early** (deadline)" in (tmp_path / "out" / "README.md").read_text()


def test_a_network_sees_no_more_pixels_than_there_are_unless_they_are_enlarged(tmp_path):
    larger = replace(SPEC, resolution=12)
    (tmp_path / "larger.yaml").write_text(larger.to_yaml())
    sides = {
        "stored": {},
        "enlarged": {"data.upsample": True},
        "asked": {"data.upsample": True, "resolution": 16},
    }
    resolutions = {}
    for name, settings in sides.items():
        run_fit(tmp_path / "larger.yaml", tmp_path / name, **settings, **{"recipe.epochs": 1})
        resolutions[name] = load_spec(str(tmp_path / name / "spec.yaml")).resolution
    assert resolutions == {"stored": 8, "enlarged": 12, "asked": 16}


def test_a_seed_is_a_training_of_its_own(network, tmp_path):
    for name, seed in {"one": 1, "again": 1, "two": 2}.items():
        run_fit(network, tmp_path / name, seed=seed, **{"recipe.epochs": 1})
    one, repeated, two = (
        load_file(tmp_path / name / "weights.safetensors") for name in ("one", "again", "two")
    )
    assert all(torch.equal(one[name], repeated[name]) for name in one)
    assert not torch.equal(one["classifier.weight"], two["classifier.weight"])


def test_images_of_one_group_stay_in_one_split_and_the_card_says_what_that_does_to_the_interval(
    network, tmp_path
):
    generator = np.random.default_rng(0)
    arrays = {
        "images": generator.integers(0, 256, (240, 8, 8), dtype=np.uint8),
        "labels": np.arange(240) % 2,
    }
    np.savez(tmp_path / "images.npz", object=np.arange(240) // 4, **arrays)
    settings = {
        "recipe": "quick",
        "recipe.batch_size": 32,
        "threads": 1,
        "device": "cpu",
        "data.group_by": "object",
    }
    front.fit(
        str(network),
        data=str(tmp_path / "images.npz"),
        out=tmp_path / "out",
        settings=settings,
        quiet=True,
    )
    assert (
        "images of one group are right or wrong together"
        in (tmp_path / "out" / "README.md").read_text()
    )


def test_a_python_call_says_what_the_record_holds(network, tmp_path):
    fit_result = run_fit(network, tmp_path / "out", **{"recipe.epochs": 1})
    assert fit_result["epochs"] == 1
    assert fit_result["interval"][0] <= fit_result["accuracy"] <= fit_result["interval"][1]
    record = parse_yaml((tmp_path / "out" / "fit.yaml").read_text())
    assert record["config"]["recipe"]["epochs"] == 1
    assert ArchSpec.from_dict(record["spec"]).spec_id == fit_result["spec_id"]


@pytest.mark.slow
def test_two_processes_of_torchrun_end_as_one_does(network, tmp_path, phinas_in_process):
    plain = replace(SPEC, dropout=0.0, drop_path=0.0)
    (tmp_path / "plain.yaml").write_text(plain.to_yaml())
    arguments = (
        "fit",
        tmp_path / "plain.yaml",
        "--data",
        "digits",
        *SHORT,
        "--set",
        "recipe.learning_rate=0.05",
    )
    alone = phinas_in_process(*arguments, "--out", tmp_path / "one")
    together = subprocess.run(
        [
            *(
                sys.executable,
                "-m",
                "torch.distributed.run",
                "--nproc-per-node",
                "2",
                "-m",
                "phinas",
            ),
            *map(str, (*arguments, "--out", tmp_path / "two")),
        ],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert alone.returncode == together.returncode == 0, alone.stderr + together.stderr
    assert len(together.stdout.splitlines()) == 2, "only the first process speaks"
    assert "warning" not in together.stderr
    one, two = (load_file(tmp_path / name / "weights.safetensors") for name in ("one", "two"))
    assert all(torch.allclose(one[name], two[name], atol=2e-3, rtol=2e-3) for name in one)
    first, second = (
        json.loads((tmp_path / name / "measurement.json").read_text())["accuracy"]
        for name in ("one", "two")
    )
    assert first == pytest.approx(second, abs=0.01)


@pytest.mark.parametrize("function", [front.resume, front.report])
def test_verbs_of_runs_say_what_a_fit_is(network, tmp_path, function):
    run_fit(network, tmp_path / "out", **{"recipe.epochs": 1})
    with pytest.raises(
        InputError, match="is of `phinas fit`, which carries on when it is called as before"
    ):
        function(tmp_path / "out")
