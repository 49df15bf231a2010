"""How a page and a help are cut into sentences."""

import pytest

from tests.support.plain_english import CODE, long_sentences, of_help, of_markdown

HELP = """usage: vedette x [-h]
                 [--model M]

Watch a camera. Then
publish it.

options:
  -h, --help  show this message
  --config F  a file; it may
              be missing. Default: none

examples:
  vedette x --model m.tflite

exit codes: 0; 65 without
a model"""


@pytest.mark.parametrize(("page", "plain"), [
    ("One. Two!\nThree?  Four", ["One.", "Two!", "Three?", "Four"]),
    ("# Head\ntext\nmore\n\nnext", ["Head", "text more", "next"]),
    ("- a\n  b\n- c\n1. d", ["a b", "c", "d"]),
    ("| a | b. c |\n|---|--:|\n| d\\|e | |", ["a", "b.", "c", "d\\|e"]),
    ("see [the page. Now](a.md#b) and ![a picture](b.svg)", ["see the page.", "Now and a picture"]),
    ("run `make a. b` or ``a ` b`` now", [f"run {CODE} or {CODE} now"]),
    ("at https://a.example/b.html. Then <http://c/>", [f"at {CODE}.", f"Then {CODE}"]),
    ("a\n```sh\nfenced. text\n```\nb", ["a", "b"]),
    ("a, e.g. this, is one. So is 3.11 here", ["a, e.g. this, is one.", "So is 3.11 here"]),
    ("**Bold.** Then (in brackets.) More", ["Bold.", "Then (in brackets.)", "More"]),
    ("> quoted\n> on", ["quoted on"]),
])
def test_a_page_is_cut_into_sentences(page: str, plain: list[str]) -> None:
    """Blocks and sentences are texts of their own; code and addresses are one word; fences hold none."""
    assert [each.plain for each in of_markdown(page)] == plain


def test_a_help_is_cut_into_sentences() -> None:
    """Usage and commands are left out; a paragraph is joined, a column stands alone."""
    assert [each.plain for each in of_help(HELP)] == [
        "Watch a camera.", "Then publish it.", "options:", "-h, --help", "show this message", "--config F",
        "a file; it may", "be missing.", "Default: none", "examples:", "exit codes: 0; 65 without a model"]


def test_a_sentence_knows_its_line() -> None:
    """The line is that on which the text begins."""
    assert [each.line for each in of_markdown("a\n\nb\nb\n\n| c |\n")] == [1, 3, 6]


@pytest.mark.parametrize(("text", "words"), [("one two", 2), ("a - b", 2), ("`a b c` is one", 3), ("1280 x 720", 3)])
def test_words_are_counted(text: str, words: int) -> None:
    """A dash is no word, inline code is one."""
    assert sum(each.words for each in of_markdown(text)) == words


def test_a_long_sentence_is_found_and_its_code_is_one_word() -> None:
    """The limit is 25 words."""
    assert long_sentences("word " * 26 + "`and code`. Short.") != []
    assert long_sentences("word " * 24 + "`and some more code`. " + "word " * 25) == []
