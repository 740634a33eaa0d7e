"""`phinas fit`: the files of a training, resuming it, and wrong calls."""

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
from PIL import Image
from safetensors.torch import load_file

import phinas as front
from phinas.api.keywords import FitOptions
from phinas.cli import cli
from phinas.experiment.artifacts.fit import FitMeasurement, FitRecord, TrainedNetwork
from phinas.experiment.errors import InputError, NoResultError
from phinas.experiment.statistics.intervals import wilson_interval
from phinas.fit_pipeline.results import summary_line
from phinas.options.config_option import ConfigOption
from phinas.space.loading import load_spec
from phinas.space.search_spaces.loading import load_space
from phinas.training.data.prepared_dataset import read_prepared

pytestmark = pytest.mark.usefixtures("restore_torch_threads")

SPEC = load_space("tiny").adapt_to(channels=1, classes=10, resolution=8).base
SPEC = replace(SPEC, drop_path=0.1, stem_stride=2)  # timm's stem has stride 2
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
    """A finished fit and the output of its command. Copy it before changing it."""
    out = tmp_path_factory.mktemp("fits") / "done"
    result = phinas_in_process(*fit_arguments(network, out))
    assert result.returncode == 0, result.stderr
    return out, result


def test_code_of_the_model_card_loads_the_network(finished, monkeypatch, tmp_path, capsys):
    out, _ = finished
    (code,) = re.findall(r"```python\n(.*?)```", (out / "README.md").read_text(), flags=re.S)
    image = Image.fromarray(read_prepared(out / "data").test_arrays()[0][0, ..., 0])
    image.save(tmp_path / "image.jpg")
    shutil.copytree(out, tmp_path / "fit")
    (tmp_path / "image.jpg").rename(tmp_path / "fit" / "image.jpg")
    monkeypatch.chdir(tmp_path / "fit")
    names = {}
    exec(compile(code, "README.md", "exec"), names)
    assert capsys.readouterr().out.strip() in set(map(str, range(10)))
    assert names["loaded"].classes == tuple(map(str, range(10)))
    assert not names["loaded"].model.training


def test_saved_network_has_the_measured_accuracy(finished):
    out, _ = finished
    network = TrainedNetwork.read(out / "spec.yaml")
    assert load_spec(str(out / "spec.yaml")) == network.spec
    model = network.spec.build().eval()
    model.load_state_dict(load_file(out / "weights.safetensors"))
    images, labels = read_prepared(out / "data").test_arrays()
    steps = network.preprocessing
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (steps.mean, steps.std))
    images_normalized = (torch.from_numpy(images.copy()).permute(0, 3, 1, 2) / 255 - mean) / std
    with torch.inference_mode():
        right = model(images_normalized).argmax(1) == torch.from_numpy(labels.copy())
    measurement = FitMeasurement.read(out / "measurement.json").measurement
    assert measurement.split == "test"
    assert measurement.score == pytest.approx(right.double().mean().item())
    rows = table(out / "per_class_accuracy.csv")
    assert sum(int(row["images"]) for row in rows) == len(labels)
    total = sum(int(row["images"]) * float(row["accuracy"]) for row in rows)
    assert total / len(labels) == pytest.approx(measurement.score, abs=1e-4)


def test_curve_has_a_row_and_the_terminal_a_line_for_each_epoch(finished):
    out, result = finished
    rows = table(out / "curve.csv")
    measurement = FitMeasurement.read(out / "measurement.json").measurement
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3]
    assert [float(row["accuracy"]) for row in rows] == list(measurement.curve)
    lines = [
        line
        for line in result.stderr.splitlines()
        if re.match(r"training: \d of 3 epochs, .*validation accuracy \d", line)
    ]
    assert len(lines) == 3
    assert "images/s" in lines[0]


def test_model_card_has_accuracy_and_interval_and_no_path_of_this_machine(finished):
    out, result = finished
    card = (out / "README.md").read_text()
    measurement = FitMeasurement.read(out / "measurement.json").measurement
    low, high = wilson_interval(measurement.score, measurement.images)
    assert f"{low:.2%} to {high:.2%}" in card
    assert f"{measurement.balanced_accuracy:.2%}" in card
    assert str(out.parent) not in card
    assert "/" + "tmp" not in card
    assert "What was not measured" in card
    assert result.stdout.splitlines()[0].startswith(
        f"accuracy {measurement.score:.1%} on {measurement.images} test images"
    )
    assert result.stdout.splitlines()[1] == str(out / "README.md")


def test_hugging_face_hub_reads_the_front_matter(finished):
    out, _ = finished
    cards = pytest.importorskip("huggingface_hub").ModelCard.load(out / "README.md")
    (result,) = [row for row in cards.data.eval_results if row.metric_name == "accuracy"]
    measurement = FitMeasurement.read(out / "measurement.json").measurement
    assert result.task_type == "image-classification"
    assert result.dataset_split == "test"
    assert result.metric_value == pytest.approx(measurement.score, abs=1e-6)
    assert cards.data.pipeline_tag == "image-classification"


def test_repeated_call_of_a_finished_fit_prints_its_result_and_trains_nothing(
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
    measurement = FitMeasurement.read(out / "measurement.json").measurement
    assert fit_result["score"] == measurement.score
    assert fit_result["interval"] == list(measurement.interval())
    assert fit_result["weights"] == str(out / "weights.safetensors")


def test_changed_settings_are_refused_with_the_difference(finished, network, phinas_in_process):
    out, _ = finished
    result = phinas_in_process(*fit_arguments(network, out, "--epochs", "5", "--seed", "1"))
    assert result.returncode == 2
    assert "--epochs was 3 and is now 5" in result.stderr
    assert "--seed was 0 and is now 1" in result.stderr
    assert "use a new --out" in result.stderr
    other = phinas_in_process(*fit_arguments("mobilenet_v2", out))
    assert other.returncode == 2
    assert "SPEC was" in other.stderr


@pytest.mark.slow
def test_threads_and_onnx_may_change_after_the_start(finished, network, tmp_path, phinas):
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
def test_killed_fit_resumes_bit_exactly(network, undisturbed, tmp_path, phinas_in_process):
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
    before, resumed, _ = result.stderr.partition("resumed after")
    assert resumed
    assert "training:" not in before  # epochs before the interruption are not reported again
    assert_same(out, undisturbed)
    assert not (out / "checkpoints").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signal_writes_a_checkpoint_and_says_how_to_resume(
    number, code, network, tmp_path, phinas_in_process, undisturbed
):
    """The next periodic checkpoint is five minutes away, so the signal must write one."""
    out = tmp_path / "stopped"
    process = start(*fit_arguments(network, out, *INFREQUENT_CHECKPOINTS))
    for line in process.stderr:
        if line.startswith("training: 3 of"):
            break
    process.send_signal(number)
    _, result = process.communicate(timeout=60)
    assert process.returncode == code
    assert "training: done" not in result
    assert (
        "interrupted: everything so far is saved; to resume, run the same command again" in result
    )
    assert (out / "checkpoints" / "training.checkpoint").exists()
    repeated = phinas_in_process(*fit_arguments(network, out, *INFREQUENT_CHECKPOINTS))
    assert repeated.returncode == 0, repeated.stderr
    assert_same(out, undisturbed)


def test_second_fit_in_the_same_directory_is_refused(network, tmp_path, phinas_in_process):
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
        "--freeze-backbone: needs initial weights, which it freezes; give --weights",
    ),
    "the recipe for initial weights without them": (
        ["--recipe", "finetune"],
        "--recipe: finetune (and any recipe with freeze_batch_norm) needs initial weights; give "
        "--weights, or use another recipe",
    ),
    "an unknown recipe": (
        ["--recipe", "fast"],
        "--recipe: 'fast' is not a recipe; use quick (3 epochs), proxy (10 epochs)",
    ),
    "an unknown key": (
        ["--set", "recipe.epoch=3"],
        "recipe.epoch: unknown key; did you mean recipe.epochs?",
    ),
    "no epochs": (["--epochs", "0"], "--epochs: 0 is less than 1"),
    "batches of one": (
        ["--batch-size", "1"],
        "--batch-size: 1 image alone has no batch statistics",
    ),
    "more pixels than there are": (
        ["--resolution", "32"],
        "32 px exceeds the image size 8 px; lower it, or set data.upsample: true",
    ),
    "fewer than the strides": (
        ["--resolution", "2"],
        "2 px is less than the network's total stride 8",
    ),
    "weights that are not there": (
        ["--weights", "none.safetensors"],
        "none.safetensors: does not exist",
    ),
    "a mean without a deviation": (
        ["--set", "mean=[0.5]"],
        "std: has another number of channels than mean",
    ),
    "channels that the images have not": (
        ["--set", "mean=[0.5, 0.5, 0.5]", "--set", "std=[0.5, 0.5, 0.5]"],
        "mean and std: have 3 channels and the images have 1",
    ),
    "weights that are a folder": (
        ["--weights", "."],
        ".: is a directory; name the file in it",
    ),
    "a device that is not there": (["--device", "cuda:77"], "cuda:77 is not available"),
    "no threads": (
        ["--threads", "0"],
        "--threads: 0 is not a legal value; use a whole number from 1 to 256",
    ),
    "an odd seed": (["--seed", "-1"], "--seed: -1 is less than 0"),
    "no time": (["--max-minutes", "0"], "--max-minutes: 0.0 is not greater than 0"),
}


@pytest.mark.parametrize("name", WRONG_CALLS)
def test_wrong_call_is_explained_and_leaves_no_files(name, network, tmp_path, monkeypatch):
    options, message = WRONG_CALLS[name]
    monkeypatch.chdir(tmp_path)
    assert message in error_of(network, tmp_path / "out", options)
    assert not (tmp_path / "out").exists()


def error_of(network, out, options):
    """Run the command in this process, which must exit with 2, and return its message."""
    cli_result = click.testing.CliRunner().invoke(
        cli, [*map(str, fit_arguments(network, out, *options))]
    )
    assert isinstance(cli_result.exception, InputError), cli_result.output
    return str(cli_result.exception)


def test_directory_with_other_files_is_refused_and_unchanged(network, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_text("mine")
    assert "contains 'cat.jpg' and is not a fit" in error_of(network, tmp_path / "photos", [])
    assert [path.name for path in (tmp_path / "photos").iterdir()] == ["cat.jpg"]


def test_diverged_training_is_one_line(network, tmp_path):
    with pytest.raises(
        NoResultError,
        match=r"^the loss was nan in epoch 1 of 3; lower the learning rate, with a new --out$",
    ):
        run_fit(network, tmp_path / "out", **{"recipe.learning_rate": 1e30})
    assert not (tmp_path / "out" / "measurement.json").exists()


def test_fit_that_reaches_its_time_limit_writes_its_results(network, tmp_path):
    fit_result = run_fit(
        network, tmp_path / "out", **{"recipe.epochs": 2000, "recipe.max_minutes": 0.01}
    )
    assert fit_result.measurement.stop_reason == "deadline"
    assert "ended at its time limit" in summary_line(fit_result)
    assert "**ended early** (deadline)" in (tmp_path / "out" / "README.md").read_text()


def test_resolution_is_at_most_the_image_size_without_upsampling(tmp_path):
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


def test_seed_decides_the_training(network, tmp_path):
    for name, seed in {"one": 1, "again": 1, "two": 2}.items():
        run_fit(network, tmp_path / name, seed=seed, **{"recipe.epochs": 1})
    one, repeated, two = (
        load_file(tmp_path / name / "weights.safetensors") for name in ("one", "again", "two")
    )
    assert all(torch.equal(one[name], repeated[name]) for name in one)
    assert not torch.equal(one["classifier.weight"], two["classifier.weight"])


def test_model_card_says_that_groups_make_the_interval_too_narrow(network, tmp_path):
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
        "errors on test images of one group are not independent"
        in (tmp_path / "out" / "README.md").read_text()
    )


def test_python_call_returns_what_the_files_hold(network, tmp_path):
    fit_result = run_fit(network, tmp_path / "out", **{"recipe.epochs": 1})
    assert fit_result.measurement.epochs == 1
    assert fit_result.interval[0] <= fit_result.score <= fit_result.interval[1]
    record = FitRecord.read(tmp_path / "out" / "fit.yaml")
    assert record.config.recipe.epochs == 1
    assert record.spec.network_id == fit_result.network_id
    assert FitMeasurement.read(tmp_path / "out" / "measurement.json").measurement == (
        fit_result.measurement
    )


def test_keywords_are_the_options_of_the_command(network, tmp_path):
    """A keyword, a dotted key and the command line give the same training."""
    common = {"data": "digits", "quiet": True, "recipe": "quick", "device": "cpu", "threads": 1}
    settings = {"data.max_train_images": 400}
    by_keyword = front.fit(
        str(network), out=tmp_path / "a", settings=settings, epochs=1, batch_size=32, **common
    )
    by_key = run_fit(network, tmp_path / "b", **{"recipe.epochs": 1})
    assert by_keyword.measurement.loss == by_key.measurement.loss
    (command,) = [command for name, command in cli.commands.items() if name == "fit"]
    flags = {param.opts[0] for param in command.params if isinstance(param, ConfigOption)}
    keywords = {f"--{name.replace('_', '-')}" for name in FitOptions.__annotations__}
    assert keywords == flags - {"--data"}


def test_wrong_keyword_is_named(network, tmp_path):
    with pytest.raises(TypeError, match="'epoch'; did you mean 'epochs'"):
        front.fit(str(network), data="digits", out=tmp_path / "out", epoch=3)
    with pytest.raises(InputError, match=r"^epochs: 0 is less than 1"):
        front.fit(str(network), data="digits", out=tmp_path / "out", epochs=0)
    assert not (tmp_path / "out").exists()


def test_record_of_another_version_is_refused(finished, network, tmp_path, phinas_in_process):
    out = shutil.copytree(finished[0], tmp_path / "copy")
    for version, message in ((99, "format version 99 is newer"), ("x", "version: 'x' is not")):
        text = re.sub("(?m)^version: .*$", f"version: {version}", (out / "fit.yaml").read_text())
        (out / "fit.yaml").write_text(text)
        result = phinas_in_process(*fit_arguments(network, out))
        assert result.returncode == 2
        assert message in result.stderr


@pytest.mark.slow
def test_two_processes_of_torchrun_train_like_one(network, tmp_path, phinas_in_process):
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
        FitMeasurement.read(tmp_path / name / "measurement.json").measurement.score
        for name in ("one", "two")
    )
    assert first == pytest.approx(second, abs=0.01)


@pytest.mark.parametrize("function", [front.resume, front.report])
def test_commands_for_runs_name_the_command_of_a_fit_directory(network, tmp_path, function):
    run_fit(network, tmp_path / "out", **{"recipe.epochs": 1})
    with pytest.raises(InputError, match="is a directory of `phinas fit`; resume it with the same"):
        function(tmp_path / "out")


def test_terminal_and_model_card_say_the_same_number_of_leaks(network, tmp_path, capsys):
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (200, 8, 8), dtype=np.uint8)
    test = np.concatenate([pixels[:7], generator.integers(0, 256, (43, 8, 8), dtype=np.uint8)])
    labels, test_labels = np.arange(200) % 2, np.arange(50) % 2
    source = tmp_path / "images.npz"
    np.savez(source, x_train=pixels, y_train=labels, x_test=test, y_test=test_labels)
    settings = {"recipe": "quick", "recipe.batch_size": 32, "threads": 1, "device": "cpu"}
    front.fit(str(network), data=str(source), out=tmp_path / "out", settings=settings)
    leak = "7 of 50 test images (14%) are also in train, so test scores are too high"
    assert f"warning: {leak}" in capsys.readouterr().err
    assert leak in (tmp_path / "out" / "README.md").read_text()
    assert front.audit(source, quiet=True).problems[0].startswith(leak)
    front.fit(
        str(network),
        data=str(source),
        out=tmp_path / "without",
        settings=settings | {"data.drop_duplicates": True},
    )
    card = (tmp_path / "without" / "README.md").read_text()
    assert "7 training images were left out (data.drop_duplicates)" in card
    assert "also in train" not in card + capsys.readouterr().err


def test_fit_says_that_a_network_is_trained_at_the_smaller_size_of_the_images(
    tmp_path, phinas_in_process
):
    spec = tmp_path / "large.yaml"
    spec.write_text(replace(SPEC, resolution=32).to_yaml())
    arguments = fit_arguments(spec, tmp_path / "out", "--set", "recipe.epochs=1")
    result = phinas_in_process(*arguments)
    assert result.returncode == 0, result.stderr
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("note: ")]
    assert line == (
        f"note: {spec} has 32 px, which exceeds the image size 8 px, so it is trained at 8 px; "
        "--upsample (data.upsample: true) enlarges the images instead"
    )
