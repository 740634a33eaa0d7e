"""Tests of the strict YAML reader."""

import math
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phinas.space.yaml_io import MAX_BYTES, YamlError, dump_yaml, parse_yaml, read_yaml

ALIAS_BOMB = "a: &a [x, x]\n" + "".join(
    f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)

scalars = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(codec="utf-8"))
    | st.sampled_from(
        [
            "1e-3",
            "1E5",
            "010",
            "1:30",
            "0x1f",
            "yes",
            "null",
            "~",
            "<<",
            "=",
            "2020-01-01",
            ".5e1",
            "1_0",
        ]
    ),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=40)
@given(scalars)
def test_data_round_trips_through_yaml(data):
    assert parse_yaml(dump_yaml(data)) == data
    assert parse_yaml(dump_yaml(data).encode()) == data


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1E5", 1e5),
        ("-2.5e+3", -2500.0),
        ("+.5", 0.5),
        ("1_000", 1000),
        ("-7", -7),
        ("0", 0),
        ("010", "010"),
        ("1:30", "1:30"),
        ("2020-01-01", "2020-01-01"),
        ("true", True),
        ("~", None),
    ],
)
def test_scalars_are_read_as_written(text, value):
    actual = parse_yaml(f"a: {text}")["a"]
    assert actual == value
    assert type(actual) is type(value)


def test_nan_is_read_as_a_number():
    assert math.isnan(parse_yaml("a: .nan")["a"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3", "line 3, column 1: duplicate key 'a'"),
        ("a: {b: 1, b: 2}", "line 1, column 11: duplicate key 'b'"),
        (ALIAS_BOMB, "line 2, column 8: an alias .* is not allowed"),
        (
            "a: !!python/object:os.system x",
            "line 1, column 4: a tag .*python/object.* is not allowed",
        ),
        ("a: !!python/object/apply:os.system ['true']", "line 1, column 4: a tag"),
        ("a: !!bool x", "line 1, column 4: a tag"),
        ("a: !!int ''", "line 1, column 4: a tag"),
        ("a: !!timestamp x", "line 1, column 4: a tag"),
        ("!!set [1]", "line 1, column 1: a tag"),
        ("a:\n\tb: 1", "line 2, column 1: a tab is not allowed here; use spaces"),
        ("a: [1,\n", "line 2, column 1: expected"),
        ("a: b: c", "line 1, column 5: mapping values are not allowed here"),
        ("? [1]\n: 2", r"line 1, column 3: \[1\] cannot be a key"),
        ("? {a: 1}\n: 2", "line 1, column 3: .* cannot be a key"),
        ("~: 1", "line 1, column 1: None cannot be a key"),
        ("a: 1\n---\nb: 2", "line 2, column 1: but found another document"),
        ("a: 1\0", "unacceptable character #x0000"),
        ("[" * 50_000, "is nested too deeply"),
        ("a: " + "1" * 5000, "Exceeds the limit"),
        (b"a: \xff\xfe", "is not UTF-8 text .byte 3.; save it as UTF-8"),
        ("a: 1".encode("utf-16"), "is not UTF-8 text"),
        (b"#" * (MAX_BYTES + 1), "is longer than 1,048,576 bytes"),
        ("#" * (MAX_BYTES + 1), "is longer than 1,048,576 bytes"),
    ],
)
def test_ambiguous_or_unsafe_yaml_is_refused_with_its_position(text, message):
    with pytest.raises(YamlError, match=f"^{message}"):
        parse_yaml(text)


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", b"", b"\xef\xbb\xbf"])
def test_an_empty_text_is_read_as_none(text):
    assert parse_yaml(text) is None


@pytest.mark.parametrize("text", [b"\xef\xbb\xbfa: 1", "\ufeffa: 1", b"a: 1\r\n"])
def test_byte_order_mark_and_windows_line_ends_are_accepted(text):
    assert parse_yaml(text) == {"a": 1}


def test_a_directory_is_refused_with_its_name(tmp_path):
    with pytest.raises(YamlError, match=f"^{tmp_path}: is a directory"):
        read_yaml(tmp_path)


def test_an_error_in_a_file_has_its_name_and_position(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("a: 1\na: 2\n")
    with pytest.raises(YamlError, match=r"a\.yaml: line 2, column 1: duplicate key 'a'"):
        read_yaml(path)


def test_a_file_of_ten_megabytes_is_refused_before_it_is_read_completely(tmp_path):
    path = tmp_path / "a.yaml"
    with path.open("wb") as file:
        file.truncate(10_000_000)
    with pytest.raises(YamlError, match=r"a\.yaml: is longer than"):
        read_yaml(path)


def test_a_missing_file_raises_file_not_found_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_yaml(tmp_path / "none.yaml")


ANY_TEXT = st.text(max_size=40) | st.binary(max_size=40)
PUNCTUATION = st.lists(
    st.sampled_from(list("ab:-[]{}!&*?|>%@`'\"#,\n \t~<=01.e")), max_size=12
).map("".join)


@given(ANY_TEXT | PUNCTUATION)
def test_any_text_is_read_or_refused_without_other_exceptions(text):
    with suppress(YamlError):
        dump_yaml(parse_yaml(text))
