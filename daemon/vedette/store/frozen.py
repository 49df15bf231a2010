"""The base class of the shapes that the store keeps on disk and the fleet signs."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class FrozenModel(BaseModel):
    """Immutable. It ignores keys that it does not know: another version of Vedette may have written them."""

    model_config = ConfigDict(frozen=True, extra="ignore")
