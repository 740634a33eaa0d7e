"""`phinas list`: the names that options accept."""

import json

import pytest

import phinas
from phinas.cli import cli
from phinas.errors import run_command
from phinas.experiment.schema.recipe import RECIPES
from phinas.nas.strategies import STRATEGIES
from phinas.space.presets import PRESETS
from phinas.space.search_spaces.definitions import SPACES


def test_all_tables_are_listed_with_a_summary_of_each_name():
    tables = phinas.list_names().tables
    assert list(tables["presets"]) == list(PRESETS)
    assert list(tables["spaces"]) == list(SPACES)
    assert list(tables["recipes"]) == list(RECIPES)
    assert list(tables["strategies"]) == list(STRATEGIES)
    assert {"evaluators", "pruners", "sources"} < set(tables)
    assert all(summary for table in tables.values() for summary in table.values())


def test_a_preset_is_listed_with_its_size():
    assert (
        phinas.list_names("presets")
        .tables["presets"]["efficientnet_b0"]
        .startswith("5.3M parameters, 0.39B FLOPs at 224 px; EfficientNet, arXiv:1905.11946")
    )


def test_the_command_prints_the_requested_tables_only(capsys):
    assert run_command(cli, ["list", "spaces", "recipes"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "spaces (for --space)"
    assert "recipes (for --recipe)" in lines
    assert not any("efficientnet_b0" in line.split()[:1] for line in lines)


def test_the_command_prints_json(capsys):
    assert run_command(cli, ["list", "pruners", "--json"]) == 0
    assert "median" in json.loads(capsys.readouterr().out)["pruners"]


def test_an_unknown_table_suggests_the_closest(capsys):
    assert run_command(cli, ["list", "space"]) == 2
    assert "'space' is not a table of names; did you mean 'spaces'?" in capsys.readouterr().err
    with pytest.raises(phinas.InputError, match="tables: 'space' is not a table"):
        phinas.list_names("space")


@pytest.mark.parametrize(
    ("words", "completion"),
    [
        ("phinas run --tr", "--trials"),
        ("phinas run --space t", "tiny"),
        ("phinas search --strategy hill", "hill_climbing"),
        ("phinas desc", "describe"),
    ],
)
def test_a_shell_completes_options_and_names(words, completion, monkeypatch, capsys):
    monkeypatch.setenv("_PHINAS_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split()) - 1))
    with pytest.raises(SystemExit):
        run_command(cli, [])
    completions = [line.partition(",")[2] for line in capsys.readouterr().out.splitlines()]
    assert completion in completions
