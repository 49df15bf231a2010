"""Writes the configuration as text: the effective one with the place of each value, config.yaml and docs/config.md.

Invariants: what is printed as YAML parses back to the same values; credentials in URLs are masked; config.yaml and
docs/config.md come from the models alone (`python -m vedette.config.render ROOT` writes both).
"""

from __future__ import annotations

import itertools
import json
import re
import sys
import textwrap
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from vedette.config.document import parse
from vedette.config.effective import without_secrets
from vedette.config.keys import Key, keys, sections, value_at
from vedette.config.models import Config
from vedette.config.section import Section

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_COMMENT_WIDTH = 110
_PAGE_WIDTH = 120
_HEAD = """\
# The configuration of one device. It has every key with its default. Delete the keys that you do not change.
# [live]: a reload applies a change of the key (systemctl reload vedette). [restart]: a change needs a restart.
# Check this file with: vedette check-config --config THIS_FILE
# The daemon searches for a relative *_file in the systemd credentials, then in the folder of this file.
# Other relative paths start from the folder of this file.
"""
_DOCUMENT = """\
# Configuration

`make docs` writes this page from `daemon/vedette/config/models.py`; do not edit it. The configuration of a device is
one file, `config.yaml`. The file of that name at the top of the repository has every key with its default.

## Where values come from

Later sources replace earlier ones:

1. the defaults,
2. the file,
3. environment variables, such as `VEDETTE_CAMERA__FPS=15`. The name is the key in capitals, with two underscores for
   each dot. The value is YAML. An empty value is null.
4. flags on the command line,
5. the [signed configuration](fleet.md#one-change-for-all-devices) of a fleet, where `update.source` offers one. With
   `update.configuration: local` it comes second, so each local key wins.

`VEDETTE_INSTANCE` is not a key. `vedette@.service` sets it, and the default device name contains it.

## Errors, reloads and paths

- Unknown keys, duplicate keys, wrong types and values out of range are errors. `vedette check-config` prints all of
  them at once and ends with exit code 78. Each message has the file, the line, the key and what was expected.
- Without errors, `vedette check-config` prints the effective configuration and where each value came from. The message
  `info` and the page have the same for the keys that can be signed.
- The local sources must be valid without the signed configuration. If that one cannot be used, the device ignores it as
  a whole and says so.
- A reload (`systemctl reload vedette`, or `SIGHUP`) applies *live* keys. A changed *restart* key waits for the next
  start, and health says `restart_needed`. A bad file changes nothing, and health says `config_rejected`.
- YAML 1.1 does not read `yes`, `on`, `010` and `1:30` as text: it reads true, true, 8 and 90. Here they are errors.
  Write `true` or `false`, a plain decimal number, or a text in quotes. Aliases (`*name`) are errors too.
- The configuration never contains a secret. A `*_file` key names the file that contains the secret. A password inside
  a URL is an error.
- The daemon searches for a relative `*_file` first in `$CREDENTIALS_DIRECTORY` (systemd's `LoadCredential=`), then in
  the folder of the configuration file. A missing or empty file is an error. If everyone may read a secret, there is a
  warning. The files below `page` are for `vedette page` alone, and only that command checks them.
- Other relative paths (`detector.model`) start from the folder of the configuration file. Relative paths from variables
  or flags start from the working folder. `camera.source` is used as it is written.
- `~/` at the start of a path is the home folder of the user that runs the command.

## Keys

Each entry has the key, its default, and when a change applies: after a reload (live) or after a restart (restart).
Where only certain values are permitted, the last sentence lists them.
"""


def render(config: Config, places: Mapping[str, object]) -> str:
    """Return the effective configuration as YAML, each line with the place of its value."""
    texts = {key.path: f"{key.path[-1]}: {block(without_secrets(value_at(config, key.path)))}" for key in keys()}
    width = min(max(map(len, texts.values())), 60)

    def lines(key: Key) -> list[str]:
        return [f"{texts[key.path]:{width}}  # {_place_of(key, places)}"]
    return _yaml(lines)


def example() -> str:
    """Return the text of config.yaml: every key with its default, meaning and when it applies."""
    def lines(key: Key) -> list[str]:
        text = f"[{key.applies}] {key.meaning}{_choices(key)}"
        return [*(f"# {line}" for line in textwrap.wrap(text, _COMMENT_WIDTH, break_on_hyphens=False)),
                f"{key.path[-1]}: {block(key.field.default)}"]
    return f"{_HEAD}\n{_yaml(lines)}"


def reference() -> str:
    """Return the text of docs/config.md."""
    return _DOCUMENT + "\n" + "\n".join(_reference_lines()) + "\n"


def _reference_lines() -> Iterator[str]:
    """Yield one list item for each key, under a heading for each section."""
    yield from map(_reference_item, (key for key in keys() if len(key.path) == 1))
    for name, section in sections().items():
        yield from ("", f"### {name}", "", section.__doc__ or "", "")
        yield from map(_reference_item, (key for key in keys() if len(key.path) > 1 and key.path[0] == name))


def _reference_item(key: Key) -> str:
    head = f"- **`{key.name}`** (default `{block(key.field.default)}`, {key.applies}): "
    return textwrap.fill(f"{head}{key.meaning}{_choices(key, quote='`')}", _PAGE_WIDTH, subsequent_indent="  ",
                         break_on_hyphens=False, break_long_words=False)


def _choices(key: Key, quote: str = "") -> str:
    """Return a sentence with the permitted values, where the type lists them."""
    if not key.choices:
        return ""
    values = ", ".join(f"{quote}{block(value)}{quote}" for value in key.choices)
    return f" {'Any' if key.is_list else 'One'} of {values}."


def plain(config: Config) -> dict[str, object]:
    """Return the configuration as JSON values, credentials in URLs masked."""
    values: dict[str, object] = json.loads(config.model_dump_json(by_alias=True))
    return {name: without_secrets(value) for name, value in values.items()}


def _yaml(lines: Callable[[Key], list[str]]) -> str:
    """Lay out the lines of each key under its section; a section that may be null is one key on one line."""
    return "\n".join(_laid_out(lines)) + "\n"


def _laid_out(lines: Callable[[Key], list[str]]) -> Iterator[str]:
    began = False
    for section, group in itertools.groupby((key for key in keys() if len(key.path) < 3), _section_of):
        if section:
            yield from ("", f"# {sections()[section].__doc__}", f"{section}:")
        elif began:
            yield ""
        began = True
        yield from (("  " if section else "") + line for key in group for line in lines(key))


def _section_of(key: Key) -> str:
    return key.path[0] if len(key.path) > 1 else ""


def _place_of(key: Key, places: Mapping[str, object]) -> str:
    """Return the place of a key's value, or of the first value in it."""
    inside = (str(place) for name, place in places.items() if name == key.name or name.startswith(f"{key.name}."))
    return next(inside, "default")


def shown(value: object) -> str:
    """Return a value in YAML's flow form, credentials in URLs masked."""
    return flow(without_secrets(value))


def block(value: object) -> str:
    """Return a key or value as it stands alone on its line. A text that reads back as itself gets no quotes."""
    if isinstance(value, str) and parse(value).value == value:
        return value
    return flow(value)


def _flow_key(name: str) -> str:
    return name if re.fullmatch("[a-z][a-z0-9_]*", name) and parse(name).value == name else flow(name)


def flow(value: object) -> str:
    """Return a value in YAML's flow form, in which every text has quotes."""
    if isinstance(value, Section):
        fields = type(value).model_fields.items()
        return f"{{{', '.join(f'{field.alias or name}: {flow(getattr(value, name))}' for name, field in fields)}}}"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_flow_key(name)}: {flow(below)}' for name, below in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(flow, value))}]"
    if isinstance(value, float):
        return f"{Decimal(repr(value)):f}".removesuffix(".0")     # 1e-05 would be read as a text
    return json.dumps(value, ensure_ascii=False, default=str)


if __name__ == "__main__":
    root = Path(sys.argv[1])
    (root / "config.yaml").write_text(example(), encoding="utf-8")
    (root / "docs" / "config.md").write_text(reference(), encoding="utf-8")
