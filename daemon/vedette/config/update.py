"""The section `update`: where new models and configurations come from, and which are accepted.

Invariants: those of `section`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from vedette.config.addresses import web_url
from vedette.config.section import Section, restart
from vedette.types import Receiver


def _update_source(value: str | None) -> str | None:
    if value is not None and not value.lower().startswith(("http://", "https://", "/")):
        raise ValueError("expected http://…, https://… or the absolute path of a folder")
    return value if value is None or value.startswith("/") else web_url(value, plain_anywhere=True)


class UpdateConfig(Section):
    """Where new models come from, and which are accepted."""

    source: Annotated[str | None, AfterValidator(_update_source)] = restart(
        None, "https://… of a signed repository (see `vedette fleet`), or the absolute path of a folder with one. "
              "null: no polling.")
    root: Path | None = restart(
        None, "The file root.json of that repository. It has the keys that the device trusts first.")
    ca_file: Path | None = restart(
        None, "PEM file of the authority that signed the server's certificate. null: the system's certificates.")
    token_file: Path | None = restart(
        None, "File that contains the bearer token for source, if its server wants one. It is read again for each "
              "request. It needs https://, or http:// on loopback.")
    device_class: str = restart(
        "default", "Class of this device. The device takes only releases for its class.", min_length=1)
    channel: str = restart(
        "stable", "Channel of this device. The device takes only releases of its channel. On `canary`, and on channels "
                  "that begin with `canary-`, it takes those of `stable` too.", min_length=1)
    tags: tuple[Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^,\x00-\x1f\x7f]*$")], ...] = restart(
        (), "Tags of this device, such as [indoor, north]. A release may be for the devices that have certain tags.")
    configuration: Literal["signed", "local"] = restart(
        "signed", "The source may also have a signed configuration for this device. signed: its keys win over those "
                  "of this file. local: it sets only keys that this file does not have.")
    poll_minutes: float = restart(60, "Minutes between polls. Each interval differs at random by up to a tenth.", gt=0)
    require_signed: bool = restart(
        True, "true: the device accepts a model only if signed metadata lists it, also a model installed by hand.")
    latency_budget_ms: float | None = restart(
        None, "Longest time for a frame, in milliseconds. A slower model is refused. null: no limit.", gt=0)
    min_free_mb: float = restart(100, "Megabytes of disk space that every download leaves free.", ge=0)

    @model_validator(mode="after")
    def _trusted(self) -> Self:
        if self.source is not None and self.root is None:
            raise ValueError("expected root beside source: without it no release can be trusted")
        if self.token_file is not None:
            try:
                web_url(self.source or "", plain_anywhere=False)
            except ValueError as error:
                raise ValueError("expected a source of https://… beside token_file, or http:// on loopback") from error
        return self

    @property
    def receiver(self) -> Receiver:
        """Which releases this device takes."""
        return Receiver(self.device_class, self.channel, self.tags)
