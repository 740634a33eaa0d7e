"""The Python functions: one for each command, with the same options and defaults."""

import inspect
import re
import shutil

import click
import numpy as np
import pytest

import phinas
from phinas.api.keywords import FitOptions, RunOptions, ScaleOptions, values_by_key
from phinas.cli import cli
from phinas.experiment.errors import InputError
from phinas.experiment.schema.config import Config
from phinas.experiment.schema.fit import FitSection
from phinas.experiment.schema.option_info import list_options
from phinas.options.config_option import ConfigOption, flag_name
from phinas.run_summary import RunSummary

FUNCTIONS = [name for name in phinas.__all__ if name.islower() and name != "plot"]
# `list` is a name of Python
COMMANDS = {name: "list" if name == "list_names" else name for name in FUNCTIONS}
PYTHON_ONLY = {"load", "load_model"}
KEYWORDS = {"run": RunOptions, "search": RunOptions, "plan": RunOptions, "scale": ScaleOptions}
HEADINGS = ("Args:", "Returns:", "Raises:", "Examples:")
FIT_OPTIONS = {"fit": FitOptions}


def option_keywords(command):
    """The keyword of each option of a command that sets a configuration key."""
    return {
        option.opts[0].removeprefix("--").replace("-", "_"): option.key
        for option in cli.commands[command].params
        if isinstance(option, ConfigOption)
    }


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_command_is_a_documented_function(name):
    function = getattr(phinas, name)
    assert COMMANDS[name] in cli.commands or name in PYTHON_ONLY
    docstring = inspect.getdoc(function)
    headings = ("Returns:", "Examples:") if name == "doctor" else HEADINGS
    for heading in headings:
        assert heading in docstring, heading
    for parameter in inspect.signature(function).parameters:
        assert re.search(rf"^    \*{{0,2}}{parameter}(, .*)?:", docstring, re.MULTILINE), parameter


def test_every_command_has_a_function():
    assert set(COMMANDS.values()) - PYTHON_ONLY == set(cli.commands)


def test_the_errors_that_functions_raise_can_be_caught_by_name():
    for name in set(phinas.__all__) - {*FUNCTIONS, "plot"}:
        assert issubclass(getattr(phinas, name), phinas.PhinasError), name
    with pytest.raises(phinas.InputError):
        phinas.resume("there is no such run")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_results_are_typed(name):
    annotation = inspect.signature(getattr(phinas, name)).return_annotation
    assert annotation is not inspect.Signature.empty
    assert not re.search(r"\bdict\b", str(annotation))


@pytest.mark.parametrize("name", [*KEYWORDS, *FIT_OPTIONS])
def test_keywords_are_the_options_of_the_command(name):
    keywords = set((KEYWORDS | FIT_OPTIONS)[name].__annotations__)
    named = set(inspect.signature(getattr(phinas, name)).parameters)
    assert set(option_keywords(name)) <= keywords | named


@pytest.mark.parametrize("name", ["run", "search", "plan", "scale", "fit"])
def test_defaults_in_the_docstring_are_those_of_the_schema(name):
    docstring = " ".join(inspect.getdoc(getattr(phinas, name)).split())
    options = docstring.partition("**options:")[2].partition("Returns:")[0]
    infos = list_options(FitSection if name == "fit" else Config)
    keys = option_keywords(name)
    stated = re.findall(r"\b(\w+) \((\"[\w.]+\"|[\d.]+|False)[,)]", options)
    assert len(stated) >= 4
    for keyword, default in stated:
        expected = infos[keys[keyword]].default_text
        assert default.strip('"').lower() == str(expected).lower(), keyword


@pytest.mark.slow
def test_a_search_is_a_call_with_plain_arguments(tmp_path):
    result = phinas.search(
        "digits",
        space="tiny",
        trials=2,
        epochs=1,
        resolution=8,
        recipe="quick",
        out=tmp_path / "run",
        settings={"search.finalists": 1, "search.finalist_seeds": 1, "search.reference": "none"}
        | {"search.finalist_recipe.epochs": 1, "data.upsample": True},
        quiet=True,
    )
    assert isinstance(result, RunSummary)
    assert result.baseline.flops > 0
    assert result.report.is_file()
    assert result.coefficients is None
    with pytest.raises(InputError, match="seed: cannot be used with directory"):
        phinas.scale(tmp_path / "run", seed=1)
    with pytest.raises(InputError, match="run `phinas scale` or `phinas resume` on this run first"):
        phinas.validate(tmp_path / "run")


def test_a_mistyped_keyword_names_the_closest_one(tmp_path):
    with pytest.raises(TypeError, match=r"search\(\) got an unexpected .* did you mean 'trials'"):
        phinas.search("digits", trails=5, out=tmp_path)


def test_an_illegal_value_names_the_keyword(tmp_path):
    with pytest.raises(InputError, match=r"^trials: 0 "):
        phinas.search("digits", trials=0, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_numbers_of_numpy_are_legal_values():
    options = {"trials": np.int64(3), "max_flops": np.float32(2.0), "upsample": True}
    keys = {name: name for name in options}
    values = values_by_key("search", options, keys)
    assert values == {"trials": 3, "max_flops": 2.0, "upsample": True}
    assert [type(value) for value in values.values()] == [int, float, bool]


@pytest.mark.slow
def test_scale_continues_a_run_and_refuses_an_unknown_keyword(finished_run, tmp_path):
    run = shutil.copytree(finished_run, tmp_path / "run")
    recorded = (run / "scaling" / "coefficients.yaml").read_bytes()
    assert phinas.scale(run, quiet=True).coefficients is not None
    assert (run / "scaling" / "coefficients.yaml").read_bytes() == recorded
    with pytest.raises(TypeError, match=r"scale\(\) got an unexpected .* did you mean 'epochs'"):
        phinas.scale(run, epoch=3)
    with pytest.raises(InputError, match="out: cannot be used with directory"):
        phinas.scale(run, out=tmp_path / "other")


def test_a_config_of_a_run_that_is_not_utf_8_is_named(tmp_path):
    (tmp_path / "config.yaml").write_bytes(b"name: caf\xe9\n")
    with pytest.raises(InputError, match=r"config\.yaml: is not UTF-8 text; restore the file"):
        phinas.resume(tmp_path)


def test_a_user_baseline_leaves_nothing_to_search(tmp_path):
    with pytest.raises(InputError, match="leaves nothing to search"):
        phinas.search(
            "digits", settings={"scaling.baseline": "efficientnet_b0"}, out=tmp_path / "run"
        )


def test_scale_needs_a_run_or_a_baseline():
    with pytest.raises(InputError, match="give baseline, data and out"):
        phinas.scale(data="digits")


def test_the_module_lists_its_functions():
    with pytest.raises(AttributeError, match="has no attribute 'serach'"):
        phinas.serach  # noqa: B018
    assert isinstance(cli, click.Group)
    assert flag_name("search.max_flops") == "--max-flops"
