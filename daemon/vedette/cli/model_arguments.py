"""Arguments of commands that run a model, turned into the detector's configuration.

Invariants: a value that cannot be used is a `UsageError` naming it and what was expected.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import ValidationError

from vedette.config.models import DetectorConfig
from vedette.errors import UsageError

if TYPE_CHECKING:
    import argparse


def detector_of(args: argparse.Namespace, **more: object) -> DetectorConfig:
    """Return the configuration: the arguments that are named as its keys, where given. Raises: UsageError."""
    given = {key: value for key, value in {**vars(args), **more}.items()
             if key in DetectorConfig.model_fields and value is not None}
    try:
        return DetectorConfig.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "mean, std"
        raise UsageError(f"{where}: {first['msg']}") from error
