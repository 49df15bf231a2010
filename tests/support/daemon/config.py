"""Configurations for a whole daemon in a test."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tests.support.truth.bright_squares import write_clip, write_model

DEVICE = "gate"


def write_config(folder: Path, port: int, *, model: Path | None = None, source: Path | str | None = None,
                 sections: Mapping[str, str] | None = None, **more: str) -> Path:
    """Write a configuration for a broker at this port; returns its path.

    The daemon watches a film of a lamp with a model that finds lamps, unless others are named. `sections` and `more`
    replace the sections of those names, or are added.
    """
    texts = {"device": DEVICE, "mqtt": f"{{port: {port}}}", "publish": "{results: all, max_per_s: 100}",
             "health": "{interval_s: 1}", **(sections or {}), **more}
    if "camera" not in texts:
        texts["camera"] = f"{{source: '{source or write_clip(folder)}', loop: true}}"
    if "detector" not in texts:
        texts["detector"] = f"{{model: '{model or write_model(folder)}', threads: 1}}"
    path = folder / "config.yaml"
    path.write_text("".join(f"{name}: {text}\n" for name, text in texts.items()))
    return path
