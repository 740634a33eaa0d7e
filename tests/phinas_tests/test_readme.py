"""The examples of the README and of the documentation are valid, and the README is short."""

import contextlib
import io
import re
import shlex
import sys
from pathlib import Path

import click
import pytest
import yaml

from phinas.cli import cli
from phinas.space.presets import PRESETS
from phinas.space.search_spaces.definitions import SPACES
from phinas.space.search_spaces.encoding import encode
from phinas.space.search_spaces.space_format import space_from_dict
from phinas.space.yaml_io import parse_yaml

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
DOCS = sorted((ROOT / "docs").rglob("*.md"))
PAGES = {str(path.relative_to(ROOT)): path.read_text("utf-8") for path in [README, *DOCS]}
SPACES_PAGE = PAGES["docs/how_to/spaces.md"]


def command_lines(text):
    """Each `phinas` command of the code blocks, with its continuation lines, without comments."""
    for fenced in text.split("```")[1::2]:
        for line in fenced.replace("\\\n", " ").splitlines():
            if re.match(r"(\$ )?phinas \w", line):
                yield line.removeprefix("$ ").partition(" # ")[0]


def code_blocks(language, text):
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.M | re.S)


COMMANDS = [(name, line) for name, text in PAGES.items() for line in command_lines(text)]


@pytest.mark.parametrize("text", code_blocks("yaml", SPACES_PAGE))
def test_search_spaces_of_the_documentation_are_valid(text):
    space = space_from_dict(parse_yaml(text))
    assert space.decode(encode(space, space.base)) == space.base


def test_python_example_for_spaces_prints_what_its_comments_say():
    (code,) = (text for text in code_blocks("python", SPACES_PAGE) if "CostTables" in text)
    comments = re.findall(r"# (.*?)\.?$", code, flags=re.M)
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        exec(compile(code, "spaces.md", "exec"), {})
    size, num_networks = output.getvalue().splitlines()[0].split()
    assert comments[0] == f"{size} choices are {num_networks} networks"
    assert comments[1] == f"{output.getvalue().splitlines()[1]}, exactly"


@pytest.mark.parametrize("page", PAGES)
def test_python_examples_have_valid_syntax(page):
    for code in code_blocks("python", PAGES[page]):
        compile(code, page, "exec")


@pytest.mark.slow
def test_the_strategy_of_the_documentation_passes_its_checks(tmp_path, monkeypatch):
    strategy, check, *_ = code_blocks("python", PAGES["docs/how_to/strategies.md"])
    (tmp_path / "my_strategies.py").write_text(strategy)
    monkeypatch.syspath_prepend(str(tmp_path))
    exec(compile(check, "strategies.md", "exec"), {})
    monkeypatch.delitem(sys.modules, "my_strategies")


def test_the_table_of_the_documentation_scores_choices_that_are_numbers(tmp_path, monkeypatch):
    *_, code = code_blocks("python", PAGES["docs/how_to/strategies.md"])
    (tmp_path / "table.json").write_text('{"3|6": 0.9, "5|6": 0.8}')
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(compile(code, "strategies.md", "exec"), names)
    choices = {"stages.0.kernel": 5, "stages.0.expansion": 6}
    assert names["look_up"](None, 10, 0, choices) == 0.8
    assert names["look_up"].optimum == 0.9


@pytest.mark.parametrize(("page", "line"), COMMANDS)
def test_every_command_line_uses_existing_commands_and_options(page, line):
    arguments = shlex.split(line)[1:]
    command = cli.commands[arguments[0]]
    if isinstance(command, click.Group):
        command = command.commands[arguments[1]]
    flags = {flag for option in command.params for flag in option.opts} | {"--help"}
    assert {word for word in arguments if word.startswith("--")} <= flags, page


def test_the_page_on_spaces_names_every_search_space_and_the_number_of_presets():
    assert all(f"`{name}`" in SPACES_PAGE for name in SPACES)
    assert f"one of {len(PRESETS)} published networks" in SPACES_PAGE


@pytest.mark.parametrize("page", PAGES)
def test_pages_have_no_placeholder_names(page):
    # Names that begin with PHINAS_ or RAY_ are environment variables.
    assert not re.findall(r"\b(?!PHINAS_|RAY_)[A-Z]+_[A-Z]+\b", PAGES[page])


def test_the_readme_is_short():
    assert len(PAGES["README.md"].splitlines()) <= 150


@pytest.mark.parametrize("page", PAGES)
def test_links_to_files_are_not_dead(page):
    for link in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", PAGES[page]):
        assert (ROOT / page).parent.joinpath(link).exists(), link


def test_the_navigation_of_the_site_has_every_page():
    def paths(entry):
        if isinstance(entry, str):
            yield entry
        else:
            for value in entry.values() if isinstance(entry, dict) else entry:
                yield from paths(value)

    navigation = yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))["nav"]
    assert sorted(paths(navigation)) == sorted(
        str(path.relative_to(ROOT / "docs")) for path in DOCS
    )
