"""What can be tried on a running daemon: which keys, and whether a configuration with them is valid.

Invariants: pure; only the keys of TRIABLE, all of them live; a configuration is checked as a whole, by the same models
as a file, and is refused as a whole; a problem names its key.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from pydantic import ValidationError

from vedette.config.changes import changed, paths_in, value_in
from vedette.config.document import MAX_DEPTH
from vedette.config.keys import keys, sections
from vedette.config.models import Config
from vedette.config.problems import key_text, problem_of, unknown_key, value_problem
from vedette.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    Nested = Mapping[str, object]

TRIABLE = (
    "detector.score_threshold", "detector.iou_threshold", "detector.max_detections", "detector.labels",
    "detector.allow", "detector.deny", "events.labels", "events.keep_s", "events.minimum", "zones", "lines")
"""No key of these hides or shows a part of the picture, names a file, or admits a command."""
_PROBLEMS_MAX = 10


def with_tried(config: Config, wanted: Nested) -> Config:
    """Return the configuration with these keys, nested as in the file. `wanted` is JSON from outside.

    Raises: ConfigError with every problem, up to _PROBLEMS_MAX.
    """
    names_of(wanted)
    values = changed(config.model_dump(mode="json", by_alias=True, exclude_unset=True), wanted)
    try:
        return Config.model_validate_json(json.dumps(values), strict=True)
    except ValidationError as error:
        problems = map(problem_of, error.errors(include_url=False)[:_PROBLEMS_MAX])
        raise ConfigError(tuple(f"{key_text(each.path)}: {each.message}" for each in problems)) from error


def names_of(wanted: Nested) -> tuple[str, ...]:
    """Return the keys, dotted, in the order of TRIABLE. Raises: ConfigError, as `with_tried`."""
    found, problems = set(), []
    for path in paths_in(wanted):
        problem = _refusal(path) or value_problem(value_in(wanted, path), MAX_DEPTH - len(path))
        if problem:
            problems.append(f"{key_text(path)}: {problem}")
        if len(problems) >= _PROBLEMS_MAX:
            break
        found.add(".".join(path))
    if problems:
        raise ConfigError(tuple(problems))
    return tuple(name for name in TRIABLE if name in found)


def _refusal(path: tuple[str, ...]) -> str | None:
    if ".".join(path) in TRIABLE:
        return None
    if path[0] in sections() and len(path) == 1:
        return "expected keys and values"
    if path not in {key.path for key in keys()}:
        return unknown_key(path)
    return f"cannot be tried; expected {', '.join(TRIABLE[:-1])} or {TRIABLE[-1]}"
