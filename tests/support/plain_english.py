"""The sentences that a reader meets in a page of Markdown and in a command's help.

Invariants: a paragraph, a heading, a list item and a table cell are texts of their own; inline code and an address
count as one word, a link counts as its text; code fences hold no sentences.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

WORDS_MAX = 25
CODE = "\ue000"
"""Takes the place of inline code, so that its dots and blanks split nothing."""

_FENCE = re.compile(r"\s*(```|~~~)")
_INLINE_CODE = re.compile(r"(`+)(.+?)\1")
_LINK = re.compile(r"!?\[([^\]]*)\](\([^)]*\)|\[[^\]]*\])")
_ADDRESS = re.compile(r"<?https?://\S+?>?(?=[.,;:)]?(\s|$))")
_TAG = re.compile(r"<[/!a-zA-Z][^>]*>")
_MARKER = re.compile(r"^\s*([-*+]|\d+[.)])\s+")
_HEADING = re.compile(r"^\s*#{1,6}\s+")
_RULE_OF_TABLE = re.compile(r"[\s|:-]+$")
_CELL_BORDER = re.compile(r"(?<!\\)\|")
_END = re.compile(r"[.!?][\"'”)*_]*\s+")
_SHORTENED = re.compile(r"(\be\.g|\bi\.e|\bvs|\bapprox|\bcf)$")
_COMMAND = re.compile(r"\$?\s*(sudo |make |vedette |python|curl |\.venv/)")


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence, as it is counted (`plain`), and the line on which its text begins."""

    line: int
    plain: str

    @property
    def words(self) -> int:
        """The number of its words; a bare dash or sign is none."""
        return sum(bool(re.search(rf"[\w{CODE}]", word)) for word in self.plain.split())


def of_markdown(page: str) -> list[Sentence]:
    """Return the sentences of a page of Markdown."""
    return [sentence for line, text in _texts(page) for sentence in _split(line, _plain(text))]


def of_help(output: str) -> list[Sentence]:
    """Return the sentences of what argparse prints for `--help`, at a width at which it wraps nothing.

    The usage is left out, and so is a command of an example. What stands after two blanks is a column of its own.
    """
    return [sentence for line, text in _columns(output) for sentence in _split(line, text)]


def long_sentences(text: str) -> list[str]:
    """Return the sentences with more than 25 words. `:` and `;` do not end a sentence."""
    return [sentence.plain for sentence in of_markdown(text) if sentence.words > WORDS_MAX]


def _plain(text: str) -> str:
    """Return the text as it is read, without its marks."""
    text = _LINK.sub(r"\1", _INLINE_CODE.sub(CODE, text))
    return _TAG.sub("", _ADDRESS.sub(CODE, text)).replace("**", "")


def _split(line: int, text: str) -> Iterator[Sentence]:
    began = 0
    for end in _END.finditer(text):
        if not _SHORTENED.search(text[:end.start()]):
            yield Sentence(line, text[began:end.end()].strip())
            began = end.end()
    if text[began:].strip():
        yield Sentence(line, text[began:].strip())


def _texts(page: str) -> Iterator[tuple[int, str]]:
    """Yield each paragraph, heading, list item and table cell, with the number of its first line."""
    began, held = 0, ""
    for number, line in enumerate(_without_fences(page), 1):
        in_table = line.lstrip().startswith("|")
        alone = in_table or bool(_HEADING.match(line))
        if alone or not line.strip() or _MARKER.match(line):
            yield began, held
            held = ""
        if in_table and not _RULE_OF_TABLE.match(line):
            yield from ((number, cell.strip()) for cell in _CELL_BORDER.split(line))
        elif alone and not in_table:
            yield number, _HEADING.sub("", line)
        elif not in_table:
            began = began if held else number
            held = f"{held} {_MARKER.sub('', line).strip()}".strip()
    yield began, held


def _without_fences(page: str) -> Iterator[str]:
    """Yield each line without its mark of a quotation; those of a code fence as empty ones."""
    fence = ""
    for line in page.splitlines():
        mark = _FENCE.match(line)
        yield "" if fence or mark else re.sub(r"^\s*>\s?", "", line)
        if mark and (not fence or mark[1] == fence):
            fence = "" if fence else mark[1]


def _columns(output: str) -> Iterator[tuple[int, str]]:
    """Yield each paragraph at the margin, and each column of an indented line."""
    began, held, usage = 0, "", True
    for number, line in enumerate([*output.splitlines(), ""], 1):
        usage = usage and bool(line.strip())
        if usage:
            continue
        if line[:1].strip():
            began = began if held else number
            held = f"{held} {line}".strip()
            continue
        yield began, held
        held = ""
        yield from ((number, column) for column in re.split(r" {2,}", line.strip()) if not _COMMAND.match(column))
