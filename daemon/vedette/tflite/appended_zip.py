"""Reads the files of a ZIP appended to a model: TFLite's own way to carry labels and settings in one file.

Invariants: nothing is unpacked to disk; the directory is read only if its end record states a short one; the packed and
the unpacked size are bounded, whatever the archive claims; any bytes yield attachments or `ModelUnreadable`.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib

from vedette.errors import ModelUnreadable

UNPACKED_BYTES_MAX = 32 << 20
TEXTS_BYTES_MAX = 8 << 20
"""For all files but the pictures."""
ENTRIES_MAX = 1000
DIRECTORY_BYTES_MAX = 256 << 10
HEADERS_BYTES_MAX = 1 << 20
PICTURE = ".png"
_END_RECORD = b"PK\x05\x06"
_END_RECORD_BYTES = 22
_COMMENT_BYTES_MAX = 65535
_ZIP64_LOCATOR, _ZIP64_LOCATOR_BYTES = b"PK\x06\x07", 20
# What zipfile raises on damaged archives: its own error, unknown versions and methods, and bad streams. Invalid fields
# (seeks, names, dates, lengths) raise many other errors.
_DAMAGE = (zipfile.BadZipFile, NotImplementedError, RuntimeError, zlib.error, struct.error, EOFError, ValueError,
           OSError, OverflowError, MemoryError)


def split(content: bytes, *, pictures: bool = True) -> tuple[int, dict[str, bytes]]:
    """Return where the appended ZIP begins (the length of `content` when there is none) and its files by name.

    Without `pictures` the PNG files are there, but empty.
    Raises: ModelUnreadable when the archive is damaged, encrypted, or too large.
    """
    return _read_archive(content, None, pictures=pictures)


def find(content: bytes, name: str) -> tuple[int, bytes | None]:
    """Return where the appended ZIP begins and one of its files, None when it has no such file.

    The other files may be damaged.

    Raises: ModelUnreadable when the archive's directory or that file is damaged.
    """
    start, files = _read_archive(content, name, pictures=True)
    return start, files.get(name)


def _read_archive(content: bytes, wanted: str | None, *, pictures: bool) -> tuple[int, dict[str, bytes]]:
    end = _end_record(content)
    if end < 0:
        return len(content), {}
    _check_directory(content, end)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return _unpack(archive, len(content), wanted, pictures=pictures)
    except _DAMAGE as error:
        raise ModelUnreadable(f"the ZIP appended to the model is damaged: {error}") from error


def _end_record(content: bytes) -> int:
    """Return where zipfile finds the end record: at the very end without a comment, else the last one; -1: nowhere."""
    bare = len(content) - _END_RECORD_BYTES
    if bare >= 0 and content.startswith(_END_RECORD, bare) and content.endswith(b"\0\0"):
        return bare
    return content.rfind(_END_RECORD, max(0, bare - _COMMENT_BYTES_MAX))


def _check_directory(content: bytes, end: int) -> None:
    """Refuse a directory that takes long to read, before zipfile reads all of it."""
    if content.startswith(_ZIP64_LOCATOR, max(0, end - _ZIP64_LOCATOR_BYTES)):
        raise ModelUnreadable("the ZIP appended to the model is a ZIP64; expected a ZIP of labels and settings")
    record = content[end:end + _END_RECORD_BYTES]
    if len(record) < _END_RECORD_BYTES:
        return      # zipfile says what is wrong
    entries, directory_bytes = struct.unpack_from("<HL", record, 10)
    if entries > ENTRIES_MAX or directory_bytes > DIRECTORY_BYTES_MAX:
        raise ModelUnreadable(f"the ZIP appended to the model holds {entries:,} files in a directory of "
                              f"{directory_bytes:,} bytes; expected at most {ENTRIES_MAX:,} files and "
                              f"{DIRECTORY_BYTES_MAX:,} bytes")


def _unpack(archive: zipfile.ZipFile, size: int, wanted: str | None, *,
            pictures: bool) -> tuple[int, dict[str, bytes]]:
    entries = archive.infolist()
    _check_sizes(entries)
    start = min((entry.header_offset for entry in entries), default=size)
    unused = size - start - sum(entry.compress_size for entry in entries)
    if unused > HEADERS_BYTES_MAX:
        raise ModelUnreadable(f"the ZIP appended to the model has {unused:,} bytes that belong to no file; expected at "
                              f"most {HEADERS_BYTES_MAX:,}")
    return start, {entry.filename: b"" if not pictures and _is_picture(entry) else _read(archive, entry)
                   for entry in entries
                   if not entry.filename.endswith("/")      # is_dir() itself fails on an empty name
                   and wanted in {None, entry.filename}}


def _check_sizes(entries: list[zipfile.ZipInfo]) -> None:
    # Entries may share packed bytes, so their sum can be much larger than the file.
    packed = sum(entry.compress_size for entry in entries)
    largest = max(sum(entry.file_size for entry in entries), packed)
    if len(entries) > ENTRIES_MAX or largest > UNPACKED_BYTES_MAX:
        raise ModelUnreadable(f"the ZIP appended to the model holds more than {ENTRIES_MAX} files or unpacks to more "
                              f"than {UNPACKED_BYTES_MAX >> 20} MiB; expected labels and settings")
    if sum(entry.file_size for entry in entries if not _is_picture(entry)) > TEXTS_BYTES_MAX:
        raise ModelUnreadable(f"the ZIP appended to the model unpacks to more than {TEXTS_BYTES_MAX >> 20} MiB beside "
                              "its pictures; expected labels and settings")


def _is_picture(entry: zipfile.ZipInfo) -> bool:
    return entry.filename.endswith(PICTURE)


def _read(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    if entry.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        raise zipfile.BadZipFile(f"{entry.filename} is packed by method {entry.compress_type}; expected deflate")
    with archive.open(entry) as packed:
        # zipfile unpacks at most the given length. The one extra byte makes it check the CRC.
        return packed.read(entry.file_size + 1)
