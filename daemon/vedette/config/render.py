"""The configuration as text: the effective one with the place of each value, and the documents that explain it.

Invariants: what is printed as YAML parses back to the same values; credentials in URLs are masked; config.yaml and
docs/config.md come from the models alone (`python -m vedette.config.render ROOT` writes both).
"""

from __future__ import annotations

import itertools
import json
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from vedette.config.document import parse
from vedette.config.keys import Key, keys, sections, value_at
from vedette.config.models import Config, Section
from vedette.net.urls import masked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_WIDTH = 110
_HEAD = """\
# The configuration of one device. Every key is here, with its default: delete what you do not change.
# A key marked [live] is applied by a reload (systemctl reload vedette); [restart] needs a restart.
# Check it with: vedette check-config --config THIS_FILE
# A relative *_file is looked for among the systemd credentials, then beside this file; other paths lie beside it.
"""
_DOCUMENT = """\
# Configuration

Written by `make docs` from `daemon/vedette/config/models.py`. One file, `config.yaml`; the one at the top of the
repository has every key with its default.

Order of precedence, the later wins: defaults, the file, environment variables (`VEDETTE_CAMERA__FPS=15`: the key in
capitals, two underscores for each dot, the value as YAML; an empty one is null), flags. `VEDETTE_INSTANCE` is no key:
`vedette@.service` sets it, and the default device name has it.

- Unknown and duplicate keys, wrong types and values out of range are errors. `vedette check-config` tells all of them
  at once, with file, line, key and what was expected, and ends with exit code 78; without errors it prints the
  effective configuration and where each value came from.
- A reload (`systemctl reload vedette`, or `SIGHUP`) applies *live* keys. A bad file changes nothing and is reported in
  health as `config_rejected`; a changed *restart* key waits for the next start, `restart_needed`.
- YAML 1.1 reads `yes`, `on`, `010` and `1:30` as something else than they look like. Here they are errors: write
  `true` or `false`, a plain decimal number, or quote text. Aliases (`*name`) are refused.
- A secret is never a value: a `*_file` key names the file that holds it. A password inside a URL is an error.
  A relative `*_file` is looked for in `$CREDENTIALS_DIRECTORY` (systemd's `LoadCredential=`) first, then in the folder
  of the configuration file. A missing or empty one is an error, one that everyone may read a warning.
- Other relative paths (`detector.model`) start from the folder of the configuration file; those given by variables
  or flags start from the working folder. `camera.source` is taken as it stands.

| key | default | applies | meaning |
|---|---|---|---|
"""


def render(config: Config, places: Mapping[str, object]) -> str:
    """Return the effective configuration as YAML, each line with the place its value came from."""
    texts = {key.path: f"{key.path[-1]}: {_text(_masked(value_at(config, key.path)))}" for key in keys()}
    width = min(max(map(len, texts.values())), 60)
    return _yaml(lambda key: [f"{texts[key.path]:{width}}  # {_place_of(key, places)}"])


def example() -> str:
    """Return the text of config.yaml: every key with its default, meaning and when it applies."""
    def lines(key: Key) -> list[str]:
        return [*(f"# {line}" for line in textwrap.wrap(f"[{key.applies}] {key.meaning}", _WIDTH)),
                f"{key.path[-1]}: {_text(key.field.default)}"]
    return f"{_HEAD}\n{_yaml(lines)}"


def reference() -> str:
    """Return the text of docs/config.md."""
    rows = (f"| `{key.name}` | `{_text(key.field.default)}` | {key.applies} | {key.meaning} |"
            for key in keys())
    return _DOCUMENT + "\n".join(rows) + "\n"


def plain(config: Config) -> dict[str, object]:
    """Return the configuration as JSON values, credentials in URLs masked."""
    values: dict[str, object] = json.loads(config.model_dump_json())
    return {name: _masked(value) for name, value in values.items()}


def _yaml(lines: Callable[[Key], list[str]]) -> str:
    """Lay out the lines of each key under its section; a section that may be null is one key on one line."""
    return "\n".join(_laid_out(lines)) + "\n"


def _laid_out(lines: Callable[[Key], list[str]]) -> Iterator[str]:
    for section, group in itertools.groupby((key for key in keys() if len(key.path) < 3), lambda key: key.path[:-1]):
        if section:
            yield from ("", f"# {sections()[section[0]].__doc__}", f"{section[0]}:")
        yield from (("  " if section else "") + line for key in group for line in lines(key))


def _place_of(key: Key, places: Mapping[str, object]) -> str:
    """Say where a key's value came from, or the first thing in it."""
    inside = (str(place) for name, place in places.items() if name == key.name or name.startswith(f"{key.name}."))
    return next(inside, "default")


def _masked(value: object) -> object:
    """Mask what may be secret in a value, or in those of a section or a list; no key is a secret."""
    if isinstance(value, str):
        return masked(value)
    if isinstance(value, dict):
        return {name: _masked(below) for name, below in value.items()}
    return [_masked(item) for item in value] if isinstance(value, list | tuple) else value


def _text(value: object) -> str:
    """Write a value in YAML's flow form, which JSON is part of; text that reads back as itself needs no quotes."""
    if isinstance(value, str) and parse(value).value == value:
        return value
    if isinstance(value, Section):
        return value.model_dump_json()
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return json.dumps(value, ensure_ascii=False, default=str)


if __name__ == "__main__":
    root = Path(sys.argv[1])
    (root / "config.yaml").write_text(example(), encoding="utf-8")
    (root / "docs" / "config.md").write_text(reference(), encoding="utf-8")
