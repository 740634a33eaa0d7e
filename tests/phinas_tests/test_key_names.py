"""Errors name configuration keys as the user wrote them."""

import pytest

import phinas
from phinas.cli import cli
from phinas.errors import run_command
from phinas.options.key_names import write_names

NAMES = {
    "search.pruner": "--pruner",
    "search.reward": "--reward",
    "search.recipe": "--recipe",
    "search.recipe.epochs": "--epochs",
    "data.upsample": "--upsample",
    "search.trials": "--set search.trials",
    "seed": "--seed",
}


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("search.pruner: median is wrong", "--pruner: median is wrong"),
        ("search.pruner, search.reward: both", "--pruner, --reward: both"),
        ("a: 1; set search.pruner: none", "a: 1; set --pruner none"),
        ("a: 1; set data.upsample: true to enlarge", "a: 1; set --upsample to enlarge"),
        ("a: 1 (search.recipe.epochs)", "a: 1 (--epochs)"),
        ("a: set search.trials: 3", "a: set --set search.trials=3"),
        ("--set search.trials: 0 is too small", "--set search.trials: 0 is too small"),
        ("seed: the seed is wrong", "--seed: the seed is wrong"),
        ("r: seed was 0 and is now 1; the seed was", "r: --seed was 0 and is now 1; the seed was"),
        ("/runs/search.reward/x: is a file", "/runs/search.reward/x: is a file"),
        ("search.reward_exponent: 3", "search.reward_exponent: 3"),
        ("c.yaml: search.pruner: x is wrong", "c.yaml: --pruner: x is wrong"),
        (
            "--set search.prunner: unknown key; did you mean search.pruner, a or search.reward?",
            "--set search.prunner: unknown key; did you mean search.pruner, a or search.reward?",
        ),
    ],
)
def test_keys_of_a_message_become_options(message, expected):
    assert write_names(message, NAMES, flags={"data.upsample"}) == expected


def test_keys_of_a_message_become_arguments_of_a_function():
    names = {"data.upsample": "upsample", "search.reward": "reward"}
    message = "a: 1; set data.upsample: true, or search.reward: soft"
    assert write_names(message, names) == "a: 1; set upsample=True, or reward=soft"


def error_of(capsys, *arguments):
    assert run_command(cli, list(arguments)) == 2
    return capsys.readouterr().err.splitlines()[-1]


def test_a_check_after_parsing_names_the_option(capsys, tmp_path):
    message = error_of(
        capsys, "run", "--data", "digits", "--space", "tiny2", "--out", str(tmp_path / "run")
    )
    assert message.startswith("phinas: --space: 'tiny2' is neither a file nor an included space")


def test_a_key_that_a_configuration_file_sets_keeps_its_name(capsys, tmp_path):
    config = tmp_path / "c.yaml"
    config.write_text("data: {source: digits}\nsearch: {space: tiny2}\n")
    message = error_of(capsys, "run", str(config), "--out", str(tmp_path / "run"))
    assert message.startswith("phinas: search.space: 'tiny2' is neither")


def test_only_the_limit_that_is_set_is_named(capsys, tmp_path):
    message = error_of(
        capsys,
        *("run", "--data", "digits", "--space", "tiny", "--max-flops", "10"),
        *("--out", str(tmp_path / "run")),
    )
    assert message.startswith("phinas: --max-flops: no network")
    assert "min" not in message


@pytest.mark.parametrize(
    ("setting", "suggestions"),
    [
        ("recipe.lr=0.1", ["search.recipe.learning_rate", "scaling.recipe.learning_rate"]),
        ("search.recipe.lr=0.1", ["search.recipe.learning_rate"]),
        ("search.recipe.wd=0.1", ["search.recipe.weight_decay"]),
        ("image_size=32", ["data.image_size"]),
        ("finalists=3", ["search.finalists"]),
        ("validaton.seeds=3", ["validation.seeds"]),
    ],
)
def test_an_unknown_setting_suggests_full_keys(setting, suggestions, capsys, tmp_path):
    message = error_of(
        capsys, "run", "--data", "digits", "--set", setting, "--out", str(tmp_path / "run")
    )
    assert "unknown key; did you mean " in message
    for suggestion in suggestions:
        assert suggestion in message


@pytest.mark.parametrize(
    ("word", "command"), [("train", "fit"), ("evaluate", "validate"), ("benchmark", "latency")]
)
def test_the_word_of_another_tool_suggests_the_command(word, command, capsys):
    assert f"did you mean {command!r}?" in error_of(capsys, word)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda out: phinas.run(5, out=out), "data: 5 is not a legal value; use text, a path or"),
        (lambda _: phinas.run("digits", out=3), "out: 3 is not a legal value; use text or a path"),
        (lambda out: phinas.run("digits", out=out, settings=3), "settings: 3 is not a legal value"),
        (lambda out: phinas.run("digits", out=out, space="tiny2"), "space: 'tiny2' is neither"),
        (lambda _: phinas.describe(5), "spec: 5 is not a legal value; use text or a path"),
        (lambda _: phinas.describe("efficientnet_b0", compare="x"), "compare: 'x' is neither"),
        (lambda _: phinas.latency("efficientnet_b0", batch_sizes=4), "batch_sizes: 4 is not"),
        (lambda _: phinas.latency("efficientnet_b0", device="gpu"), "device: 'gpu' is not"),
        (lambda _: phinas.resume(7), "directory: 7 is not a legal value; use text or a path"),
    ],
)
def test_a_wrong_argument_of_a_function_is_an_error_that_names_it(call, message, tmp_path):
    with pytest.raises(phinas.InputError) as error_info:
        call(tmp_path / "run")
    assert str(error_info.value).startswith(message)
    assert not (tmp_path / "run").exists()


def test_a_path_is_a_legal_source_of_a_network(tmp_path):
    path = tmp_path / "net.yaml"
    path.write_text("base: 1\n")
    with pytest.raises(phinas.InputError, match=r"net\.yaml: "):
        phinas.describe(path)
