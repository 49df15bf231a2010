"""The section `homeassistant`: the device announces itself to Home Assistant.

Invariants: those of `section`.
"""

from __future__ import annotations

from vedette.config.scene import Label
from vedette.config.section import Section, live, restart

LABELS_MAX = 100


class HomeAssistantConfig(Section):
    """Home Assistant: the device and its entities appear there by themselves (MQTT discovery)."""

    enabled: bool = restart(False, "true: the device announces itself. false: it takes back what it announced before.")
    prefix: str = restart("homeassistant", "Discovery prefix, as Home Assistant's MQTT integration has it.",
                          pattern=r"^[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*$", max_length=100)
    labels: tuple[Label, ...] = live(
        (), "Labels that get entities. Empty: the first 20 of events.labels, else of detector.allow, else of the "
            "model.", max_length=LABELS_MAX)
