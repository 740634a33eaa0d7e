"""The examples of the README are valid and print what the README says."""

import contextlib
import io
import re
from pathlib import Path

import click
import pytest

from phinas.cli import cli
from phinas.space.presets import PRESETS
from phinas.space.search_spaces.definitions import SPACES
from phinas.space.search_spaces.encoding import encode
from phinas.space.search_spaces.space_format import space_from_dict
from phinas.space.yaml_io import parse_yaml

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
COMMANDS = [
    line
    for fenced in README.split("```")[1::2]
    for line in fenced.splitlines()
    if line.startswith("phinas ")
]


def code_blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.M | re.S)


@pytest.mark.parametrize("text", code_blocks("yaml"))
def test_search_spaces_of_the_readme_are_valid(text):
    space = space_from_dict(parse_yaml(text))
    assert space.decode(encode(space, space.base)) == space.base


def test_python_example_for_spaces_prints_what_its_comments_say():
    (code,) = (text for text in code_blocks("python") if "CostTables" in text)
    comments = re.findall(r"# (.*?)\.?$", code, flags=re.M)
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        exec(compile(code, "README.md", "exec"), {})
    size, num_networks = output.getvalue().splitlines()[0].split()
    assert comments[0] == f"{size} choices are {num_networks} networks"
    assert comments[1] == f"{output.getvalue().splitlines()[1]}, exactly"


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_line_of_the_readme_uses_existing_commands_and_options(line):
    arguments = line.partition(" # ")[0].split()[1:]
    command = cli.commands[arguments[0]]
    if isinstance(command, click.Group):
        command = command.commands[arguments[1]]
    flags = {flag for option in command.params for flag in option.opts}
    assert {word for word in arguments if word.startswith("--")} <= flags


def test_readme_names_every_search_space_and_the_number_of_presets():
    assert all(f"`{name}`" in README for name in SPACES)
    assert f"one of {len(PRESETS)} published networks" in README


def test_readme_has_no_placeholder_names():
    # Names that begin with PHINAS_ are environment variables.
    assert not re.findall(r"\b(?!PHINAS_)[A-Z]+_[A-Z]+\b", README)
