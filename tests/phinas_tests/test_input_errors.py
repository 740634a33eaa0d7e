"""Wrong calls, configurations and data: exit 2, one message with the value and the remedy, no
traceback, nothing written.
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
def _signals() -> Iterator[None]:
    """`run_command` sets handlers; give pytest its own back."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with good and bad things in it."""
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    for folder in ("one/a", "two/a", "two/b"):
        (tmp_path / folder).mkdir(parents=True)
        for index in range(12):
            pixels = generator.integers(0, 256, (20, 20, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / folder / f"{index}.png")
    png = (tmp_path / "two/a/3.png").read_bytes()
    (tmp_path / "two/a/3.png").write_bytes(png[: len(png) // 2])
    (tmp_path / "empty").mkdir()
    (tmp_path / "strange").mkdir()
    (tmp_path / "strange/notes.txt").write_text("mine")
    (tmp_path / "spec.yaml").write_text("stages: [{width: 0, depth: 1}]\n")
    (tmp_path / "sizes.yaml").write_text(
        f"base: {{resolution: 8, {_SMALL}}}\nglobal: {{resolution: [8, 64]}}\n"
    )
    (tmp_path / "space.yaml").write_text("base: efficientnet_b0\nstages: {kernal: [3, 5]}\n")
    for name, text in CONFIGURATIONS.items():
        (tmp_path / name).write_text(text)
    return tmp_path


_SMALL = "stem_stride: 1, stages: [{width: 8, depth: 1}]"
CONFIGURATIONS = {
    "typo.yaml": "data: {source: digits}\nsearch: {trails: 3}\n",
    "type.yaml": "data: {source: digits}\nsearch: {trials: many}\n",
    "negative.yaml": "data: {source: digits}\nsearch: {target_cost: -3}\n",
    "unit.yaml": "data: {source: digits}\nsearch: {target_cost: 300M}\n",
    "gate.yaml": "data: {source: digits}\nsearch: {min_flops: 9, max_flops: 3}\n",
    "tab.yaml": "data:\n\tsource: digits\n",
    "void.yaml": "",
}

# the call (a good --out is added where it has none), what the message holds
WRONG_CALLS: dict[str, tuple[list[str], list[str]]] = {
    "a missing path": (["run", "--data", "nowhere"], ["'nowhere'", "does not exist", "digits"]),
    "an empty folder": (
        ["run", "--data", "empty"],
        ["empty", "put the images of each class into a folder"],
    ),
    "a single class": (["run", "--data", "one"], ["one class (a)", "at least two"]),
    "a truncated image": (["run", "--data", "two"], ["a/3.png", "truncated", "--skip-bad-images"]),
    "an unknown config key": (
        ["run", "typo.yaml"],
        ["typo.yaml: search.trails", "did you mean `trials`"],
    ),
    "a wrong type": (["run", "type.yaml"], ["search.trials", "'many'", "integer"]),
    "a negative target": (["run", "negative.yaml"], ["search.target_cost", "-3", "greater than 0"]),
    "a target with a unit": (
        ["run", "--data", "digits", "--target-cost", "300M"],
        ["--target-cost", "'300M'", "plain number like 3e8"],
    ),
    "a target with a unit in a file": (
        ["run", "unit.yaml"],
        ["search.target_cost", "'300M'", "number"],
    ),
    "a weight above zero": (
        ["run", "--data", "digits", "--reward-exponent", "0.07"],
        ["search.reward_exponent: 0.07", "less than or equal to 0"],
    ),
    "a weight that is a word": (
        ["run", "--data", "digits", "--reward-exponent", "much"],
        ["--reward-exponent", "'much'", "nor 'auto'"],
    ),
    "a weight to be estimated for the hard reward": (
        ["run", "--data", "digits", "--reward-exponent", "auto", "--reward", "hard"],
        ["search.reward_exponent: auto", "the hard reward a number"],
    ),
    "a weight to be estimated from too few": (
        ["run", "--data", "digits", "--reward-exponent", "auto", "--trials", "10"],
        ["search.reward_exponent: auto needs 24 trials and there are 10", "raise trials"],
    ),
    "a target for a front": (
        ["run", "--data", "digits", "--reward", "pareto", "--target-cost", "3e5"],
        ["search.target_cost: 300000", "no meaning for a Pareto front", "leave it out"],
    ),
    "an unknown reference": (
        ["run", "--data", "digits", "--set", "search.reference=efficientnet_b00"],
        [
            "search.reference",
            "'efficientnet_b00'",
            "did you mean 'efficientnet_b0'",
            "none, or auto",
        ],
    ),
    "an unknown cost": (
        ["run", "--data", "digits", "--cost", "ms"],
        ["search.cost: 'ms'", "'latency'"],
    ),
    "a closed gate": (["run", "gate.yaml"], ["search.min_flops", "above max_flops"]),
    "a tab": (["run", "tab.yaml"], ["tab.yaml", "line 2", "tab"]),
    "an empty configuration": (["run", "void.yaml"], ["void.yaml", "empty", "data"]),
    "a missing configuration": (["run", "gone.yaml"], ["gone.yaml", "no such"]),
    "a directory as configuration": (["run", "empty"], ["empty", "directory"]),
    "a gate that nobody meets": (
        ["search", "--data", "digits", "--space", "tiny", "--max-flops", "1000"],
        ["tiny", "the nearest has", "widen"],
    ),
    "an output directory that is something else": (
        ["run", "--data", "digits", "--out", "strange"],
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
    "a spec that cannot be built": (
        ["describe", "spec.yaml"],
        ["stages.0.width: 0", "whole number from 1"],
    ),
    "an unknown preset": (["describe", "efficientnet_b9"], ["efficientnet_b9", "did you mean"]),
    "a misspelt space": (
        ["run", "--data", "digits", "--space", "tinny"],
        ["'tinny'", "did you mean 'tiny'"],
    ),
    "a wrong space file": (
        ["run", "--data", "digits", "--space", "space.yaml"],
        ["space.yaml", "kernal", "did you mean 'kernel'"],
    ),
    "a space of larger images than there are": (
        ["run", "--data", "digits", "--space", "sizes.yaml"],
        ["search.resolution", "candidates see 64 pixels", "the images have 8", "upsample"],
    ),
    "a resolution where the space decides it": (
        ["run", "--data", "digits", "--space", "sizes.yaml", "--resolution", "8"],
        ["resolution: 8", "decides among 8, 64", "leave one of the two out"],
    ),
    "a home of nobody": (
        ["describe", "~nosuchuser/spec.yaml"],
        ["begins with ~", "write the path out"],
    ),
    "an unknown strategy": (
        ["run", "--data", "digits", "--strategy", "tp"],
        ["'tp'", "bayesian, random, tpe, evolution"],
    ),
    "an unknown verb": (["rum"], ["'rum'", "did you mean 'run'"]),
    "an unknown option": (["run", "--dat", "digits"], ["--dat"]),
    "no output directory": (["run", "--data", "digits"], ["--out"]),
    "no data": (["search"], ["--data", "missing"]),
    "a device that is not there": (
        ["run", "--data", "digits", "--space", "tiny", "--upsample", "--device", "cuda:99"],
        ["cuda:99", "cpu"],
    ),
    "a device that is none": (
        ["run", "--data", "digits", "--device", "gpu"],
        ["run.device", "'gpu'"],
    ),
    "no images to time": (
        ["latency", "efficientnet_b0", "--batch-size", "0"],
        ["--batch-size: 0", "whole number from 1"],
    ),
    "half an image to time": (
        ["latency", "efficientnet_b0", "--batch-size", "1,1.5"],
        ["--batch-size: 1.5", "whole number from 1"],
    ),
    "no threads": (
        ["latency", "efficientnet_b0", "--threads", "0"],
        ["--threads: 0", "leave it out"],
    ),
    "a device to time on that is not there": (
        ["latency", "efficientnet_b0", "--device", "cuda:99"],
        ["--device: cuda:99", "cpu"],
    ),
    "a device to time on that is none": (
        ["latency", "efficientnet_b0", "--device", "cuda:x"],
        ["--device: 'cuda:x'", "auto"],
    ),
    "a resolution that is too low": (
        ["latency", "efficientnet_b0", "--resolution", "4"],
        ["resolution: 4", "total stride 32"],
    ),
    "nothing to time": (["latency"], ["SPEC"]),
    "an unknown network to time": (
        ["latency", "efficientnet_b0", "efficientnet_b9"],
        ["efficientnet_b9", "did you mean"],
    ),
    "a negative seed": (["run", "--data", "digits", "--seed", "-1"], ["run.seed", "-1"]),
    "a huge seed": (["run", "--data", "digits", "--seed", str(2**40)], ["run.seed", str(2**40)]),
    "no trials": (["run", "--data", "digits", "--trials", "0"], ["search.trials", "0"]),
    "words for trials": (["run", "--data", "digits", "--trials", "abc"], ["--trials", "abc"]),
    "endless trials": (["run", "--data", "digits", "--trials", "inf"], ["--trials", "inf"]),
    "a setting that is none": (["run", "--data", "digits", "--set", "trials"], ["KEY=VALUE"]),
    "a setting of nothing known": (
        ["run", "--data", "digits", "--set", "search.trails=3"],
        ["search.trails", "`trials`"],
    ),
    "a setting inside a value": (
        ["run", "--data", "digits", "--set", "data.source.x=3"],
        ["data.source.x"],
    ),
    "networks larger than the images": (
        ["search", "--data", "digits", "--space", "small_images"],
        ["32 pixels", "data.upsample: true"],
    ),
    "a resolution that cannot grow": (
        ["run", "--data", "digits", "--space", "tiny", "--resolution", "8"],
        ["gamma", "data.upsample: true"],
    ),
    "an evaluator that is not there": (
        ["run", "--data", "digits", "--space", "tiny", "--upsample", "--evaluator", "os:nothing"],
        ["os:nothing", "can't be imported"],
    ),
    "an evaluator that is a word": (
        ["run", "--data", "digits", "--space", "tiny", "--evaluator", "best"],
        ["'best'", "package.module:function"],
    ),
    "a pruner that is none": (
        ["run", "--data", "digits", "--pruner", "halvin"],
        ["search.pruner", "'halvin'", "'halving'"],
    ),
    "a pruner of one epoch": (
        ["run", "--data", "digits", "--pruner", "median", "--epochs", "1"],
        ["search.pruner", "search.recipe.epochs", "pruner: none"],
    ),
    "a pruner of a function that reports nothing": (
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
        ["search.pruner", "math:hypot reports nothing", "report(epoch, accuracy)"],
    ),
    "a batch of what is not timed": (
        ["run", "--data", "digits", "--set", "search.latency_batch_size=4"],
        ["search.latency_batch_size", "4 is for cost: latency, not flops"],
    ),
    "a negative number of retries": (
        ["run", "--data", "digits", "--set", "run.max_retries=-1"],
        ["run.max_retries", "-1"],
    ),
    "a failure that is none": (
        ["run", "--data", "digits", "--set", "run.retry_on=[nan]"],
        ["run.retry_on.0", "'nan'", "'exception'"],
    ),
    "a run that is none": (["resume", "empty"], ["empty", "not a run"]),
    "a run that is nowhere": (["report", "gone"], ["gone", "does not exist"]),
    "scaling nothing": (["scale"], ["--baseline"]),
    "scaling a run and options": (
        ["scale", "empty", "--seed", "3"],
        ["takes run.seed from the run", "options of the scaling"],
    ),
    "a search with a baseline": (
        ["search", "--data", "digits", "--baseline", "efficientnet_b0"],
        ["efficientnet_b0", "nothing to search"],
    ),
    "a baseline that is nowhere": (
        ["scale", "--baseline", "mine.yaml", "--data", "digits"],
        ["mine.yaml"],
    ),
}


@pytest.mark.parametrize("name", WRONG_CALLS)
def test_wrong_input_is_told_in_one_message_and_leaves_nothing(
    name: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, expected = WRONG_CALLS[name]
    if (
        arguments[0] in ("run", "search")
        and "--out" not in arguments
        and name != "no output directory"
    ):
        arguments = [*arguments, "--out", "made"]
    if name == "a baseline that is nowhere":
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


def test_a_target_under_soft_is_said_to_change_nothing(
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
            "rewards "
            "alike" in output
        ) == expected


def test_bad_images_may_be_skipped_and_are_counted(
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
