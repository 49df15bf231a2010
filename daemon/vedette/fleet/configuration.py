"""A configuration file becomes a bundle of the fleet: checked as a whole, and written as devices read it.

Invariants: what a device would refuse is never stored; the stored file is JSON with nothing but the keys, so comments
and the form of the file stay with the operator.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from vedette.config.signed import parse_signed, read_for_signing
from vedette.fleet.settings import Bundle

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from vedette.fleet.settings import Settings

SUFFIXES = (".yaml", ".yml", ".json")


def configuration_of(path: Path, settings: Settings, now: datetime, *, name: str | None = None,
                     version: str | None = None) -> tuple[bytes, Bundle]:
    """Return the content that devices get, and its bundle. `name`: the file's by default; `version`: the next number.

    Content that was stored before keeps its name and version. Raises: ConfigError with every problem.
    """
    content = json.dumps(read_for_signing(path), ensure_ascii=False).encode() + b"\n"
    parse_signed(content)       # JSON may be longer than the file
    sha256, name = hashlib.sha256(content).hexdigest(), name or path.stem
    known = [bundle for bundle in settings.bundles if bundle.kind == "configuration"]
    same = next((bundle for bundle in known if bundle.sha256 == sha256), None)
    if same is not None and name in (same.name, path.stem) and version in (None, same.version):
        return content, same
    number = 1 + sum(bundle.name == name for bundle in known)
    return content, Bundle(kind="configuration", sha256=sha256, size=len(content), name=name,
                           version=version or str(number), proven=True, added_at=now)
