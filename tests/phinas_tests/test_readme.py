"""What the README shows does what it says."""

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
from phinas.space.search_spaces.loading import space_from_dict
from phinas.space.yaml_io import parse_yaml

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
COMMANDS = [
    line
    for fenced in README.split("```")[1::2]
    for line in fenced.splitlines()
    if line.startswith("phinas ")
]


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.M | re.S)


def test_the_space_shown_is_one():
    (text,) = blocks("yaml")
    space = space_from_dict(parse_yaml(text))
    assert space.decode(encode(space, space.base)) == space.base


def test_the_python_shown_for_spaces_prints_what_stands_behind_it():
    (code,) = (text for text in blocks("python") if "CostTables" in text)
    comments = re.findall(r"# (.*?)\.?$", code, flags=re.M)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "README.md", "exec"), {})
    size, different = printed.getvalue().splitlines()[0].split()
    assert comments[0] == f"{size} choices are {different} networks"
    assert comments[1] == f"{printed.getvalue().splitlines()[1]}, exactly"


@pytest.mark.parametrize("line", COMMANDS)
def test_every_call_shown_has_a_verb_and_options_that_exist(line):
    arguments = line.partition(" # ")[0].split()[1:]
    command = cli.commands[arguments[0]]
    if isinstance(command, click.Group):
        command = command.commands[arguments[1]]
    flags = {flag for option in command.params for flag in option.opts}
    assert {word for word in arguments if word.startswith("--")} <= flags


def test_every_shipped_space_is_named_and_the_networks_are_counted():
    assert all(f"`{name}`" in README for name in SPACES)
    assert f"one of {len(PRESETS)} published networks" in README


def test_nothing_is_left_to_fill_in():
    # the environment's variables are ours
    assert not re.findall(r"\b(?!PHINAS_)[A-Z]+_[A-Z]+\b", README)
