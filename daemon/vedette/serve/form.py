"""Finds one field of a `multipart/form-data` body.

Invariants: pure; the body is searched and not copied, only the field is; unexpected content is a ValueError.
"""

from __future__ import annotations

import re

BOUNDARY = re.compile(r'multipart/form-data\s*;.*?boundary="?([^\s";,]{1,70})"?', re.IGNORECASE)
_HEAD_BYTES = 4096


def form_field(content_type: str, body: bytes, name: str) -> bytes:
    """Return the content of a field. Raises: ValueError with what was expected."""
    boundary = BOUNDARY.match(content_type)
    if boundary is None:
        raise ValueError("expected multipart/form-data with a boundary")
    line = b"--" + boundary[1].encode("ascii", "replace")
    begin = 0 if body.startswith(line) else body.find(b"\r\n" + line) + 2
    wanted = re.compile(rb'(?im)^content-disposition\s*:\s*form-data\s*;.*?\bname="?' + re.escape(name.encode())
                        + rb'"?\s*(?:;|\r?$)')
    while begin != 1:       # 1: find() returned -1
        start = begin + len(line)
        head_end = body.find(b"\r\n\r\n", start, start + _HEAD_BYTES)
        end = body.find(b"\r\n" + line, start)
        if head_end < 0 or end < head_end:
            break
        if wanted.search(body[start:head_end]):
            return body[head_end + 4:end]
        begin = end + 2
    raise ValueError(f'expected a field "{name}" in the form')
