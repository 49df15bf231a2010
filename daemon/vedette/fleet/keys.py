"""The private keys: generated, stored in files, and turned into signers.

Invariants: only its owner can read a key file; it is written durably and never overwritten; its name has the role and
the key, so that a role's next key gets a file of its own. Needs the extra `fleet`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from vedette._lib.durable import sync_folder
from vedette.errors import ExtraMissing, KeyUnusable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from securesystemslib.signer import CryptoSigner

_DIGITS = 8


class KeyFolder:
    """The folder of the private keys. `extra`: more key files, such as root's on a USB stick."""

    def __init__(self, path: Path, passphrase: bytes | None = None, extra: Iterable[Path] = ()) -> None:
        self.path = path
        self._passphrase = passphrase
        self._extra = tuple(extra)

    def __repr__(self) -> str:
        return f"<KeyFolder {self.path} {'with a' if self._passphrase else 'without'} passphrase>"

    def create(self, role: str) -> CryptoSigner:
        """Generate an ed25519 key and store it. Raises: KeyUnusable if it cannot be written, ExtraMissing."""
        key = _generated()
        signer = _signer_of(key)
        path = self.file_of(role, signer.public_key.keyid)
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                os.write(descriptor, _pem(key, self._passphrase))
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            sync_folder(os, str(self.path))
        except OSError as error:
            raise KeyUnusable(f"{path}: the new key cannot be written: {error.strerror}") from error
        return signer

    def file_of(self, role: str, keyid: str) -> Path:
        """Return the path of a role's key file."""
        return self.path / f"{role}-{keyid[:_DIGITS]}.pem"

    def signer(self, role: str, keyid: str) -> CryptoSigner:
        """Return the signer of a key.

        Raises: KeyUnusable if the file is missing, unreadable or another key, or the passphrase is wrong.
        """
        usual = self.file_of(role, keyid)
        for path in (*self._extra, usual):
            if path == usual and not path.exists():
                continue
            signer = _signer_of(_read(path, self._passphrase))
            if signer.public_key.keyid == keyid:
                return signer
            if path == usual:
                raise KeyUnusable(f"{path}: another key; expected the {role} key {keyid[:_DIGITS]}…")
        raise KeyUnusable(f"{usual}: expected the {role} key {keyid[:_DIGITS]}… there; the file is missing"
                          f"{''.join(f', and {path} is another key' for path in self._extra)}. If it is elsewhere,"
                          f" name its folder with --keys{' or its file with --root-key' if role == 'root' else ''}")


def _generated() -> Ed25519PrivateKey:
    try:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    except ImportError as error:
        raise _missing(error) from error
    return Ed25519PrivateKey.generate()


def _pem(key: Ed25519PrivateKey, passphrase: bytes | None) -> bytes:
    from cryptography.hazmat.primitives import serialization as forms
    sealing = forms.NoEncryption() if passphrase is None else forms.BestAvailableEncryption(passphrase)
    return key.private_bytes(forms.Encoding.PEM, forms.PrivateFormat.PKCS8, sealing)


def _read(path: Path, passphrase: bytes | None) -> Ed25519PrivateKey:
    try:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
    except ImportError as error:
        raise _missing(error) from error
    try:
        pem = path.read_bytes()
        encrypted = b"ENCRYPTED" in pem
        if encrypted and passphrase is None:
            raise KeyUnusable(f"{path}: this key has a passphrase; name the file with it by --passphrase-file")
        key = load_pem_private_key(pem, passphrase if encrypted else None)
    except OSError as error:
        raise KeyUnusable(f"{path}: the key cannot be read: {error.strerror}") from error
    except (ValueError, TypeError) as error:
        why = "the passphrase is wrong or the file damaged" if passphrase else "expected a private key in PEM format"
        raise KeyUnusable(f"{path}: {why}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyUnusable(f"{path}: expected an ed25519 key")
    return key


def _signer_of(key: Ed25519PrivateKey) -> CryptoSigner:
    from securesystemslib.signer import CryptoSigner
    return CryptoSigner(key)


def _missing(error: ImportError) -> ExtraMissing:
    return ExtraMissing(f"cryptography cannot be imported ({error}); install it with: pip install 'vedette[fleet]'")
