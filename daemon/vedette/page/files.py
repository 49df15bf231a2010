"""The files of the page, read once. Their names are the only paths that lead to a file.

Invariants: none comes from outside the package; a browser that has a file already gets only its tag.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from http import HTTPStatus
from importlib.resources import files
from typing import TYPE_CHECKING

from vedette.serve.exchange import Reply

if TYPE_CHECKING:
    from collections.abc import Iterator
    from importlib.resources.abc import Traversable

TYPES = {"html": "text/html; charset=utf-8", "js": "text/javascript; charset=utf-8", "css": "text/css; charset=utf-8",
         "svg": "image/svg+xml", "txt": "text/plain; charset=utf-8"}


@dataclass(frozen=True, slots=True)
class PageFile:
    """One file of the page."""

    content: bytes
    content_type: str
    tag: str

    def reply(self, known_tag: str) -> Reply:
        """Return the reply for a browser that has the file with this tag already, or with none."""
        headers = {"Cache-Control": "no-cache", "ETag": self.tag}
        if known_tag == self.tag:
            return Reply(HTTPStatus.NOT_MODIFIED, b"", self.content_type, headers)
        return Reply(HTTPStatus.OK, self.content, self.content_type, headers)


def static_files() -> dict[str, PageFile]:
    """Return the files by the path that leads to each: those that are pages also without `static`."""
    found = {f"/static/{name}": file for name, file in _read(files("vedette.page") / "static", "")}
    pages = {path.removeprefix("/static"): file for path, file in found.items() if path.endswith(".html")}
    return {**found, **pages, **({"/": pages["/index.html"]} if "/index.html" in pages else {})}


def _read(folder: Traversable, prefix: str) -> Iterator[tuple[str, PageFile]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _read(entry, f"{prefix}{entry.name}/")
            continue
        kind = TYPES.get(entry.name.rpartition(".")[2])
        if kind is not None:
            content = entry.read_bytes()
            yield prefix + entry.name, PageFile(content, kind, f'"{hashlib.sha256(content).hexdigest()[:16]}"')
