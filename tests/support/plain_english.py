"""What can be measured of plain English: the length of sentences."""

import re

WORDS_MAX = 25


def long_sentences(text: str) -> list[str]:
    """Return the sentences with more than 25 words. `:` and `;` do not end a sentence."""
    return [sentence for sentence in re.split(r"(?<=[.!?])\s+", text) if len(sentence.split()) > WORDS_MAX]
