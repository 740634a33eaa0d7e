"""Options of the command line follow from the configuration schema, and so does the reference."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from phinas.cli import cli
from phinas.errors import run_command
from phinas.experiment.errors import InputError, SignalInterrupt
from phinas.experiment.run_dir import RunDir
from phinas.experiment.schema.config import Config
from phinas.experiment.schema.fit import FitSection
from phinas.experiment.schema.option_info import list_options
from phinas.options.command import BASIC, SAME_COMMAND, Command, GroupedOption
from phinas.options.config_building import build_config, parse_settings
from phinas.options.config_option import ConfigOption
from phinas.options.groups import FLAGS, MEANINGS
from phinas.options.names import NAME_TABLES, check_names, expand_names
from phinas.options.reference import reference_page
from phinas.options.value_type import parse_text

ROOT = Path(__file__).parents[2]


def all_commands() -> dict[str, click.Command]:
    commands = {}
    for name, command in cli.commands.items():
        if isinstance(command, click.Group):
            commands |= {f"{name} {inner}": item for inner, item in command.commands.items()}
        else:
            commands[name] = command
    return commands


COMMANDS = all_commands()
CONFIG_COMMANDS = [
    name
    for name, command in COMMANDS.items()
    if any(isinstance(param, ConfigOption) for param in command.params)
]


def options_of(name: str) -> list[click.Option]:
    return [param for param in COMMANDS[name].params if isinstance(param, click.Option)]


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """`run_command` sets handlers; give pytest its own back."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


def help_text(name: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert run_command(cli, [*name.split(), "--help"]) == 0
    return capsys.readouterr().out


def test_help_of_a_command_imports_no_heavy_library() -> None:
    code = (
        "import sys\nfrom phinas.errors import run_command\nfrom phinas.cli import cli\n"
        "run_command(cli, ['run', '--help'])\n"
        "heavy = {'torch', 'optuna', 'numpy', 'pandas', 'matplotlib', 'sklearn', 'scipy'}\n"
        "print(sorted(heavy & {*sys.modules}), file=sys.stderr)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stderr.strip() == "[]"
    assert "--strategy" in result.stdout


def cpu_seconds(*arguments: str) -> float:
    """CPU time of a Python process, which other processes on the machine hardly change."""
    start = os.times()
    subprocess.run([sys.executable, *arguments], capture_output=True, check=True)
    end = os.times()
    return end.children_user - start.children_user + end.children_system - start.children_system


def test_help_of_a_command_takes_at_most_five_times_as_long_as_its_libraries() -> None:
    """Measured: 3.5 to 4 times, 0.44 s on a slow machine."""
    libraries = min(cpu_seconds("-c", "import click, pydantic, yaml") for _ in range(5))
    assert min(cpu_seconds("-m", "phinas", "run", "--help") for _ in range(5)) < 5 * libraries


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_has_a_text_in_a_group(name: str) -> None:
    for option in options_of(name):
        assert isinstance(option, GroupedOption), option.opts
        first_line = (option.help or "").splitlines()[0]
        assert first_line[0].isupper(), option.opts
        assert first_line.endswith("."), option.opts


@pytest.mark.parametrize("name", CONFIG_COMMANDS)
def test_an_option_of_a_key_shows_default_values_unit_and_key(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "110")
    text = " ".join(help_text(name, capsys).split())
    for option in options_of(name):
        if not isinstance(option, ConfigOption):
            continue
        info = option.info
        if not name.startswith("bench"):
            assert MEANINGS.get(info.key, info.meaning) in text
        assert f"Key: {info.key}." in text
        if not (option.is_flag or name.startswith("bench")):
            assert f"Values: {expand_names(info.values)}." in text
        if info.unit:
            assert f"Unit: {info.unit}." in text
        is_in_recipe = ".recipe." in f".{info.key}"
        if not (info.is_required or option.is_flag or is_in_recipe or name.startswith("bench")):
            assert f"Default: {info.default_text}." in text


@pytest.mark.parametrize("name", ["run", "scale", "fit"])
def test_the_default_epochs_are_those_of_the_recipe(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "110")
    text = " ".join(help_text(name, capsys).split())
    epochs = text.partition(" --epochs N ")[2]
    assert epochs.startswith("Number of passes over the training images")
    assert epochs.partition("Default: ")[2].startswith("that of the recipe.")


@pytest.mark.parametrize("name", CONFIG_COMMANDS)
def test_an_option_is_named_like_its_key_and_no_other_option_is(name: str) -> None:
    flags = [option.opts[0] for option in options_of(name)]
    assert len(flags) == len(set(flags))
    for option in options_of(name):
        if isinstance(option, ConfigOption):
            last_part = option.key.rpartition(".")[2].replace("_", "-")
            assert option.opts[0] == FLAGS.get(option.key, f"--{last_part}")


def test_a_flag_means_the_same_key_of_a_section_in_all_commands() -> None:
    names: dict[str, set[str]] = {}
    for name in CONFIG_COMMANDS:
        for option in options_of(name):
            if isinstance(option, ConfigOption):
                names.setdefault(option.opts[0], set()).add(option.key.rpartition(".")[2])
    assert {flag: keys for flag, keys in names.items() if len(keys) > 1} == {}


@pytest.mark.parametrize("width", [80, 110])
@pytest.mark.parametrize("name", COMMANDS)
def test_help_fits_the_terminal(
    name: str, width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    for line in help_text(name, capsys).splitlines():
        assert len(line) <= width


def test_the_list_of_commands_shows_each_summary_in_full(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for words in (["--help"], ["bench", "--help"]):
        assert run_command(cli, words) == 0
        text = capsys.readouterr().out
        assert "..." not in text.partition("Commands:")[2]


def test_help_of_run_begins_with_the_ten_options_of_a_beginner(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = help_text("run", capsys)
    headings = [line for line in text.splitlines() if line.endswith(":") and line[0] != " "]
    assert headings == [
        "Basic options:",
        "Data:",
        "Search:",
        "Scaling and family:",
        "Hardware and run:",
        "General options:",
    ]
    basic = [option for option in options_of("run") if option.group == BASIC]
    assert len(basic) == 10
    assert {"--out", "--data", "--trials"} < {option.opts[0] for option in basic}


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("search.trials", "60", 60),
        ("search.trials", "6.5", "6.5"),
        ("search.trials", "many", "many"),
        ("search.max_flops", "300M", 3e8),
        ("search.max_flops", "2.5e3k", 2.5e6),
        ("search.max_flops", "300MB", "300MB"),
        ("run.trial_timeout_minutes", "5k", "5k"),
        ("search.reward_exponent", "auto", "auto"),
        ("search.reward_exponent", "-0.05", -0.05),
        ("search.reward", "hard", "hard"),
        ("search.recipe", "full", "full"),
        ("search.recipe", "{name: full, epochs: 3}", {"name": "full", "epochs": 3}),
        ("scaling.phi", "-1,0.5, 2", [-1.0, 0.5, 2.0]),
        ("scaling.flops", "200M,4e8", [2e8, 4e8]),
        ("scaling.coefficients", "1.2,1.1,1.15", [1.2, 1.1, 1.15]),
        ("scaling.coefficients", "runs/a", "runs/a"),
        ("scaling.grid_step", "0.1", 0.1),
        ("scaling.grid_step", "0.1,0.1,0.2", [0.1, 0.1, 0.2]),
        ("validation.controls", "depth,paper", ["depth", "paper"]),
        ("data.horizontal_flip", "false", False),
        ("data.horizontal_flip", "auto", "auto"),
        ("run.workers", "auto", "auto"),
        ("data.source", "12", "12"),
    ],
)
def test_text_becomes_a_value_by_the_type_of_its_key(key: str, text: str, value: object) -> None:
    parsed = parse_text(text, list_options(Config)[key].annotation)
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize("arguments", [["--phi", "-1,0.5,2"], ["--phi", "-1", "0.5", "2"]])
def test_phi_sets_the_family_with_commas_or_blanks(arguments: list[str]) -> None:
    words = ["--data", "digits", "--out", "x", *arguments]
    with COMMANDS["run"].make_context("run", words) as context:
        options = {name: value for name, value in context.params.items() if "__" in name}
        config = build_config(None, (), options, use_quick_config=False)
    assert config.scaling.phi == [-1.0, 0.5, 2.0]
    assert config.scaling.grid_phi is None


def test_options_override_the_file_and_set_overrides_options(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("data: {source: digits}\nsearch: {trials: 3, finalists: 2}\n")
    config = build_config(
        path,
        ("search.trials=7",),
        {"search__trials": 5, "run__seed": 4, "run__device": None},
        use_quick_config=False,
    )
    assert (config.search.trials, config.search.finalists, config.run.seed) == (7, 2, 4)


def test_a_setting_without_a_value_is_refused() -> None:
    with pytest.raises(InputError, match=r"--set: 'search\.trials' has no value; write KEY=VALUE"):
        parse_settings(("search.trials",))


@pytest.mark.parametrize("name", NAME_TABLES)
def test_every_name_of_a_table_has_a_summary(name: str) -> None:
    table = NAME_TABLES[name]()
    assert len(table) >= 3
    assert all(summary.strip() for summary in table.values())


@pytest.mark.parametrize("root", [Config, FitSection])
def test_every_placeholder_in_the_schema_has_a_table(root: type) -> None:
    for info in list_options(root).values():
        text = expand_names(info.values)
        assert not any(f"{{{name}}}" in text for name in NAME_TABLES)
        assert "{" not in text.replace("{name: full, epochs: 50}", "")


def test_a_mistyped_name_is_reported_as_written_with_the_closest_one() -> None:
    def config(**search: str) -> Config:
        return Config.model_validate({"data": {"source": "digits"}, "search": search})

    with pytest.raises(InputError) as caught:
        check_names(config(strategy="bayesain"), {"search.strategy": "--strategy"})
    message = str(caught.value)
    assert message.startswith("--strategy: 'bayesain' is not a legal value (did you mean 'bayes")
    assert message.endswith("or package.module:Sampler")
    check_names(config(strategy="mine:Sampler", evaluator="mine:score"), {})


def test_the_reference_page_is_current() -> None:
    """Renew it with `python -m phinas.options.reference > docs/configuration.md`."""
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert page == reference_page()


def test_the_reference_page_has_every_key() -> None:
    page = reference_page()
    for key, info in list_options(Config).items():
        name = key.rpartition("recipe.")[2]
        assert info.is_section or f"| `{name}` | {info.meaning} |" in page


def stopped_command(**settings: object) -> click.Command:
    """A command with --out that is interrupted at once."""

    def stop(**_: object) -> None:
        raise SignalInterrupt(2)

    return Command(
        "stopped",
        callback=stop,
        params=[GroupedOption(["--out"]), click.Argument(["directory"], required=False)],
        **settings,
    )


@pytest.fixture
def run_directory(tmp_path: Path) -> str:
    run = RunDir(tmp_path / "run")
    run.path.mkdir()
    run.config.write_text("data: {source: digits}\n")
    return str(run.path)


@pytest.mark.parametrize("arguments", [["--out"], []])
def test_an_interrupted_run_says_how_to_resume_it(
    arguments: list[str], run_directory: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(stopped_command(), [*arguments, run_directory]) == 130
    assert f"to resume, run `phinas resume {run_directory}`" in capsys.readouterr().err


def test_an_interrupted_command_that_resumes_itself_says_so(
    run_directory: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(stopped_command(resume=SAME_COMMAND), ["--out", run_directory]) == 130
    assert "to resume, run the same command again" in capsys.readouterr().err


def test_an_interrupted_command_without_a_run_wrote_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(stopped_command(), ["--out", str(tmp_path / "none")]) == 130
    assert "nothing was written" in capsys.readouterr().err


def test_a_full_disk_names_the_run_and_what_resumes_it(
    run_directory: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(**_: object) -> None:
        raise OSError(28, "No space left on device")

    command = Command("full", callback=fail, params=[GroupedOption(["--out"])])
    assert run_command(command, ["--out", run_directory]) == 5
    message = capsys.readouterr().err
    assert f"phinas: {run_directory}: No space left on device; free space" in message
    assert f"then run `phinas resume {run_directory}`" in message


def test_a_full_disk_without_a_run_asks_for_the_same_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(**_: object) -> None:
        raise OSError(28, "No space left on device")

    command = Command("full", callback=fail, params=[GroupedOption(["--out"])])
    assert run_command(command, ["--out", str(tmp_path / "none")]) == 5
    assert "then run the same command again" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["bench"]])
def test_a_group_without_a_command_prints_its_help(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    run_command(cli, arguments)
    output = capsys.readouterr()
    assert (output.out + output.err).startswith("Usage: phinas")
