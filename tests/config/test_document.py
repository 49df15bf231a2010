"""One YAML text into plain values with lines, and nothing worse than a problem from any text."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vedette.config.document import parse

_PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-10**9, 10**9) | st.text("abc é√ 019-:#'\"{}[]", max_size=12)
    | st.floats(-1e6, 1e6).map(lambda value: round(value, 3)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abcd_", min_size=1), inner, max_size=3),
    max_leaves=12)


def messages(text: str) -> list[str]:
    return [problem.message for problem in parse(text).problems]


@given(_PLAIN)
def test_json_is_read_back_as_it_was_written(value: object) -> None:
    """Whatever JSON can say within our bounds comes back equal."""
    document = parse(json.dumps(value, ensure_ascii=False))
    assert (document.value, document.problems) == (value, [])


@given(st.text() | st.text("{}[]:,-*&!|>%@`'\"#\\ \nabcU0129.~?=<"))
def test_any_text_gives_a_document(text: str) -> None:
    """No text raises."""
    parse(text)


def test_lines_are_those_of_the_text() -> None:
    """Each key and item knows the line it stands on, counted from 1."""
    lines = parse("# head\na: 1\nb:\n  c: [1,\n   2]\n").lines
    assert (lines["a",], lines["b", "c"], lines["b", "c", 1]) == (2, 4, 5)


@pytest.mark.parametrize(("text", "value"), [
    ("a: true", True), ("a: False", False), ("a: ~", None), ("a:", None), ("a: 12", 12), ("a: -1.5", -1.5),
    ("a: 'yes'", "yes"), ("a: 3.1.1", "3.1.1"), ("a: 2026-11-21", "2026-11-21"), ("a: 1e3", "1e3"), ("a: !!str 3", "3"),
    ("a: rtsp://host:554/x", "rtsp://host:554/x"), ("a: =", "="),
])
def test_plain_scalars(text: str, value: object) -> None:
    """Scalars mean what they look like, dates included."""
    document = parse(text)
    assert (document.value, document.problems) == ({"a": value}, [])


@pytest.mark.parametrize("word", ["yes", "no", "on", "OFF"])
def test_yaml_1_1_booleans_are_problems(word: str) -> None:
    """The problem of `on` names the boolean that YAML makes of it."""
    assert messages(f"a: {word}") == [
        f"YAML reads {word} as a boolean; write true or false, or quote it if text is meant"]


@pytest.mark.parametrize("number", ["1:30", "010", "0x1F", "0b11", "1_000", ".inf", "-.inf", ".nan", "1.0e+999",
                                    "9" * 30, "1:30.5"])
def test_numbers_in_a_form_of_their_own_are_problems(number: str) -> None:
    """Base 60, octal, hexadecimal, underscores and infinities are problems, not values."""
    assert messages(f"a: {number}")[0].startswith("YAML reads this as a number in a special form")


def test_keys_are_text_as_written() -> None:
    """A label may be called `on` or 7."""
    assert parse("{on: 1, 7: 2}").value == {"on": 1, "7": 2}


@pytest.mark.parametrize("text", ["a: 1\nb: 2\na: 3\n", "{a: 1, b: 2, a: 3}"])
def test_duplicate_keys(text: str) -> None:
    """The problem of a key given twice names the line of the first, also in a flow mapping."""
    (problem,) = parse(text).problems
    assert (problem.path, problem.message) == (("a",), "duplicate key; first on line 1")


@pytest.mark.parametrize(("text", "said"), [
    ("a: &x 1\nb: *x", "aliases (*name) are not supported"),
    ("&x [*x]", "aliases (*name) are not supported"),
    ("[" * 20_000, "nested deeper than 12"),
    ("a: !!python/object:os.system x", "a tag (!name) is not supported; quote text that begins with !"),
    ("a: !!set {b}", "a tag (!name) is not supported; quote text that begins with !"),
    ("a: !!binary aGk=", "a tag (!name) is not supported; quote text that begins with !"),
    ("? [a]\n: 1", "a key must be one line of text"),
    ('a: "x\\ny"', "expected one line without control characters"),
    ('a: "x\\0y"', "expected one line without control characters"),
    ('a: "\\uD800"', "expected text in UTF-8"),
])
def test_what_is_refused(text: str, said: str) -> None:
    """Aliases, depth, foreign tags and control characters are named."""
    assert messages(text) == [said]


@pytest.mark.parametrize(("text", "line"), [("a: 1\nb: [1\n", 3), ("a: 1\n\tb: 2", 2), ("a: 1\n---\nb: 2", 2)])
def test_syntax_errors_have_their_line(text: str, line: int) -> None:
    """An unclosed list, a tab and a second document have the line of the problem."""
    (problem,) = parse(text).problems
    assert problem.message.startswith("not valid YAML: ")
    assert problem.line == line


@pytest.mark.parametrize("text", ['a: "\\UFFFFFFFF"', "%YAML 1." + "9" * 5000 + "\n---\na: 1", "a: \x07"])
def test_what_the_parser_itself_trips_over(text: str) -> None:
    """Escapes and directives that make PyYAML raise something of Python's own are syntax errors like any other."""
    assert messages(text)[0].startswith("not valid YAML: ")


@pytest.mark.parametrize(("text", "said"), [
    ("a: {b: 1", "not valid YAML: expected ',' or '}', but got '<stream end>'"),
    ("a:\n\tb: 1", "not valid YAML: found a tab, which cannot start any token"),
    ("a: !<hunter2> {b: 1", "not valid YAML: expected ',' or '}', but got '<stream end>'")])
def test_what_a_syntax_error_expects(text: str, said: str) -> None:
    """The characters that PyYAML misses are shown; text of the document is not."""
    assert messages(text) == [said]


@pytest.mark.parametrize("text", ["password: !s3cret!x y", "%TAG !s3cret! x\n%TAG !s3cret! y\n---\na: 1",
                                  "password: *s3cret", "password: 's3cret", "s3cret: 1\ns3cret: 2\n- 3"])
def test_a_syntax_error_repeats_no_text(text: str) -> None:
    """A password that YAML takes for a tag would be in the log."""
    problems = parse(text).problems
    assert problems
    assert "s3cret" not in " ".join(problem.message for problem in problems)
