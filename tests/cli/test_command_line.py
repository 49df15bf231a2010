"""What all commands have in common: output that cannot be written, closed streams, numbers out of range."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.daemon.running import environment
from tests.support.truth.bright_squares import write_clip, write_model
from vedette.cli import main

pytestmark = pytest.mark.slow


def shell(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a line of shell in which $VEDETTE is the command."""
    env = {**environment(folder), "VEDETTE": f"{sys.executable} -m vedette"}
    return subprocess.run(["bash", "-o", "pipefail", "-c", command], cwd=folder, env=env, capture_output=True,
                          text=True, timeout=240, check=False)


@pytest.fixture
def watching(tmp_path: Path) -> str:
    """The daemon printing for ever."""
    (tmp_path / "config.yaml").write_text(
        f"camera: {{source: '{write_clip(tmp_path)}', loop: true}}\nmqtt: {{port: 1}}\n"
        f"detector: {{model: '{write_model(tmp_path)}', threads: 1}}\n")
    return "$VEDETTE run --config config.yaml --print"


@pytest.mark.daemon
def test_a_reader_that_leaves_ends_the_daemon_in_order(watching: str, tmp_path: Path) -> None:
    """`run --print | head -1` ends with 0 and no stack."""
    done = shell(f"{watching} | head -1", tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    assert "nobody reads" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["$VEDETTE check-config", "$VEDETTE --help"])
def test_a_reader_that_leaves_is_no_error(tmp_path: Path, command: str) -> None:
    """Any command whose output has no reader any more ends quietly."""
    done = shell(f"{command} | true", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.daemon
def test_output_on_a_full_disk_gives_one_line(watching: str, tmp_path: Path) -> None:
    """The line has the path and the cause; the exit code is 69, never a stack."""
    for command in (watching, "$VEDETTE check-config", "$VEDETTE check-config --json", "$VEDETTE --version",
                    "$VEDETTE run --help"):
        done = shell(f"{command} > /dev/full", tmp_path)
        assert done.returncode == 69, done.stderr
        assert "No space left on device" in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("command", "code"), [("snapshoot", 64), ("check-config --config none.yaml", 78)])
def test_an_error_that_cannot_be_printed_keeps_its_exit_code(tmp_path: Path, command: str, code: int) -> None:
    """Standard error may be on the full disk too."""
    assert shell(f"$VEDETTE {command} 2> /dev/full", tmp_path).returncode == code


@pytest.mark.parametrize(("arguments", "said"), [
    ("--host a:1", "--host a:1: expected one host name or address"),
    ("--host http://127.0.0.1", "the port belongs in --port"), ("--host [::1]", "without scheme, brackets, port"),
    ("--port 70000", "from 0 to 65535"), ("--token-file .", "--token-file .: a folder; expected a file with one token"),
    ("--token-file none", "--token-file none: No such file"), ("--token-file /dev/null", "/dev/null: no regular file")])
def test_what_serve_cannot_use_is_refused_at_once(capsys: pytest.CaptureFixture[str], arguments: str,
                                                  said: str) -> None:
    """The address and the tokens, before the model is opened."""
    assert main(["serve", "--model", "m.tflite", *arguments.split()]) == 64
    assert said in capsys.readouterr().err


@pytest.mark.daemon
@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_no_error(watching: str, tmp_path: Path, closed: str) -> None:
    """A caller may close the standard streams; no socket takes their numbers."""
    done = shell(f"{watching} --frames 2 {closed}", tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("arguments", "expected"), [
    ("run --frames 0", "'0'; expected a whole number from 1"), ("run --frames x", "'x'; expected a whole number"),
    ("bench --model m --source s --num-runs 0", "from 1"), ("bench --model m --source s --warmup-runs -1", "from 0"),
    ("bench --model m --source s --threads 17", "from 1 to 16"), ("tail --count 0", "from 1"),
    ("snapshot --out f --wait nan", "from 0 to 3600")])
def test_numbers_out_of_range(capsys: pytest.CaptureFixture[str], arguments: str, expected: str) -> None:
    """A number that makes no sense is refused with a message before anything is started."""
    assert main(arguments.split()) == 64
    assert expected in capsys.readouterr().err


def test_an_image_that_unpacks_to_gigabytes_is_refused(tmp_path: Path) -> None:
    """A decompression bomb costs no memory: the limit of pixels is in force when OpenCV is loaded."""
    (tmp_path / "bomb.ppm").write_bytes(b"P6 20000 20000 255\n" + bytes(100))
    done = shell(f"$VEDETTE detect --model {write_model(tmp_path)} bomb.ppm", tmp_path)
    assert done.returncode == 65
    assert "bomb.ppm: cannot be decoded as an image: pixels" in done.stderr


@pytest.mark.daemon
def test_an_empty_source_is_an_error(tmp_path: Path) -> None:
    """`--source "$UNSET"` must not quietly watch what the configuration names."""
    done = shell("$VEDETTE run --source ''", tmp_path)
    assert done.returncode == 78
    assert "camera.source: expected text that is not empty" in done.stderr


@pytest.mark.parametrize(("arguments", "said"), [
    ("model", "incomplete command 'model'; expected one of model inspect, "),
    ("model inspekt m", "unknown command 'model inspekt'; did you mean model inspect?"),
    ("help run", "did you mean --help?"), ("RUN", "did you mean run?"),
    ("run --sorce synthetic", "did you mean --source?"), ("tail gate/1", "'gate/1'; expected the name of a device"),
    ("snapshot --device GATE --out x", "'GATE'; expected the name of a device")])
def test_a_mistyped_word_is_named(capsys: pytest.CaptureFixture[str], arguments: str, said: str) -> None:
    """A command of two words, an option, and a device."""
    assert main(arguments.split()) == 64
    assert said in capsys.readouterr().err
