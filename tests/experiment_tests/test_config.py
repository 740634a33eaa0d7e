"""The configuration: every mistake is one line of path, value and remedy."""

import pytest

from phinas.experiment.errors import InputError
from phinas.experiment.schema.config import (
    INCREASABLE_KEYS,
    Config,
    check_resumable,
    config_from_dict,
    config_from_text,
    flatten_section,
    load_config,
    merge_config,
)
from phinas.space.yaml_io import dump_yaml

WHOLE = config_from_text("data: {source: digits}", source="c.yaml")


def config(text: str) -> Config:
    return config_from_text("data: {source: digits}\n" + text, source="c.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("search: {trails: 3}", "search.trails: unknown key; did you mean `trials`?"),
        (
            "search: {recipe: {epoch: 3}}",
            "search.recipe.epoch: unknown key; did you mean `epochs`?",
        ),
        ("serach: {}", "serach: unknown key; did you mean `search`?"),
        (
            "zzzz: 1",
            "zzzz: unknown key; known keys: version, name, run, data, search, scaling, validation",
        ),
        (
            "run: {integer: 3}",
            "run.integer: unknown key; known keys: seed, device, workers, threads, "
            "trials_per_gpu, deterministic, executor, "
            "storage, trial_timeout_minutes, checkpoint_minutes, "
            "max_retries, retry_on",
        ),
        (
            "1: 2",
            "1: unknown key; known keys: version, name, run, data, search, scaling, validation",
        ),
        ("run: {workers: x}", "run.workers: 'x' should be a valid integer or 'auto'"),
        ("run: {workers: true}", "run.workers: True should be a valid integer or 'auto'"),
        ("run: {workers: 0}", "run.workers: 0 is not from 1 to 256, nor auto"),
        ("run: {workers: 257}", "run.workers: 257 is not from 1 to 256, nor auto"),
        (
            "run: {executor: thread}",
            "run.executor: 'thread' should be 'processes', 'inline' or 'ray'",
        ),
        (
            "run: {device: gpu}",
            "run.device: 'gpu' is none of auto, cpu, cuda, cuda:0 (or another number), mps",
        ),
        ("run: {seed: -1}", "run.seed: -1 should be greater than or equal to 0"),
        ("run: {seed: 99999999999}", "run.seed: 99999999999 should be less than 4294967296"),
        (
            "run: {trial_timeout_minutes: 0}",
            "run.trial_timeout_minutes: 0 should be greater than 0",
        ),
        (
            "run: {trial_timeout_minutes: .inf}",
            "run.trial_timeout_minutes: inf is not a finite number",
        ),
        ("run: []", "run: [] is not a section of keys"),
        ("run:", "run: None is not a section of keys"),
        ("search: {recipe: 3}", "search.recipe: 3 is not a section of keys"),
        (
            "search: {recipe: {epochs: 0}}",
            "search.recipe.epochs: 0 should be greater than or equal to 1",
        ),
        (
            "search: {recipe: {learning_rate: 0}}",
            "search.recipe.learning_rate: 0 should be greater than 0",
        ),
        (
            "search: {recipe: {learning_rate: -1e-3}}",
            "search.recipe.learning_rate: -0.001 should be greater than 0",
        ),
        ("search: {trials: -1}", "search.trials: -1 should be greater than or equal to 1"),
        ("search: {trials: .inf}", "search.trials: inf should be a valid integer"),
        ("search: {trials: .nan}", "search.trials: nan should be a valid integer"),
        ("search: {trials: 1.5}", "search.trials: 1.5 should be a valid integer"),
        ("search: {trials: '3'}", "search.trials: '3' should be a valid integer"),
        ("search: {trials: yes}", "search.trials: True should be a valid integer"),
        ("search: {trials: 010}", "search.trials: '010' should be a valid integer"),
        ("search: {target_cost: .nan}", "search.target_cost: nan is not a finite number"),
        (
            "search: {reward_exponent: 0.1}",
            "search.reward_exponent: 0.1 should be less than or equal to 0 or 'auto'",
        ),
        (
            "search: {reward: sfot}",
            "search.reward: 'sfot' should be 'soft', 'hard', 'absolute' or 'pareto'",
        ),
        (
            "search: {min_flops: 2e6, max_flops: 1e6}",
            "search.min_flops: 2e+06 is above max_flops 1e+06; swap or widen them",
        ),
        (
            "scaling: {alpha: [0.5, 1]}",
            "scaling.alpha.0: 0.5 is below 1: compound scaling only enlarges the baseline "
            "(arXiv:1905.11946, eq. 3); "
            "begin at 1.0",
        ),
        (
            "scaling: {gamma: [1.0, 12.0]}",
            "scaling.gamma.1: 12.0 is above 10: a grid is of small steps, phi makes the large "
            "ones; write at most 10.0",
        ),
        (
            "scaling: {grid_step: 0.6}",
            "scaling.grid_step: 0.6 is larger than beta's range [1, 1.5], so only 1 is tried; "
            "lower it, or write beta: [1, 1] to leave the dimension alone",
        ),
        (
            "scaling: {constraint: nominal, grid_step: [0.1, 0.1, 0.6]}",
            "scaling.grid_step: 0.6 is larger than gamma's range [1, 1.5], so only 1 is tried; "
            "lower it, or write gamma: [1, 1] to leave the dimension alone",
        ),
        (
            "scaling: {grid_step: 0}",
            "scaling.grid_step: 0 should be greater than or equal to 0.001 or a valid list",
        ),
        (
            "scaling: {grid_step: [0.1, 0.1]}",
            "scaling.grid_step: [0.1, 0.1] should be a valid number or have at least 3 items after "
            "validation, not 2",
        ),
        (
            "scaling: {constraint: nominal, tolerance: 0.1}",
            "scaling.tolerance: 0.1 has no meaning for constraint: nominal; set nominal_tolerance",
        ),
        (
            "scaling: {nominal_tolerance: 0.2}",
            "scaling.nominal_tolerance: 0.2 has no meaning for constraint: measured; set tolerance",
        ),
        ("scaling: {alpha: [1, x]}", "scaling.alpha.1: 'x' should be a valid number"),
        ("scaling: {alpha: [2, 1]}", "scaling.alpha: [2, 1] falls; write the smaller bound first"),
        (
            "scaling: {alpha: [1]}",
            "scaling.alpha: [1] should have at least 2 items after validation, not 1",
        ),
        ("scaling: {alpha: 1}", "scaling.alpha: 1 should be a valid list"),
        (
            "scaling: {phi: [1, 1]}",
            "scaling.phi: [1.0, 1.0] does not rise strictly; write each once, the smallest first",
        ),
        (
            "scaling: {phi: []}",
            "scaling.phi: [] should have at least 1 item after validation, not 0",
        ),
        (
            "scaling: {coefficients: [1.2, 1.1]}",
            "scaling.coefficients: [1.2, 1.1] is none of the ways to give coefficients; write "
            "three numbers, [alpha, beta, "
            "gamma], or the path of another run or of its coefficients.yaml",
        ),
        (
            "scaling: {coefficients: [1.2, 0.9, 1.1]}",
            "scaling.coefficients: [1.2, 0.9, 1.1] has 0.9, below 1: compound scaling only "
            "enlarges (arXiv:1905.11946, eq. 3); "
            "1 or more",
        ),
        (
            "scaling: {coefficients: [1, 1, 10.5]}",
            "scaling.coefficients: [1, 1, 10.5] has 10.5, above 10: phi makes the large steps; "
            "write at most 10",
        ),
        (
            "scaling: {coefficients: [1, .inf, 2]}",
            "scaling.coefficients: [1, inf, 2] has inf, which is not a finite number; write three "
            "numbers, [alpha, beta, "
            "gamma], or the path of another run or of its coefficients.yaml",
        ),
        (
            "scaling: {coefficients: [1, 1.1, true]}",
            "scaling.coefficients: [1, 1.1, True] has True, which is not a finite number; write "
            "three numbers, [alpha, beta, "
            "gamma], or the path of another run or of its coefficients.yaml",
        ),
        (
            "scaling: {coefficients: [1, 1, 1]}",
            "scaling.coefficients: [1, 1, 1] scales nothing: every phi would mean the baseline; "
            "write at least one number "
            "above 1",
        ),
        (
            "scaling: {coefficients: ' '}",
            "scaling.coefficients: ' ' is none of the ways to give coefficients; write three "
            "numbers, [alpha, beta, gamma], "
            "or the path of another run or of its coefficients.yaml",
        ),
        (
            "scaling: {coefficients: {alpha: 1}}",
            "scaling.coefficients: {'alpha': 1} should be a valid list or a valid string",
        ),
        (
            "validation: {controls: [depth, paper, depth]}",
            "validation.controls: ['depth', 'paper', 'depth'] has 'depth' twice; write each "
            "control once",
        ),
        (
            "validation: {controls: ['']}",
            "validation.controls: [''] has an empty name; leave it out, or name depth, width, "
            "resolution, paper, a network or "
            "a run",
        ),
        ("validation: {controls: depth}", "validation.controls: 'depth' should be a valid list"),
        ("name: 3", "name: 3 should be a valid string"),
        ("name: ''", "name: '' should have at least 1 character"),
        ("version: 0", "version: 0 should be 1"),
        ("version: '1'", "version: '1' should be 1"),
        ("version: 2", "version: 2 is newer than this phinas reads (1); upgrade phinas"),
    ],
)
def test_a_mistake_is_told_with_path_value_and_remedy(text, message):
    with pytest.raises(InputError) as caught:
        config(text)
    assert str(caught.value) == f"c.yaml: {message}"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            "{source: d, horizontal_flip: 3}",
            "data.horizontal_flip: 3 should be a valid boolean or 'auto'",
        ),
        ("{source: d, image_size: x}", "data.image_size: 'x' should be a valid integer"),
        (
            "{source: d, validation_fraction: 0}",
            "data.validation_fraction: 0 should be greater than 0",
        ),
        ("{source: d, test_fraction: 1}", "data.test_fraction: 1 should be less than 1"),
        ("{source: 3}", "data.source: 3 should be a valid string"),
        ("{source: ''}", "data.source: '' should have at least 1 character"),
        ("digits", "data: 'digits' is not a section of keys"),
    ],
)
def test_a_mistake_in_the_data_section_is_told_alike(data, message):
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


def test_every_mistake_is_a_line_of_its_own():
    with pytest.raises(InputError) as caught:
        config_from_text("data: {sorce: x}\nsearch: {trials: 0}", source="c.yaml")
    assert str(caught.value).splitlines() == [
        "c.yaml: data.source: missing; digits, a path (class folders, Parquet, an .npz), hf:NAME "
        "or torchvision:NAME[:ROOT]",
        "c.yaml: data.sorce: unknown key; did you mean `source`?",
        "c.yaml: search.trials: 0 should be greater than or equal to 1",
    ]


def test_a_missing_data_section_says_what_to_write():
    with pytest.raises(
        InputError, match=r"data: missing; a configuration needs at least `data: {source: ...}`"
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
        ("data:\n\tsource: x", "c.yaml: line 2, column 1: a tab can't stand here"),
        ("data: {}\ndata: {}", "c.yaml: line 2, column 1: duplicate key 'data'"),
        ("data: !!python/object:os.system {}", "c.yaml: line 1, column 7: a tag"),
    ],
)
def test_a_text_that_is_no_configuration_is_refused(text, message):
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
    one = merge_config(WHOLE.model_dump(), {"name": name, "data.source": name}, source="x")
    assert config_from_text(dump_yaml(one.model_dump()), source="x") == one


def test_every_option_has_a_meaning():
    def fields(section):
        for name, field in section.model_fields.items():
            inner = field.annotation
            if isinstance(inner, type) and hasattr(inner, "model_fields"):
                yield from fields(inner)
            else:
                yield name, field.description

    assert [name for name, meaning in fields(Config) if not meaning] == []


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "there is no such configuration file"),
        (lambda path: path.mkdir(), "is a directory"),
        (lambda path: path.write_bytes(b""), "is empty"),
        (lambda path: path.write_bytes(b"\xff\xfe\x00"), "is not UTF-8"),
        (lambda path: path.write_bytes(b"data: \x00"), "unacceptable character"),
        (lambda path: path.write_bytes(b"#" * 10_000_000), "is longer than"),
    ],
)
def test_a_file_that_is_no_configuration_is_refused_by_name(tmp_path, make, message):
    path = tmp_path / "c.yaml"
    make(path)
    with pytest.raises(InputError, match=rf"c\.yaml: {message}"):
        load_config(path)


def test_a_name_too_long_for_a_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="can't be read"):
        load_config(tmp_path / ("x" * 5000))


def test_a_configuration_file_with_a_byte_order_mark_is_read(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_bytes(b"\xef\xbb\xbfdata: {source: digits}\r\n")
    assert load_config(path) == WHOLE


def test_overriding_sets_dotted_paths_and_checks_anew():
    assert (
        merge_config(
            WHOLE.model_dump(), {"search.recipe.epochs": 3}, source="x"
        ).search.recipe.epochs
        == 3
    )
    with pytest.raises(InputError, match=r"^--set: search\.recipe\.epochs: 0 should be"):
        merge_config(WHOLE.model_dump(), {"search.recipe.epochs": 0}, source="--set")


@pytest.mark.parametrize("path", ["search.trials.x", "data.source.x.y"])
def test_overriding_below_a_single_value_is_refused(path):
    with pytest.raises(InputError, match=f"^--set: {path}: .* is a single value and has no keys"):
        merge_config(WHOLE.model_dump(), {path: 1}, source="--set")


def test_overriding_leaves_the_base_as_it_was():
    base = {"data": {"source": "digits"}}
    merge_config(base, {"data.image_size": 8, "run.seed": 1}, source="--set")
    assert base == {"data": {"source": "digits"}}


def test_overriding_an_unknown_key_names_the_nearest():
    with pytest.raises(InputError, match="did you mean `trials`"):
        merge_config(WHOLE.model_dump(), {"search.trails": 1}, source="--set")


@pytest.mark.parametrize("path", INCREASABLE_KEYS)
def test_a_budget_may_grow_but_not_shrink(path):
    larger = merge_config(WHOLE.model_dump(), {path: flatten_section(WHOLE)[path] + 1}, source="x")
    check_resumable(WHOLE, larger, source="resume")
    with pytest.raises(InputError, match=rf"resume: {path} was .* and is now .*; use a new --out"):
        check_resumable(larger, WHOLE, source="resume")


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
    check_resumable(WHOLE, merge_config(WHOLE.model_dump(), change, source="x"), source="resume")


@pytest.mark.parametrize(
    "change",
    [
        {"run.seed": 1},
        {"data.source": "x"},
        {"search.recipe.epochs": 11},
        {"scaling.phi": [1.0]},
        {"search.target_cost": 1e6},
        {"search.pruner": "median"},
    ],
)
def test_what_decides_results_may_not_change(change):
    (path,) = change
    with pytest.raises(InputError, match=f"{path} was .* and is now "):
        check_resumable(
            WHOLE, merge_config(WHOLE.model_dump(), change, source="x"), source="resume"
        )


def test_every_difference_is_listed():
    with pytest.raises(
        InputError, match=r"run\.seed was 0 and is now 1; data\.source was 'digits' and is now 'x'"
    ):
        check_resumable(
            WHOLE,
            merge_config(WHOLE.model_dump(), {"run.seed": 1, "data.source": "x"}, source="x"),
            source="resume",
        )


def test_a_configuration_can_be_made_from_plain_data():
    assert config_from_dict({"data": {"source": "digits"}}, source="x") == WHOLE
