"""Prometheus' text format as a strict reader takes it."""

import re
from dataclasses import dataclass, field

NAME = r"[a-z][a-z0-9_]*"
TYPE = re.compile(rf"# TYPE ({NAME}) (gauge|counter|histogram)")
HELP = re.compile(rf"# HELP ({NAME}) ([^\\]+)")
SAMPLE = re.compile(rf'({NAME})(?:\{{((?:{NAME}="(?:[^"\\]|\\["\\n])*",?)*)\}})? (\S+)')
LABEL = re.compile(rf'({NAME})="((?:[^"\\]|\\["\\n])*)"')
SUFFIXES = {"histogram": ("_bucket", "_count")}
ESCAPED = {r"\\": "\\", r"\"": '"', r"\n": "\n"}

Series = tuple[str, frozenset[tuple[str, str]]]
"""The name of a sample, and its labels."""


@dataclass
class Family:
    """One family of metrics: its kind, its meaning, and its samples."""

    kind: str
    meaning: str
    samples: dict[Series, float] = field(default_factory=dict)

    @property
    def labels(self) -> set[str]:
        return {label for _, labels in self.samples for label, _ in labels}


def read(text: str) -> dict[str, Family]:
    """Return the families by name. Raises: AssertionError for what the format forbids, and for a repetition."""
    assert text == "" or text.endswith("\n")
    families: dict[str, Family] = {}
    lines = iter(text.split("\n")[:-1])
    name, meaning = "", ""
    for line in lines:
        if helped := HELP.fullmatch(line):
            name, meaning = helped.groups()
            typed = TYPE.fullmatch(next(lines))
            assert typed, line
            assert typed[1] == name, line
            assert name not in families, f"{name} comes twice"
            families[name] = Family(typed[2], meaning)
            continue
        sample = SAMPLE.fullmatch(line)
        assert sample, line
        family = families[name]
        assert sample[1] in [name + suffix for suffix in SUFFIXES.get(family.kind, ("",))], line
        pairs = [(key, re.sub(r"\\.", lambda found: ESCAPED[found[0]], value))
                 for key, value in LABEL.findall(sample[2] or "")]
        series = sample[1], frozenset(pairs)
        assert len(series[1]) == len(dict(pairs)) == len(pairs), line
        assert series not in family.samples, line
        family.samples[series] = float(sample[3])
    assert all(family.samples for family in families.values())
    return families


def series(text: str) -> dict[Series, float]:
    """Return all samples of all families."""
    return {key: value for family in read(text).values() for key, value in family.samples.items()}
