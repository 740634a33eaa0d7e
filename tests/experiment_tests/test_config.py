"""The configuration: each wrong key is reported in one line with its value and the legal ones."""

import re

import pytest

from phinas.experiment.errors import InputError
from phinas.experiment.schema.config import (
    Config,
    FitSection,
    RunSection,
    check_resumable,
    config_from_dict,
    config_from_text,
    flatten_section,
    load_config,
    merge_config,
)
from phinas.experiment.schema.option_info import keys_on_resume, list_options
from phinas.space.yaml_io import dump_yaml

REQUIRED_KEYS = ("data.source", "spec")
MINIMAL = config_from_text("data: {source: digits}", source="c.yaml")


def config(text: str) -> Config:
    return config_from_text("data: {source: digits}\n" + text, source="c.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "search: {trails: 3}",
            "search.trails: unknown key; did you mean search.trials?",
        ),
        (
            "trails: 3",
            "trails: unknown key; did you mean search.trials?",
        ),
        (
            "search: {recipe: {epoch: 3}}",
            "search.recipe.epoch: unknown key; did you mean search.recipe.epochs?",
        ),
        (
            "serach: {}",
            "serach: unknown key; did you mean search?",
        ),
        (
            "zzzz: 1",
            "zzzz: unknown key; known keys: version, name, metric, run, data, search, "
            "scaling, validation",
        ),
        (
            "run: {integer: 3}",
            f"run.integer: unknown key; known keys: {', '.join(RunSection.model_fields)}",
        ),
        (
            "1: 2",
            "1: unknown key; known keys: version, name, metric, run, data, search, scaling, "
            "validation",
        ),
        (
            "run: {workers: x}",
            "run.workers: 'x' is not a legal value; use a whole number from 1 to 256 or auto",
        ),
        (
            "run: {workers: true}",
            "run.workers: True is not a legal value; use a whole number from 1 to 256 or auto",
        ),
        (
            "run: {workers: 0}",
            "run.workers: 0 is not a legal value; use a whole number from 1 to 256 or auto",
        ),
        (
            "run: {workers: 257}",
            "run.workers: 257 is not a legal value; use a whole number from 1 to 256 or auto",
        ),
        (
            "run: {executor: thread}",
            "run.executor: 'thread' is not a legal value; use processes, inline or ray",
        ),
        (
            "run: {device: gpu}",
            "run.device: 'gpu' is not a device; use auto, cpu, cuda, cuda:N or mps",
        ),
        (
            "run: {seed: -1}",
            "run.seed: -1 is less than 0; use a whole number of at least 0 and below 4294967296",
        ),
        (
            "run: {seed: 99999999999}",
            "run.seed: 99999999999 is not less than 4294967296; use a whole number of at "
            "least 0 and below 4294967296",
        ),
        (
            "run: {trial_timeout_minutes: 0}",
            "run.trial_timeout_minutes: 0 is not greater than 0; use a number above 0",
        ),
        (
            "run: {trial_timeout_minutes: .inf}",
            "run.trial_timeout_minutes: inf is not a finite number; use a number above 0",
        ),
        (
            "run: []",
            "run: [] is not a mapping of keys to values; write the keys of this section",
        ),
        (
            "run:",
            "run: None is not a mapping of keys to values; write the keys of this section",
        ),
        (
            "search: {recipe: 3}",
            "search.recipe: 3 is not a mapping of keys to values; use quick (3 epochs), proxy (10 "
            "epochs), validate (20 epochs), full (150 epochs) or a mapping such as {name: full, "
            "epochs: 50}",
        ),
        (
            "search: {recipe: {epochs: 0}}",
            "search.recipe.epochs: 0 is less than 1; use a whole number of at least 1",
        ),
        (
            "search: {recipe: {learning_rate: 0}}",
            "search.recipe.learning_rate: 0 is not greater than 0; use a number above 0",
        ),
        (
            "search: {recipe: {learning_rate: -1e-3}}",
            "search.recipe.learning_rate: -0.001 is not greater than 0; use a number above 0",
        ),
        (
            "search: {trials: -1}",
            "search.trials: -1 is less than 1; use a whole number of at least 1",
        ),
        (
            "search: {trials: .inf}",
            "search.trials: inf is not a whole number; use a whole number of at least 1",
        ),
        (
            "search: {trials: .nan}",
            "search.trials: nan is not a whole number; use a whole number of at least 1",
        ),
        (
            "search: {trials: 1.5}",
            "search.trials: 1.5 is not a whole number; use a whole number of at least 1",
        ),
        (
            "search: {trials: '3'}",
            "search.trials: '3' is not a whole number; use a whole number of at least 1",
        ),
        (
            "search: {trials: yes}",
            "search.trials: True is not a whole number; use a whole number of at least 1",
        ),
        (
            "search: {trials: 010}",
            "search.trials: '010' is not a whole number; use a whole number of at least 1",
        ),
        (
            "search: {target_cost: .nan}",
            "search.target_cost: nan is not a finite number; use a number above 0, such as 300M "
            "(k, M or G)",
        ),
        (
            "search: {reward_exponent: 0.1}",
            "search.reward_exponent: 0.1 is not a legal value; use a number of at most 0 or auto",
        ),
        (
            "search: {reward: sfot}",
            "search.reward: 'sfot' is not a legal value (did you mean 'soft'?); use soft, "
            "hard, absolute, accuracy or pareto",
        ),
        (
            "search: {reward: accuracy, reward_exponent: -0.1}",
            "search.reward_exponent: -0.1 has no effect with search.reward: accuracy; leave it "
            "out, or set search.reward: soft",
        ),
        (
            "search: {reward: accuracy, target_cost: 3M}",
            "search.target_cost: 3e+06 has no effect with search.reward: accuracy; leave it out, "
            "or set search.max_flops",
        ),
        (
            "search: {min_flops: 2e6, max_flops: 1e6}",
            "search.min_flops: 2,000,000 is above search.max_flops (1,000,000); lower it, or "
            "raise search.max_flops",
        ),
        (
            "scaling: {alpha: [0.5, 1]}",
            "scaling.alpha.0: 0.5 is below 1: compound scaling only enlarges the baseline "
            "(arXiv:1905.11946, eq. 3); use 1.0 or more",
        ),
        (
            "scaling: {gamma: [1.0, 12.0]}",
            "scaling.gamma.1: 12.0 is above 10: larger steps are made by phi; use 10.0 or less",
        ),
        (
            "scaling: {grid_step: 0.6}",
            "scaling.grid_step: 0.6 is larger than beta's range [1, 1.5], so only 1 is "
            "tried; lower it, or set scaling.beta: [1, 1] to keep beta constant",
        ),
        (
            "scaling: {constraint: nominal, grid_step: [0.1, 0.1, 0.6]}",
            "scaling.grid_step: 0.6 is larger than gamma's range [1, 1.5], so only 1 is "
            "tried; lower it, or set scaling.gamma: [1, 1] to keep gamma constant",
        ),
        (
            "scaling: {grid_step: 0}",
            "scaling.grid_step: 0 is not a legal value; use a number from 0.001 to 1 or a "
            "list of 3 numbers from 0.001 to 1",
        ),
        (
            "scaling: {grid_step: [0.1, 0.1]}",
            "scaling.grid_step: [0.1, 0.1] is not a legal value; use a number from 0.001 to "
            "1 or a list of 3 numbers from 0.001 to 1",
        ),
        (
            "scaling: {constraint: nominal, tolerance: 0.1}",
            "scaling.tolerance: 0.1 has no effect with scaling.constraint: nominal; set "
            "scaling.nominal_tolerance",
        ),
        (
            "scaling: {nominal_tolerance: 0.2}",
            "scaling.nominal_tolerance: 0.2 has no effect with scaling.constraint: measured; set "
            "scaling.tolerance",
        ),
        (
            "scaling: {alpha: [1, x]}",
            "scaling.alpha.1: 'x' is not a number; use two numbers from 1 to 10, the smaller first",
        ),
        (
            "scaling: {alpha: [2, 1]}",
            "scaling.alpha: [2, 1] is decreasing; write the smaller bound first",
        ),
        (
            "scaling: {alpha: [1]}",
            "scaling.alpha: [1] has fewer than 2 items; use two numbers from 1 to 10, the "
            "smaller first",
        ),
        (
            "scaling: {alpha: 1}",
            "scaling.alpha: 1 is not a list; use two numbers from 1 to 10, the smaller first",
        ),
        (
            "scaling: {phi: [1, 1]}",
            "scaling.phi: [1.0, 1.0] is not strictly increasing; write each number once, the "
            "smallest first",
        ),
        (
            "scaling: {phi: []}",
            "scaling.phi: [] has fewer than 1 items; use a list of one or more "
            "numbers from -20 to 20",
        ),
        (
            "scaling: {coefficients: [1.2, 1.1]}",
            "scaling.coefficients: [1.2, 1.1] is not a set of coefficients; use three "
            "numbers from 1 to 10 (alpha, beta, gamma), or the path of another run or of "
            "its coefficients.yaml",
        ),
        (
            "scaling: {coefficients: [1.2, 0.9, 1.1]}",
            "scaling.coefficients: [1.2, 0.9, 1.1] has 0.9, below 1: compound scaling only "
            "enlarges (arXiv:1905.11946, eq. 3); use 1 or more",
        ),
        (
            "scaling: {coefficients: [1, 1, 10.5]}",
            "scaling.coefficients: [1, 1, 10.5] has 10.5, above 10: larger steps are made by "
            "phi; use 10 or less",
        ),
        (
            "scaling: {coefficients: [1, .inf, 2]}",
            "scaling.coefficients: [1, inf, 2] has inf, not a finite number; use three "
            "numbers from 1 to 10 (alpha, beta, gamma), or the path of another run or of "
            "its coefficients.yaml",
        ),
        (
            "scaling: {coefficients: [1, 1.1, true]}",
            "scaling.coefficients: [1, 1.1, True] has True, not a finite number; use three "
            "numbers from 1 to 10 (alpha, beta, gamma), or the path of another run or of "
            "its coefficients.yaml",
        ),
        (
            "scaling: {coefficients: [1, 1, 1]}",
            "scaling.coefficients: [1, 1, 1] scales nothing: the network is the baseline for "
            "every phi; use at least one number above 1",
        ),
        (
            "scaling: {coefficients: ' '}",
            "scaling.coefficients: ' ' is not a set of coefficients; use three numbers from "
            "1 to 10 (alpha, beta, gamma), or the path of another run or of its "
            "coefficients.yaml",
        ),
        (
            "scaling: {coefficients: {alpha: 1}}",
            "scaling.coefficients: {'alpha': 1} is not a legal value; use three numbers from "
            "1 to 10 (alpha, beta, gamma), or the path of another run or of its "
            "coefficients.yaml",
        ),
        (
            "validation: {controls: [depth, paper, depth]}",
            "validation.controls: ['depth', 'paper', 'depth'] has 'depth' twice; write each "
            "control once",
        ),
        (
            "validation: {controls: ['']}",
            "validation.controls: [''] has an empty name; remove it, or name depth, width, "
            "resolution, paper, a network or a run",
        ),
        (
            "validation: {controls: depth}",
            "validation.controls: 'depth' is not a list; use a list of depth, width, "
            "resolution, paper, presets, timm:NAME, spec files, other runs or their "
            "coefficients.yaml",
        ),
        (
            "name: 3",
            "name: 3 is not text; use text of 1 to 80 characters",
        ),
        (
            "name: ''",
            "name: '' is empty; use text of 1 to 80 characters",
        ),
        (
            "version: 0",
            "version: 0 is not a legal value; use 1",
        ),
        (
            "version: '1'",
            "version: '1' is not a legal value; use 1",
        ),
        (
            "version: 2",
            "version: 2 is newer than this phinas reads (1); upgrade phinas",
        ),
    ],
)
def test_a_wrong_value_is_reported_with_key_value_and_legal_values(text, message):
    with pytest.raises(InputError) as caught:
        config(text)
    assert str(caught.value) == f"c.yaml: {message}"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            "{source: d, horizontal_flip: 3}",
            "data.horizontal_flip: 3 is not a legal value; use true, false or auto",
        ),
        (
            "{source: d, image_size: x}",
            "data.image_size: 'x' is not a whole number; use a whole number of at least 1",
        ),
        (
            "{source: d, validation_fraction: 0}",
            "data.validation_fraction: 0 is not greater than 0; use a number above 0 and below 1",
        ),
        (
            "{source: d, test_fraction: 1}",
            "data.test_fraction: 1 is not less than 1; use a number above 0 and below 1",
        ),
        (
            "{source: 3}",
            "data.source: 3 is not text; use a value that docs/configuration.md lists",
        ),
        (
            "{source: ''}",
            "data.source: '' is empty; use a value that docs/configuration.md lists",
        ),
        (
            "digits",
            "data: 'digits' is not a mapping of keys to values; write the keys of this section",
        ),
    ],
)
def test_a_wrong_value_in_the_data_section_is_reported_alike(data, message):
    with pytest.raises(InputError) as caught:
        config_from_text(f"data: {data}", source="c.yaml")
    assert str(caught.value) == f"c.yaml: {message}"


def test_coefficients_may_be_numbers_or_a_path_beside_the_settings_of_the_search():
    assert config(
        "scaling: {coefficients: [1, 1.1, 1.15], max_grid_members: 4}"
    ).scaling.coefficients == [
        1.0,
        1.1,
        1.15,
    ]
    assert config("scaling: {coefficients: runs/a}").scaling.coefficients == "runs/a"
    assert config("validation: {controls: []}").validation.controls == []


def test_every_wrong_key_is_reported_in_a_line_of_its_own():
    with pytest.raises(InputError) as caught:
        config_from_text("data: {sorce: x}\nsearch: {trials: 0}", source="c.yaml")
    assert str(caught.value).splitlines() == [
        "c.yaml: data.source: is missing; use a value that docs/configuration.md lists",
        "c.yaml: data.sorce: unknown key; did you mean data.source?",
        "c.yaml: search.trials: 0 is less than 1; use a whole number of at least 1",
    ]


def test_a_missing_data_section_says_what_to_write():
    with pytest.raises(
        InputError, match=r"data: is missing; a configuration needs at least `data: {source: ...}`"
    ):
        config_from_text("name: x", source="c.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "c.yaml: is empty; a configuration needs at least"),
        ("# only a comment", "c.yaml: is empty"),
        ("{}", "c.yaml: is empty"),
        ("[1, 2]", r"c.yaml: \[1, 2\] is not a mapping of sections"),
        ("hello", "c.yaml: 'hello' is not a mapping of sections"),
        ("data:\n\tsource: x", "c.yaml: line 2, column 1: a tab is not allowed here"),
        ("data: {}\ndata: {}", "c.yaml: line 2, column 1: duplicate key 'data'"),
        ("data: !!python/object:os.system {}", "c.yaml: line 1, column 7: a tag"),
    ],
)
def test_a_text_that_is_not_a_configuration_is_refused(text, message):
    with pytest.raises(InputError, match=f"^{message}"):
        config_from_text(text, source="c.yaml")


def test_a_long_value_is_not_repeated_in_full():
    with pytest.raises(InputError) as caught:
        config(f"search: {{trials: {'x' * 100_000}}}")
    assert len(str(caught.value)) < 300


def test_1e_minus_3_is_a_number():
    assert config("search: {recipe: {learning_rate: 1e-3}}").search.recipe.learning_rate == 0.001


def test_a_whole_number_may_stand_for_a_float():
    assert config("run: {trial_timeout_minutes: 5}").run.trial_timeout_minutes == 5.0


@pytest.mark.parametrize("name", ["1e-3", "010", "null", "new\nline", "🎉", "it's: #1", "\x85"])
def test_a_configuration_comes_back_equal_from_its_yaml(name):
    one = merge_config(MINIMAL.model_dump(), {"name": name, "data.source": name}, source="x")
    assert config_from_text(dump_yaml(one.model_dump()), source="x") == one


@pytest.mark.parametrize("root", [Config, FitSection])
def test_every_key_has_a_meaning_in_sentences_a_default_and_legal_values(root):
    for key, info in list_options(root).items():
        if info.is_section:
            continue
        assert re.fullmatch(r"[A-Z].*\.", info.meaning), key
        assert info.values, key
        assert info.default_text or key in REQUIRED_KEYS, key
        assert info.on_resume in ("fixed", "may change", "may grow"), key


@pytest.mark.parametrize("root", [Config, FitSection])
def test_a_key_that_names_a_dimension_says_its_unit(root):
    units = {
        "minutes": "min",
        "resolution": "px",
        "image_size": "px",
        "flops": "FLOPs",
        "params": "parameters",
        "_ms": "ms",
        "batch_size": "images",
    }
    for key, info in list_options(root).items():
        for ending, unit in units.items():
            if key.rpartition(".")[2].endswith(ending):
                assert info.unit == unit, key


def test_a_default_is_legal_and_is_shown_as_a_user_writes_it():
    defaults = {key: info.default_text for key, info in list_options(Config).items()}
    assert defaults["search.trials"] == "100"
    assert defaults["data.upsample"] == "false"
    assert defaults["search.recipe"] == "proxy"
    assert defaults["validation.recipe"] == "validate"
    assert defaults["validation.recipe.epochs"] == "20"
    assert defaults["scaling.phi"] == "[0.5, 1, 2, 3.5, 5, 6, 7]"
    assert defaults["search.max_flops"] == "no limit"


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("search.reward", "soft, hard, absolute, accuracy or pareto"),
        ("search.reward_exponent", "a number of at most 0 or auto"),
        ("run.workers", "a whole number from 1 to 256 or auto"),
        ("scaling.tolerance", "a number above 0 and at most 0.5"),
        ("scaling.flops", "a list of numbers above 0, such as 300M (k, M or G)"),
        ("data.horizontal_flip", "true, false or auto"),
        ("run.seed", "a whole number of at least 0 and below 4294967296"),
    ],
)
def test_legal_values_follow_from_the_type(key, values):
    assert list_options(Config)[key].values == values


def test_a_count_may_be_written_with_a_suffix():
    section = config("search: {max_flops: 300M}\nscaling: {flops: [0.2G, 4e2M]}")
    assert section.search.max_flops == 3e8
    assert section.scaling.flops == [2e8, 4e8]
    with pytest.raises(InputError, match="'300' is not a number; use a number above 0"):
        config("search: {max_flops: '300'}")


def test_a_key_that_is_written_on_the_command_line_is_reported_as_written():
    names = {"search.cost": "--cost", "scaling.flops": "--family-flops"}
    with pytest.raises(InputError) as caught:
        merge_config(
            MINIMAL.model_dump(),
            {"search.cost": "flop", "scaling.flops": [1.0, "many"], "run.seed": -1},
            source="configuration",
            names=names,
        )
    assert str(caught.value).splitlines() == [
        "configuration: run.seed: -1 is less than 0; use a whole number of at least 0 and below "
        "4294967296",
        "--cost: 'flop' is not a legal value (did you mean 'flops'?); use flops, params, "
        "activations or latency",
        "--family-flops: 'many' is not a number; use a list of numbers above 0, such as 300M "
        "(k, M or G)",
    ]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "does not exist; name a configuration file"),
        (lambda path: path.mkdir(), "is a directory"),
        (lambda path: path.write_bytes(b""), "is empty"),
        (lambda path: path.write_bytes(b"\xff\xfe\x00"), "is not UTF-8"),
        (lambda path: path.write_bytes(b"data: \x00"), "unacceptable character"),
        (lambda path: path.write_bytes(b"#" * 10_000_000), "is longer than"),
    ],
)
def test_a_file_that_is_not_a_configuration_is_refused_by_name(tmp_path, make, message):
    path = tmp_path / "c.yaml"
    make(path)
    with pytest.raises(InputError, match=rf"c\.yaml: {message}"):
        load_config(path)


def test_a_name_too_long_for_a_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        load_config(tmp_path / ("x" * 5000))


def test_a_configuration_file_with_a_byte_order_mark_is_read(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_bytes(b"\xef\xbb\xbfdata: {source: digits}\r\n")
    assert load_config(path) == MINIMAL


def test_overriding_sets_dotted_paths_and_checks_anew():
    assert (
        merge_config(
            MINIMAL.model_dump(), {"search.recipe.epochs": 3}, source="x"
        ).search.recipe.epochs
        == 3
    )
    with pytest.raises(InputError, match=r"^--set: search\.recipe\.epochs: 0 is less than 1"):
        merge_config(MINIMAL.model_dump(), {"search.recipe.epochs": 0}, source="--set")


@pytest.mark.parametrize("path", ["search.trials.x", "data.source.x.y"])
def test_overriding_below_a_single_value_is_refused(path):
    with pytest.raises(InputError, match=f"^--set: {path}: .* is a single value and has no keys"):
        merge_config(MINIMAL.model_dump(), {path: 1}, source="--set")


def test_overriding_leaves_the_base_as_it_was():
    base = {"data": {"source": "digits"}}
    merge_config(base, {"data.image_size": 8, "run.seed": 1}, source="--set")
    assert base == {"data": {"source": "digits"}}


def test_overriding_an_unknown_key_names_the_nearest():
    with pytest.raises(InputError, match=r"did you mean search\.trials\?"):
        merge_config(MINIMAL.model_dump(), {"search.trails": 1}, source="--set")


@pytest.mark.parametrize("path", sorted(keys_on_resume(Config, "may grow")))
def test_a_budget_may_grow_but_not_shrink(path):
    larger = merge_config(
        MINIMAL.model_dump(), {path: flatten_section(MINIMAL)[path] + 1}, source="x"
    )
    check_resumable(MINIMAL, larger, source="resume")
    with pytest.raises(
        InputError, match=rf"resume: {path} was .* \(it may only grow\)\. .*use a new --out"
    ):
        check_resumable(larger, MINIMAL, source="resume")


@pytest.mark.parametrize(
    "change",
    [
        {"name": "x"},
        {"run.workers": 2},
        {"run.trial_timeout_minutes": 1.0},
        {"run.device": "cpu"},
        {"run.max_retries": 0},
        {"run.retry_on": ["crash", "timeout"]},
        {"search.max_consecutive_failures": 3},
        {"validation.controls": ["depth"]},
    ],
)
def test_how_a_run_is_carried_out_may_change(change):
    check_resumable(
        MINIMAL, merge_config(MINIMAL.model_dump(), change, source="x"), source="resume"
    )


@pytest.mark.parametrize(
    "change",
    [
        {"run.seed": 1},
        {"data.source": "x"},
        {"search.recipe.epochs": 11},
        {"scaling.phi": [1.0]},
        {"search.target_cost": 1e6},
        {"search.pruner": "median"},
        {"metric": "macro_f1"},
    ],
)
def test_what_decides_results_may_not_change(change):
    (path,) = change
    with pytest.raises(InputError, match=f"{path} was .* and is now "):
        check_resumable(
            MINIMAL, merge_config(MINIMAL.model_dump(), change, source="x"), source="resume"
        )


def test_every_difference_is_listed():
    with pytest.raises(
        InputError, match=r"run\.seed was 0 and is now 1; data\.source was 'digits' and is now 'x'"
    ):
        check_resumable(
            MINIMAL,
            merge_config(MINIMAL.model_dump(), {"run.seed": 1, "data.source": "x"}, source="x"),
            source="resume",
        )


def test_a_configuration_can_be_made_from_plain_data():
    assert config_from_dict({"data": {"source": "digits"}}, source="x") == MINIMAL


def test_a_metric_without_images_is_an_error_since_nothing_would_compute_it():
    text = "metric: macro_f1\nsearch: {evaluator: 'mine:score'}"
    with pytest.raises(
        InputError, match=r"^c\.yaml: metric: macro_f1 has no effect without images"
    ):
        config_from_text(text, source="c.yaml")
    assert config_from_text("data: {source: digits}\n" + text, source="c").metric == "macro_f1"
