"""`fleet.json`: the data that the operator's tool needs besides the signed metadata.

Invariants: frozen; parse(serialize(x)) == x; it contains no secret (the salt only spreads devices over buckets, and
every signed release contains it).
"""

from __future__ import annotations

from datetime import datetime
from operator import attrgetter
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, ValidationError

from vedette.errors import FleetError
from vedette.fleet.folder import SETTINGS
from vedette.store.frozen import FrozenModel
from vedette.store.release import Kind, Label, Sha256

Days = Annotated[int, Field(ge=1, le=3650)]
_PREFIX_MIN = 6


class _Strict(FrozenModel):
    model_config = ConfigDict(extra="forbid")


class Terms(_Strict):
    """The days for which a signature of each role is valid."""

    timestamp: Days = 14
    snapshot: Days = 90
    targets: Days = 90
    root: Days = 400


class Bundle(_Strict):
    """A model or a configuration that was verified and may be released. Its file in `bundles/` is named by the digest.
    """

    kind: Kind = "model"

    sha256: Sha256
    size: int
    name: Label
    version: Label
    proven: bool
    """Whether its golden frames agreed; an operator may admit a model without any."""
    added_at: datetime

    @property
    def path(self) -> str:
        """The path of the file, below the fleet's folder."""
        return f"bundles/{self.sha256}{self.suffix}"

    @property
    def suffix(self) -> str:
        """The end of the file's name."""
        return ".json" if self.kind == "configuration" else ".tflite"


class Settings(_Strict):
    """The whole file."""

    format: Literal[1] = 1
    salt: str
    keys: str
    """Folder of the private keys, below the fleet's folder or absolute."""
    terms: Terms = Terms()
    bundles: tuple[Bundle, ...] = ()
    last_release: int = 0
    """The highest number ever given: a withdrawn number is never given again."""
    changed_at: datetime
    """The time of the last signature: a clock before it is wrong."""

    def serialize(self) -> bytes:
        """Return the file's content."""
        return self.model_dump_json(indent=1).encode() + b"\n"

    @classmethod
    def parse(cls, content: bytes) -> Settings:
        """Parse the file's content. Raises: FleetError."""
        try:
            return cls.model_validate_json(content)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the whole file"
            raise FleetError(f"{SETTINGS}: {where}: {first['msg']}; restore it from your backup") from error

    def bundle(self, wanted: str) -> Bundle:
        """Return a bundle by `NAME` (the newest), `NAME:VERSION`, or 6 digits of its digest. Raises: FleetError."""
        named = [bundle for bundle in self.bundles if wanted in (bundle.name, f"{bundle.name}:{bundle.version}")]
        digested = [bundle for bundle in self.bundles
                    if len(wanted) >= _PREFIX_MIN and bundle.sha256.startswith(wanted)]
        if found := named or digested:
            return max(found, key=attrgetter("added_at"))
        known = ", ".join(f"{bundle.name}:{bundle.version}" for bundle in self.bundles) or "none"
        raise FleetError(f"{wanted}: expected a bundle that was added with `vedette fleet add`; added: {known}")
