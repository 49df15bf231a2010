"""`vedette model install` with a name behind which no model file is."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from vedette.cli import main


@pytest.mark.parametrize(("make", "what"), [
    (os.mkfifo, "no regular file"),
    (lambda path: path.symlink_to("/dev/zero"), "no regular file"),
    (os.mkdir, "a folder"),
    (lambda path: None, "No such file or directory")], ids=["pipe", "device", "folder", "nothing"])
def test_what_is_no_file_is_refused_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str],
                                            make: Callable[[Path], None], what: str) -> None:
    """A pipe would block the command, and a device would fill the disk."""
    path = tmp_path / "street.tflite"
    make(path)
    assert main(["model", "install", str(path)]) == 65
    assert capsys.readouterr().err == f"vedette: {path}: {what}; expected a .tflite file\n"


def test_what_is_no_model_is_not_called_unsigned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A page that was saved in place of the download."""
    path = tmp_path / "street.tflite"
    path.write_text("<!doctype html>")
    assert main(["model", "install", "--state", str(tmp_path / "state"), str(path)]) == 65
    assert f"vedette: {path}: not a TFLite model: a web page" in capsys.readouterr().err
