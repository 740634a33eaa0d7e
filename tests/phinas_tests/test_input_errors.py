"""Wrong command lines, configurations and data.

The exit code is 2, the message is one line with field, value and advice, and no file is written.
"""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from phinas.cli import cli
from phinas.errors import run_command


@pytest.fixture(autouse=True)
def restore_signal_handlers() -> Iterator[None]:
    """Restore the signal handlers of pytest after `run_command` has replaced them."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with valid and invalid images, networks, spaces and configurations."""
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    for class_folder in ("one/a", "two/a", "two/b"):
        (tmp_path / class_folder).mkdir(parents=True)
        for index in range(12):
            pixels = generator.integers(0, 256, (20, 20, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / class_folder / f"{index}.png")
    png = (tmp_path / "two/a/3.png").read_bytes()
    (tmp_path / "two/a/3.png").write_bytes(png[: len(png) // 2])
    (tmp_path / "empty").mkdir()
    (tmp_path / "other_files").mkdir()
    (tmp_path / "other_files/notes.txt").write_text("notes")
    (tmp_path / "spec.yaml").write_text("stages: [{width: 0, depth: 1}]\n")
    (tmp_path / "sizes.yaml").write_text(
        f"base: {{resolution: 8, {_SMALL_NETWORK}}}\nglobal: {{resolution: [8, 64]}}\n"
    )
    (tmp_path / "space.yaml").write_text("base: efficientnet_b0\nstages: {kernal: [3, 5]}\n")
    for name, text in CONFIGURATIONS.items():
        (tmp_path / name).write_text(text)
    return tmp_path


_SMALL_NETWORK = "stem_stride: 1, stages: [{width: 8, depth: 1}]"
CONFIGURATIONS = {
    "typo.yaml": "data: {source: digits}\nsearch: {trails: 3}\n",
    "type.yaml": "data: {source: digits}\nsearch: {trials: many}\n",
    "negative.yaml": "data: {source: digits}\nsearch: {target_cost: -3}\n",
    "unit.yaml": "data: {source: digits}\nsearch: {target_cost: 300MB}\n",
    "limits.yaml": "data: {source: digits}\nsearch: {min_flops: 9, max_flops: 3}\n",
    "tab.yaml": "data:\n\tsource: digits\n",
    "empty.yaml": "",
}

# The command line, to which a valid --out is added where it has none, and parts of the message.
WRONG_COMMANDS: dict[str, tuple[list[str], list[str]]] = {
    "a missing path": (["run", "--data", "nowhere"], ["'nowhere'", "does not exist", "digits"]),
    "an empty folder": (
        ["run", "--data", "empty"],
        ["empty", "put the images of each class into a folder"],
    ),
    "a single class": (["run", "--data", "one"], ["one class (a)", "add images of another class"]),
    "a truncated image": (["run", "--data", "two"], ["a/3.png", "truncated", "--skip-bad-images"]),
    "an unknown config key": (
        ["run", "typo.yaml"],
        ["typo.yaml: search.trails", "did you mean search.trials"],
    ),
    "a wrong type": (["run", "type.yaml"], ["search.trials", "'many'", "whole number"]),
    "a negative target": (["run", "negative.yaml"], ["search.target_cost", "-3", "greater than 0"]),
    "a target with an unknown suffix": (
        ["run", "--data", "digits", "--target-cost", "300MB"],
        ["--target-cost", "'300MB'", "is not a number", "such as 300M (k, M or G)"],
    ),
    "a target with an unknown suffix in a file": (
        ["run", "unit.yaml"],
        ["search.target_cost", "'300MB'", "is not a number", "such as 300M (k, M or G)"],
    ),
    "a positive reward exponent": (
        ["run", "--data", "digits", "--reward-exponent", "0.07"],
        ["--reward-exponent: 0.07", "use a number of at most 0 or auto"],
    ),
    "a reward exponent that is not a number": (
        ["run", "--data", "digits", "--reward-exponent", "much"],
        ["--reward-exponent", "'much'", "or auto"],
    ),
    "an estimated exponent for the hard reward": (
        ["run", "--data", "digits", "--reward-exponent", "auto", "--reward", "hard"],
        ["--reward-exponent: auto", "the hard reward a number"],
    ),
    "an estimated exponent with too few trials": (
        ["run", "--data", "digits", "--reward-exponent", "auto", "--trials", "10"],
        ["--reward-exponent: auto needs 24 trials and there are 10", "raise --trials"],
    ),
    "a target cost for a Pareto search": (
        ["run", "--data", "digits", "--reward", "pareto", "--target-cost", "3e5"],
        ["--target-cost: 300000", "no effect with --reward pareto", "leave it out"],
    ),
    "an unknown reference": (
        ["run", "--data", "digits", "--set", "search.reference=efficientnet_b00"],
        [
            "search.reference",
            "'efficientnet_b00'",
            "did you mean 'efficientnet_b0'",
            "none or auto",
        ],
    ),
    "an unknown cost": (
        ["run", "--data", "digits", "--cost", "latancy"],
        ["--cost: 'latancy'", "did you mean 'latency'", "use flops, params"],
    ),
    "a minimum above the maximum": (
        ["run", "limits.yaml"],
        ["search.min_flops", "above search.max_flops"],
    ),
    "a tab": (["run", "tab.yaml"], ["tab.yaml", "line 2", "tab"]),
    "an empty configuration": (["run", "empty.yaml"], ["empty.yaml", "empty", "data"]),
    "a missing configuration": (["run", "missing.yaml"], ["missing.yaml", "does not exist"]),
    "a directory as configuration": (["run", "empty"], ["empty", "directory"]),
    "limits that exclude all networks": (
        ["search", "--data", "digits", "--space", "tiny", "--max-flops", "1000"],
        ["tiny", "the nearest has", "Widen", "--max-flops: "],
    ),
    "an output directory with other files": (
        ["run", "--data", "digits", "--out", "other_files"],
        ["notes.txt", "not a run"],
    ),
    "an output path that is a file": (
        ["run", "--data", "digits", "--out", "spec.yaml"],
        ["spec.yaml", "is a file"],
    ),
    "an output path under a file": (
        ["run", "--data", "digits", "--out", "spec.yaml/run"],
        ["spec.yaml", "is a file"],
    ),
    "a network of width 0": (
        ["describe", "spec.yaml"],
        ["stages.0.width: 0", "whole number from 1"],
    ),
    "an unknown preset": (["describe", "efficientnet_b9"], ["efficientnet_b9", "did you mean"]),
    "a misspelled space": (
        ["run", "--data", "digits", "--space", "tinny"],
        ["'tinny'", "did you mean 'tiny'"],
    ),
    "a space file with an unknown key": (
        ["run", "--data", "digits", "--space", "space.yaml"],
        ["space.yaml", "kernal", "did you mean 'kernel'"],
    ),
    "a space with a resolution above the image size": (
        ["run", "--data", "digits", "--space", "sizes.yaml"],
        ["sizes.yaml, with up to 64 px exceeds the image size 8 px", "set --upsample"],
    ),
    "a resolution for a space with several": (
        ["run", "--data", "digits", "--space", "sizes.yaml", "--resolution", "8"],
        ["resolution: 8", "searches over 8, 64", "leave one of the two out"],
    ),
    "an unknown home directory": (
        ["describe", "~nosuchuser/spec.yaml"],
        ["begins with ~", "write the full path"],
    ),
    "an unknown strategy": (
        ["run", "--data", "digits", "--strategy", "tp"],
        ["--strategy: 'tp'", "did you mean 'tpe'", "use bayesian, random, tpe, evolution"],
    ),
    "an unknown command": (["rum"], ["'rum'", "did you mean 'run'"]),
    "a setting in an unknown section": (
        ["run", "--data", "digits", "--set", "serch.trials=3"],
        ["--set serch.trials: unknown key; did you mean search.trials?"],
    ),
    "an unknown format": (
        ["export", "efficientnet_b0", "--to", "onx", "--out", "x"],
        ["--to: 'onx' is not a legal value (did you mean 'onnx'?); use onnx, torch, timm or"],
    ),
    "a missing evaluator": (
        ["bench", "strategies", "--out", "made"],
        [
            "--evaluator: is missing; use accel-nasbench:PATH, curves:FILE or "
            "package.module:function"
        ],
    ),
    "missing images": (
        ["fit", "efficientnet_b0", "--out", "made"],
        ["--data: is missing; use digits"],
    ),
    "an unknown benchmark": (["bench", "strategie"], ["did you mean 'strategies'"]),
    "an unknown option": (
        ["run", "--dat", "digits"],
        ["--dat: unknown option", "did you mean --data?"],
    ),
    "an option of phinas after the command": (
        ["run", "-q"],
        ["-q: this option precedes the command; write `phinas -q run`"],
    ),
    "an unknown option that is similar in its dashes only": (
        ["plan", "--out", "made"],
        ["--out: unknown option; see `phinas plan --help`"],
    ),
    "an unknown option without a similar one": (
        ["run", "--zzz"],
        ["--zzz: unknown option", "run --help"],
    ),
    "a missing output directory": (
        ["run", "--data", "digits"],
        ["--out: is missing", "run --help"],
    ),
    "missing data": (["search"], ["--data", "missing"]),
    "a device that the machine does not have": (
        ["run", "--data", "digits", "--space", "tiny", "--upsample", "--device", "cuda:99"],
        ["cuda:99", "cpu"],
    ),
    "an unknown device": (
        ["run", "--data", "digits", "--device", "gpu"],
        ["--device: 'gpu'", "cuda:N"],
    ),
    "a batch size of 0": (
        ["latency", "efficientnet_b0", "--batch-size", "0"],
        ["--batch-size: '0'", "whole numbers of at least 1"],
    ),
    "a fractional batch size": (
        ["latency", "efficientnet_b0", "--batch-size", "1,1.5"],
        ["--batch-size: '1,1.5'", "whole numbers of at least 1"],
    ),
    "zero threads": (
        ["latency", "efficientnet_b0", "--threads", "0"],
        ["--threads: '0' is not a legal value", "whole number of at least 1"],
    ),
    "a timing device that the machine does not have": (
        ["latency", "efficientnet_b0", "--device", "cuda:99"],
        ["--device: cuda:99", "cpu"],
    ),
    "an unknown timing device": (
        ["latency", "efficientnet_b0", "--device", "cuda:x"],
        ["--device: 'cuda:x'", "auto"],
    ),
    "a resolution that is too low": (
        ["latency", "efficientnet_b0", "--resolution", "4"],
        ["resolution: 4", "total stride 32"],
    ),
    "no network to time": (["latency"], ["SPEC"]),
    "an unknown network to time": (
        ["latency", "efficientnet_b0", "efficientnet_b9"],
        ["efficientnet_b9", "did you mean"],
    ),
    "a negative seed": (
        ["run", "--data", "digits", "--seed", "-1"],
        ["--seed: -1", "of at least 0"],
    ),
    "a huge seed": (["run", "--data", "digits", "--seed", str(2**40)], ["--seed", str(2**40)]),
    "zero trials": (["run", "--data", "digits", "--trials", "0"], ["--trials: 0"]),
    "a number of trials that is not a number": (
        ["run", "--data", "digits", "--trials", "abc"],
        ["--trials", "abc"],
    ),
    "an infinite number of trials": (
        ["run", "--data", "digits", "--trials", "inf"],
        ["--trials", "inf"],
    ),
    "a setting without a value": (["run", "--data", "digits", "--set", "trials"], ["KEY=VALUE"]),
    "a setting with an unknown key": (
        ["run", "--data", "digits", "--set", "search.trails=3"],
        ["--set search.trails: ", "did you mean search.trials?"],
    ),
    "a setting inside a value": (
        ["run", "--data", "digits", "--set", "data.source.x=3"],
        ["data.source.x"],
    ),
    "a space for larger images": (
        ["search", "--data", "digits", "--space", "mnasnet"],
        ["--space", "mnasnet cannot be used for images of 8 px", "set --upsample"],
    ),
    "a resolution that cannot grow": (
        ["run", "--data", "digits", "--space", "tiny", "--set", "scaling.gamma=[1.0, 1.5]"],
        ["gamma", "set --upsample"],
    ),
    "an evaluator that cannot be imported": (
        ["run", "--data", "digits", "--space", "tiny", "--upsample", "--evaluator", "os:nothing"],
        ["os:nothing", "cannot be imported"],
    ),
    "an unknown evaluator": (
        ["run", "--data", "digits", "--space", "tiny", "--evaluator", "best"],
        ["'best'", "package.module:function"],
    ),
    "an unknown pruner": (
        ["run", "--data", "digits", "--pruner", "halvin"],
        ["--pruner: 'halvin'", "did you mean 'halving'"],
    ),
    "a pruner with one epoch": (
        ["run", "--data", "digits", "--pruner", "median", "--epochs", "1"],
        ["--pruner", "one epoch (--epochs)", "--pruner none"],
    ),
    "a pruner with a function that reports no scores": (
        [
            "run",
            "--data",
            "digits",
            "--space",
            "tiny",
            "--pruner",
            "median",
            "--evaluator",
            "math:hypot",
        ],
        ["--pruner: ", "math:hypot reports none", "report(epoch, score)"],
    ),
    "a latency runtime without latency": (
        ["run", "--data", "digits", "--runtime", "onnxruntime"],
        ["--runtime: onnxruntime", "no effect without a measured latency"],
    ),
    "an unknown latency runtime": (
        ["latency", "efficientnet_b0", "--runtime", "tflite"],
        ["--runtime", "'tflite'", "onnxruntime-int8"],
    ),
    "a latency runtime on a device that it cannot use": (
        ["latency", "efficientnet_b0", "--runtime", "onnxruntime", "--device", "mps"],
        ["--device: mps", "runs on the CPU only"],
    ),
    "a latency batch size without latency": (
        ["run", "--data", "digits", "--set", "search.latency_batch_size=4"],
        ["--set search.latency_batch_size: 4", "no effect with --cost flops"],
    ),
    "a negative number of retries": (
        ["run", "--data", "digits", "--set", "run.max_retries=-1"],
        ["run.max_retries", "-1"],
    ),
    "an unknown failure to retry on": (
        ["run", "--data", "digits", "--set", "run.retry_on=[nan]"],
        ["--set run.retry_on: 'nan'", "crash, exception or timeout"],
    ),
    "a directory that is not a run": (["resume", "empty"], ["empty", "not a run"]),
    "a missing run": (["report", "missing"], ["missing", "does not exist"]),
    "scaling without a baseline": (["scale"], ["--baseline"]),
    "scaling a run with scaling options": (
        ["scale", "empty", "--seed", "3"],
        ["--seed: cannot be used with DIRECTORY", "scaling options"],
    ),
    "a search with a baseline": (
        ["search", "--data", "digits", "--set", "scaling.baseline=efficientnet_b0"],
        ["efficientnet_b0", "nothing to search"],
    ),
    "a missing baseline file": (
        ["scale", "--baseline", "mine.yaml", "--data", "digits"],
        ["mine.yaml"],
    ),
}


@pytest.mark.parametrize("name", WRONG_COMMANDS)
def test_wrong_input_is_an_error_in_one_line_and_leaves_no_files(
    name: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, expected = WRONG_COMMANDS[name]
    if (
        arguments[0] in ("run", "search")
        and "--out" not in arguments
        and name != "a missing output directory"
    ):
        arguments = [*arguments, "--out", "made"]
    if name == "a missing baseline file":
        arguments = [*arguments, "--out", "made"]
    before = sorted(path for path in folder.rglob("*"))
    code = run_command(cli, arguments)
    output = capsys.readouterr()
    assert code == 2, output.err
    message = output.err.splitlines()[-1]
    assert message.startswith("phinas: ")
    assert len(message) < 500
    for part in expected:
        assert part in message, message
    assert "Traceback" not in output.err
    assert output.out == ""
    assert sorted(path for path in folder.rglob("*")) == before


def test_note_says_that_a_target_cost_has_no_effect_under_the_soft_reward(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments, expected in (([], True), (["--reward", "absolute"], False)):
        assert (
            run_command(
                cli,
                [
                    "search",
                    "--data",
                    "nowhere",
                    "--target-cost",
                    "3e5",
                    "--out",
                    "made",
                    *arguments,
                ],
            )
            == 2
        )
        output = capsys.readouterr().err
        assert (
            "note: search.target_cost: 300000: under the soft reward the target multiplies all "
            "rewards by the same factor" in output
        ) == expected


@pytest.mark.slow
def test_bad_images_can_be_skipped_and_are_counted(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        "plan",
        "--data",
        "two",
        "--space",
        "tiny",
        "--set",
        "scaling.tolerance=0.1",
        "--json",
        "--skip-bad-images",
    ]
    assert run_command(cli, arguments) == 0
    images = json.loads(capsys.readouterr().out)["images"]
    assert images["train"] + images["validation"] + images["test"] == 23
    assert images["skipped"] == 1
