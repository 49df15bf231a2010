"""The small documents beside a model: read as data, and measured before they are parsed."""

from __future__ import annotations

import pytest

from vedette.errors import ModelUnsupported
from vedette.vision import documents


@pytest.mark.parametrize(("text", "expected"), [
    ('{"a": 1}', {"a": 1}), ("{'a': [1, 2], 3: None}", {"a": [1, 2], "3": None}), ("[1]", None), ("", None),
    ("__import__('os').getpid()", None), ("{" * 10_000, None), ("stride: 32\n", None), ("\0", None),
    ("{'a': 1+1}", None), ("{0: 'it\\'s', 1: \"it's\", 2: 'a,]',}", {"0": "it's", "1": "it's", "2": "a,]"}),
    ("{'a': (1, 2,), 'b': True, -1: 0.5e1}\n", {"a": [1, 2], "b": True, "-1": 5.0}),
    ("{'a': '\\xe9\\u00e9\\U000000e9\\n'}", {"a": "ééé\n"}), ("{'a': 'b' 'c'}", None), ("{'a'", None),
    ("{'a': '" + "x" * documents.LITERAL_CHARACTERS_MAX + "'}", None)])
def test_documents_are_data(text: str, expected: dict[str, object] | None) -> None:
    """JSON and Python literals are read; expressions and other formats are not evaluated and give None."""
    assert documents.parse_dict(text.encode()) == expected


@pytest.mark.parametrize("content", [b" " * (documents.DOCUMENT_BYTES_MAX + 1), b"[]," * documents.VALUES_MAX])
def test_a_document_that_is_too_large_is_refused(content: bytes) -> None:
    """The error says where it stands, how large it is, and what is allowed."""
    with pytest.raises(ModelUnsupported, match=r"here: [\d,]+ bytes with about [\d,]+ values; expected at most"):
        documents.check_size(content, "here")
