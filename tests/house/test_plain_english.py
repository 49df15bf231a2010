"""What a user reads is plain English: short sentences, and the field's own words."""

import re
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

from tests.support.plain_english import CODE, WORDS_MAX, Sentence, of_help, of_markdown
from vedette.cli import COMMANDS, main

ROOT = Path(__file__).parents[2]
PAGES = sorted([*(ROOT / name for name in ("README.md", "ARCHITECTURE.md", "models/README.md")),
                *(ROOT / "examples").rglob("*.md"), *(ROOT / "docs").rglob("*.md")])
COLUMNS_MAX = 120

WORDS = {
    r"tell(s|ing)?\b(?!( \S+){0,4} apart)|told": "publish, report, show or say",
    r"hear(s|d|ing)?|heed(s|ed|ing)?": "receive, or called after …",
    r"mend(s|ed|ing)?": "retry, or repair",
    r"hurry|hurries|hurried": "shortened timing",
    r"stand-?ins?|stand_in|(stand(s|ing)?|stood) in for": "fallback; a test has a fake",
    r"stand(s|ing)? down": "deactivate",
    r"hang[- ]ups?|strikes": "poison message",
    r"keepers?": "spool worker",
    r"detector'?s? seat|the seat": "hot swap",
    r"(?<!frame )tap(s|ped)?(?! frame)": "frame tap, tapped frame",
    r"outgoing": "redacted JPEG",
    r"(a|an|the|each|every|no|one|its) finding|findings": "check result",
    r"(a|the|its|only a) mark(?! (good|bad))": "checkpoint",
    r"judg(e|es|ed|ing|ement|ment)": "check, decide; the part is the command filter",
    r"run[- ]note": "last run",
    r"(the|an|each|every|its) asking": "request",
    r"in words|its words|(without|with) a word": "a message",
    r"by and by": "gradually",
    r"of its own accord": "by itself",
    r"nought": "zero",
    r"vouch(es|ed)?": "prove, or sign",
    r"fails nobody|nobody is told": "say what happens",
    r"counts? (as|for) nothing": "is not counted",
    r"learnt along|learns? along": "absorbed",
    r"outcome: the (first|second|third|last|latter|former)": "the choice by its name",
    r"(it )?never says[, ]*[\"“']?nothing there": "it never publishes an empty result in its place",
    r"seldom": "rarely, or usually not",
    r"besides": "in addition to, or apart from",
    r"nudg(e|es|ed|ing)": "ask the devices to poll now",
    r"drip(s|ped|ping)?": "send slowly",
    r"coarse(r|ly)?": "large steps, or lower quality",
    r"in vain": "without effect",
    r"outliv(e|es|ed|ing)": "stay valid after, or last longer than",
    r"likeness": "similarity",
    r"at work": "running",
    r"rot(s|ted|ting)?": "lose data",
    r"halv(e|es|ed|ing)": "lower to a half",
    r"spar(e|es|ed|ing)": "protect, or free",
    r"widen(s|ed|ing)?": "release to more devices",
    r"absorb(s|ed|ing)?": "learn, or answer",
    r"(give|gives|gave|giving) way": "move slowly",
    r"unsound": "that fails the test",
    r"allowances?": "budget, or limit",
    r"grant(s|ed|ing)?": "allow, or give",
    r"yield(s|ed|ing)?": "give",
    r"vanish(es|ed|ing)?": "disappear, or be lost",
    r"spikes?": "short peak",
    r"blindness": "missed detections",
    r"(no|any) longer": "not … any more",
    r"the price(:| is)": "the disadvantage",
    r"ordered stops?": "normal stop",
    r"as asked": "normally, or on request",
    r"the (model|release|run|timestamp) before(?! the)": "the previous …",
    r"built-in models?": "model in the box",
    r"synthetic streets?": "drawn street",
    r"detect(s|ed|ing)? (a|the|one|each|every) frames?": "detect in a frame",
    r"prov(e|es|ed|ing) (a|the|each|every) models?": "test the model, or probe",
    r"(?:\d[\d,.]*|frames|results|messages|calls|requests|bytes|line|object|token|label) an? (second|minute|hour|line)":
        "per second, per line",
}
"""What is not said, as a regular expression between word boundaries, and what to say instead."""

INVERSIONS = {
    r"Of (a|an|the|what|its|each|every|those)\b": "begin with the subject: A faster camera …",
    r"[A-Z]\w+ed (is|are) (only|what|that|whatever|all)\b": "begin with the subject: The report names only …",
    r"(Not|Nor|Never|Only)( so)? (is|are|does|do|has|have|can|could|was) (it|they|the|a|an|this|that)\b":
        "begin with the subject",
}
"""How no sentence begins, and what to do about it."""

NAMES = {
    "DetectorSeat": "HotSwap", "Tapped": "TappedFrame", "two_slots": "double_buffered_file",
    "stand_in": "fallback.chain", "hang_ups": "poison_message", "run_note": "last_run", "told": "status",
    "clock_watch": "wall_clock",
    "governing": "throttle", "Condition": "DetectorHealth", "keeper": "spool_worker", "escalation": "restart_policy",
    "outgoing": "cloud_picture",
}
"""Names in the code that were renamed; a page that shows one is out of date."""


@pytest.fixture
def wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal on which argparse wraps no line."""
    monkeypatch.setenv("COLUMNS", "100000")


def help_of(command: str) -> str:
    """Return what `vedette COMMAND --help` prints."""
    with redirect_stdout(StringIO()) as printed, pytest.raises(SystemExit) as ended:
        main([*command.split(), "--help"])
    assert ended.value.code == 0
    return printed.getvalue()


def complaints(sentences: list[Sentence]) -> Iterator[str]:
    """Yield what is wrong with each sentence, with its line, the sentence and what to say instead."""
    for sentence in sentences:
        at = f"{sentence.line}: {sentence.plain.replace(CODE, '`…`')}"
        if sentence.words > WORDS_MAX:
            yield f"{at}\n    {sentence.words} words; make it two sentences, of {WORDS_MAX} words at most"
        for pattern, instead in WORDS.items():
            for found in re.finditer(rf"(?<![\w-])({pattern})(?![\w-])", sentence.plain, re.IGNORECASE):
                yield f"{at}\n    not {found[0]!r}; say: {instead}"
        for pattern, instead in INVERSIONS.items():
            if re.match(pattern, sentence.plain):
                yield f"{at}\n    an inversion; {instead}"


def renamed(page: str) -> Iterator[str]:
    """Yield each inline code that shows a name of yesterday."""
    for number, line in enumerate(page.splitlines(), 1):
        for code in re.findall(r"`([^`]+)`", line):
            yield from (f"{number}: `{code}`\n    was renamed; say: {new}" for old, new in NAMES.items()
                        if re.search(rf"\b{old}\b", code))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_pages_are_plain_english(page: Path) -> None:
    """No page has a sentence of more than 25 words, a word of our own, an inversion, or a line that is too wide."""
    text = page.read_text(encoding="utf-8")
    wide = [f"{number}: {len(line)} columns, {COLUMNS_MAX} at most: {line[:60]}…"
            for number, line in enumerate(text.splitlines(), 1) if len(line) > COLUMNS_MAX]
    old = () if page.parent.name == "decisions" else renamed(text)     # a decision may say what was before
    found = [f"{page.relative_to(ROOT)}:{each}" for each in (*complaints(of_markdown(text)), *old, *wide)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_is_plain_english(wide_terminal: None, command: str) -> None:
    """No `--help` has a sentence of more than 25 words, a word of our own, or an inversion."""
    sentences = of_help(help_of(command))
    assert len(sentences) > 3
    found = [f"vedette {command} --help:{each}" for each in complaints(sentences)]
    assert not found, "\n".join(found)


LONG = "The daemon " + "really " * 23 + "watches."
BAD = "It is told by and by."
PLACES = {"paragraph": "Before it.\n{}\nAfter it.", "list item": "- One.\n- {}\n- Two.", "number": "1. {}\n2. Two.",
          "cell": "| a | b |\n|---|:--|\n| one | {} |", "heading": "## {}", "link": "A [{}](x.md).", "quote": "> {}",
          "after code": "```sh\nmake run\n```\n{}", "bold": "**{}** More."}


@pytest.mark.parametrize("place", PLACES)
def test_a_planted_sentence_is_found_in_a_page(place: str) -> None:
    """A long sentence and a word of our own are found wherever they stand in a page."""
    found = "".join(complaints(of_markdown(PLACES[place].format(LONG))))
    assert re.search("2[67] words", found)
    found = "".join(complaints(of_markdown(PLACES[place].format(BAD))))
    assert "'told'" in found
    assert "gradually" in found


HELPS = {"description": "{}\n\noptions:\n  -h  show it", "option": "options:\n  --model M  {}",
         "option below": "options:\n  --model M\n                   {}", "epilogue": "example:\n  vedette x\n\n{}",
         "example": "example:\n  vedette x    {}"}


@pytest.mark.parametrize("place", HELPS)
def test_a_planted_sentence_is_found_in_a_help(place: str) -> None:
    """A long sentence and a word of our own are found in a description, an option's help and an epilogue."""
    output = f"usage: x [-m]\n         [-o]\n\n{HELPS[place]}"
    assert "26 words" in "".join(complaints(of_help(output.format(LONG))))
    assert "'told'" in "".join(complaints(of_help(output.format(BAD))))


@pytest.mark.parametrize("sentence", ["Of a faster camera frames are left out.", "Blamed is only what was measured.",
                                      "Not so does it end.", "A clock judges no expiry.", "Outcome: the last.",
                                      "It sends 50 results a second.", "It goes back to the model before.",
                                      "The price: one more thread.", "Means seldom fit another place."])
def test_hard_sentences_are_found(sentence: str) -> None:
    """Inversions and riddles that need a second reading are found."""
    assert list(complaints(of_markdown(sentence)))


@pytest.mark.parametrize("sentence", ["It can tell a cat apart from a dog.", "Of 500 frames two are lost.",
                                      "Mark it good.", "The frame tap copies a tapped frame.",
                                      "See `models.train.judge` and `told`.",
                                      "Wait a minute, then run it once an hour.",
                                      "The run before the restart had more results than the others."])
def test_plain_words_pass(sentence: str) -> None:
    """Words that only look alike are no complaint."""
    assert list(complaints(of_markdown(sentence))) == []


def test_a_renamed_name_is_found() -> None:
    """A name of yesterday in inline code is found; a longer name that has it in it is not."""
    assert list(renamed("The `DetectorSeat` and `vedette.stand_in`.")) != []
    assert list(renamed("The `ConditionList` of a Condition.")) == []
