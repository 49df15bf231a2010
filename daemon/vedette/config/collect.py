"""The section `collect`: pictures of the camera itself, for the workshop.

Invariants: those of `section`. Nothing that comes over the network can change a key of this section.
"""

from __future__ import annotations

from vedette.config.section import Section, live


class CollectConfig(Section):
    """Pictures of the camera itself, with which a model can be calibrated and compared. They never leave the device."""

    enabled: bool = live(
        False, "true: the device collects masked pictures of its camera in the state folder, until `hours` are over. "
               "`vedette collect fetch` copies them out. The command `collect` is obeyed only then. No command sets "
               "this key.")
    frames: int = live(200, "Highest number of pictures.", ge=1, le=2000)
    mb: float = live(20, "Megabytes that the pictures may take.", gt=0, le=10_000)
    hours: float = live(24, "Hours of detection over which the pictures are spread. Use whole days.", gt=0, le=1000)
    days: float = live(14, "Days after which a picture is deleted.", gt=0)
