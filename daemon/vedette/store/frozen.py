"""The base class of the shapes that the store keeps on disk and the fleet signs, and the types of their parts."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

_TEXT_LENGTH_MAX = 300


def _printable(value: object) -> object:
    """Replace what cannot be printed and cut the text: names and messages may come from any file."""
    if not isinstance(value, str):
        return value
    return "".join(letter if letter.isprintable() else "?" for letter in value[:_TEXT_LENGTH_MAX])


PrintableText = Annotated[str, BeforeValidator(_printable)]
Count = Annotated[int, Field(ge=0, lt=2**53)]


class FrozenModel(BaseModel):
    """Immutable. It ignores keys that it does not know: another version of Vedette may have written them."""

    model_config = ConfigDict(frozen=True, extra="ignore")
