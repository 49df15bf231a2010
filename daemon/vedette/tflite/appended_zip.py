"""Reads the files of a ZIP appended to a model: TFLite's own way to carry labels and settings in one file.

Invariants: nothing is unpacked to disk; the unpacked size is bounded, whatever the archive claims; any bytes yield
attachments or `ModelUnreadable`.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib

from vedette.errors import ModelUnreadable

UNPACKED_BYTES_MAX = 32 << 20
ENTRIES_MAX = 1000
_END_RECORD = b"PK\x05\x06"
_END_RECORD_BYTES = 22
_COMMENT_BYTES_MAX = 65535
# What zipfile raises on damaged archives: its own error, unknown versions and methods, and bad streams. Invalid fields
# (seeks, names, dates, lengths) raise many other errors.
_DAMAGE = (zipfile.BadZipFile, NotImplementedError, RuntimeError, zlib.error, struct.error, EOFError, ValueError,
           OSError, OverflowError, MemoryError)


def split(content: bytes) -> tuple[int, dict[str, bytes]]:
    """Return where the appended ZIP begins (the length of `content` when there is none) and its files by name.

    Raises: ModelUnreadable when the archive is damaged, encrypted, or unpacks to too much.
    """
    return _read_archive(content, None)


def find(content: bytes, name: str) -> tuple[int, bytes | None]:
    """Return where the appended ZIP begins and one of its files, None when it has no such file.

    The other files may be damaged.

    Raises: ModelUnreadable when the archive's directory or that file is damaged.
    """
    start, files = _read_archive(content, name)
    return start, files.get(name)


def _read_archive(content: bytes, wanted: str | None) -> tuple[int, dict[str, bytes]]:
    if content.rfind(_END_RECORD, max(0, len(content) - _END_RECORD_BYTES - _COMMENT_BYTES_MAX)) < 0:
        return len(content), {}
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return _unpack(archive, len(content), wanted)
    except _DAMAGE as error:
        raise ModelUnreadable(f"the ZIP appended to the model is damaged: {error}") from error


def _unpack(archive: zipfile.ZipFile, size: int, wanted: str | None) -> tuple[int, dict[str, bytes]]:
    entries = archive.infolist()
    if len(entries) > ENTRIES_MAX or sum(entry.file_size for entry in entries) > UNPACKED_BYTES_MAX:
        raise ModelUnreadable(f"the ZIP appended to the model holds more than {ENTRIES_MAX} files or unpacks to more "
                              f"than {UNPACKED_BYTES_MAX >> 20} MiB; expected labels and settings")
    start = min((entry.header_offset for entry in entries), default=size)
    return start, {entry.filename: _read(archive, entry) for entry in entries
                   if not entry.filename.endswith("/")      # is_dir() itself fails on an empty name
                   and wanted in {None, entry.filename}}


def _read(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    if entry.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        raise zipfile.BadZipFile(f"{entry.filename} is packed by method {entry.compress_type}; expected deflate")
    with archive.open(entry) as packed:
        # zipfile unpacks at most the given length. The one extra byte makes it check the CRC.
        return packed.read(entry.file_size + 1)
