"""The update source without attackers but with faults: networks, disks, power, clocks; and its cost."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from tests.support.faults.forgetful_disk import CountedDisk, ForgetfulDisk, NoSync, PowerCut
from tests.support.network.repository_of_lies import DAY, NOW, Answer, Device, Repository, Server, send
from tests.support.network.rude_server import answering, serving
from vedette.errors import StateUnusable, StoreFull, UpdateExpired, UpdateMissing, UpdateRefused, UpdateUnreachable
from vedette.store.release import Target
from vedette.update.source import UpdateSource

MODEL = bytes(range(256)) * 4096


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "repository")


@pytest.fixture
def server(repository: Repository) -> Iterator[Server]:
    with Server(repository.folder).running() as running:
        yield running


@pytest.fixture
def device(tmp_path: Path, repository: Repository, server: Server) -> Device:
    return Device(tmp_path / "device", server.url, repository.first_root)


@pytest.fixture
def target(repository: Repository) -> Target:
    return repository.add(1, MODEL)


def url_of(target: Target) -> str:
    return f"/targets/1/{target.sha256}.street.tflite"


def status(code: int, **headers: str) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(code)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(b"<html>sorry</html>")
    return answer


def cut_after(count: int) -> Answer:
    """Declare everything, send so much, and die."""
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(MODEL)))
        handler.end_headers()
        handler.wfile.write(MODEL[:count])
    return answer


def part_of(device: Device, target: Target) -> Path:
    return device.incoming / f"{target.sha256}.part"


def test_a_refresh_and_a_download_give_the_published_content(device: Device, target: Target) -> None:
    """The content arrives unchanged, with the floors and expiries of each role."""
    trusted = device.refresh()
    assert trusted.targets == (target,)
    assert {role: floor.version for role, floor in trusted.floors.items()} == {
        "root": 1, "timestamp": 2, "snapshot": 2, "targets": 2}
    assert trusted.expires["timestamp"] == NOW + 14 * DAY
    assert device.download(target) == MODEL
    assert list(device.incoming.iterdir()) == [device.incoming / "model"]


def test_a_poll_without_news_makes_two_requests(device: Device, target: Target, server: Server) -> None:
    """It requests the next root and the timestamp: that is the cost of a fleet for its server."""
    device.refresh()
    server.asked.clear()
    device.refresh()
    assert server.asked == [("/metadata/2.root.json", None), ("/metadata/timestamp.json", None)]


def test_buckets_apply_to_a_server_and_not_to_a_folder(repository: Repository, tmp_path: Path) -> None:
    """Media that somebody brings to a device are meant for it."""
    assert UpdateSource(str(repository.folder), repository.first_root, tmp_path / "m").any_bucket
    assert not UpdateSource("https://updates.example", repository.first_root, tmp_path / "m").any_bucket


def test_many_roots_are_followed_in_order(device: Device, repository: Repository, target: Target) -> None:
    """A device that was away for long reads every root in between, and keeps them."""
    for _ in range(5):
        repository.rotate("root", "timestamp", "snapshot", "targets")
    assert device.releases() == [1]
    assert device.floors["root"].version == 6
    for root in repository.folder.glob("metadata/*.root.json"):
        root.unlink()
    assert device.releases() == [1]


@pytest.mark.parametrize(("answer", "error", "words"), [
    (status(404), UpdateMissing, r"timestamp\.json: the server answered 404"),
    (status(403), UpdateMissing, r"timestamp\.json: the server answered 403"),
    (status(500), UpdateUnreachable, r"timestamp\.json: the server answered 500"),
    (status(302, Location="http://evil.example/timestamp.json"), UpdateUnreachable,
     r"a redirect to http://evil\.example/timestamp\.json; redirects are not followed"),
])
def test_a_failing_source_is_unreachable_until_it_works(
        device: Device, repository: Repository, target: Target, server: Server, answer: Answer,
        error: type[Exception], words: str) -> None:
    """Nothing changes meanwhile; when it works again, the device continues."""
    device.refresh()
    kept = device.kept()
    repository.add(2, MODEL + b"2")
    server.answers["/metadata/timestamp.json"] = answer
    with pytest.raises(error, match=words):
        device.refresh()
    assert device.kept() == kept
    server.answers.clear()
    assert device.releases() == [1, 2]


def test_an_error_for_a_root_is_not_the_last_root(device: Device, target: Target, server: Server) -> None:
    """Status 500 does not mean that there is no newer root."""
    server.answers["/metadata/2.root.json"] = status(500)
    with pytest.raises(UpdateUnreachable, match=r"2\.root\.json: the server answered 500"):
        device.refresh()


@pytest.mark.parametrize(("value", "seconds"), [("60", 60), ("99999999999", 3600), ("never", None)])
def test_retry_after_is_reported_and_bounded(device: Device, server: Server, value: str, seconds: float | None) -> None:
    """The bound is an hour."""
    server.answers["/metadata/timestamp.json"] = status(503, Retry_After=value)
    with pytest.raises(UpdateUnreachable, match="503") as caught:
        device.refresh()
    assert caught.value.retry_after_s == seconds


def test_a_missing_source_is_unreachable(repository: Repository, tmp_path: Path) -> None:
    """A server that is down, one that closes at once, and media that are not plugged in."""
    with serving(answering(b"")) as port:
        closing = f"http://127.0.0.1:{port}"
        with pytest.raises(UpdateUnreachable, match="no usable response"):
            Device(tmp_path / "closing", closing, repository.first_root).refresh()
    with pytest.raises(UpdateUnreachable, match="refused"):
        Device(tmp_path / "down", closing, repository.first_root).refresh()
    with pytest.raises(UpdateMissing, match="No such file"):
        Device(tmp_path / "unplugged", str(tmp_path / "media"), repository.first_root).refresh()


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, lambda path: path.symlink_to("/dev/zero")],
                         ids=["pipe", "folder", "endless"])
def test_a_folder_with_something_else_than_a_file(repository: Repository, tmp_path: Path,
                                                   make: Callable[[Path], object]) -> None:
    """Foreign media may hold anything: nothing waits for it or reads it without end."""
    repository.path("timestamp").unlink()
    make(repository.path("timestamp"))
    with pytest.raises(UpdateUnreachable, match=r"timestamp\.json: not a regular file"):
        Device(tmp_path / "device", str(repository.folder), repository.first_root).refresh()


def test_accepted_metadata_is_known_offline(device: Device, target: Target, server: Server) -> None:
    """It is verified again from the disk; if it is damaged or absent, no release is known."""
    assert device.source.known(NOW) == ()
    device.refresh()
    server.asked.clear()
    assert device.source.known(NOW) == (target,)
    with pytest.raises(UpdateExpired, match=r"^expired: "):
        device.source.known(NOW + 14 * DAY)
    assert server.asked == []
    content = (device.metadata / "targets.json").read_bytes()
    (device.metadata / "targets.json").write_bytes(content.replace(b"street", b"strEEt"))
    assert device.source.known(NOW) == ()
    device.lose_power()
    assert device.source.known(NOW) == ()


def test_accepted_metadata_is_known_after_key_rotation(device: Device, repository: Repository, target: Target) -> None:
    """All roots from the installed one to the newest are on the disk too."""
    repository.rotate("root", "targets")
    device.refresh()
    assert device.source.known(NOW) == (target,)


def test_a_root_is_kept_although_the_rest_fails(device: Device, repository: Repository, target: Target,
                                                server: Server) -> None:
    """A device that has read of a revoked key does not forget it."""
    device.refresh()
    repository.rotate("timestamp")
    server.answers["/metadata/timestamp.json"] = status(500)
    with pytest.raises(UpdateUnreachable):
        device.refresh()
    assert (device.metadata / "root_history" / "2.root.json").is_file()


@pytest.mark.slow
def test_a_power_cut_at_any_step_of_a_refresh_loses_nothing(repository: Repository, tmp_path: Path) -> None:
    """On any disk that may result the device refreshes and knows the accepted metadata; without fsync it does not."""
    repository.add(1, MODEL)
    repository.rotate("timestamp")
    assert lost_by(ForgetfulDisk, itertools.count(), repository, tmp_path / "synced") is None
    assert lost_by(NoSync, [1000], repository, tmp_path / "naive") == "told, then not known"


def lost_by(disk: type[ForgetfulDisk], cuts: Iterable[int], repository: Repository, folder: Path) -> str | None:
    """Cut the power before those steps; returns the first error on any disk that may result."""
    for cut_at in cuts:
        before = folder / str(cut_at)
        before.mkdir(parents=True)
        cut = disk(before, cut_at)
        try:
            UpdateSource(str(repository.folder), repository.first_root, before / "metadata", files=cut).refresh({}, NOW)
            done = True
        except PowerCut:
            done = False
        for number, world in enumerate(cut.after_the_cut()):
            after = build(world, folder / f"{cut_at}-{number}")
            again = UpdateSource(str(repository.folder), repository.first_root, after / "metadata",
                                 files=CountedDisk(None, lambda: None))
            if done and not again.known(NOW):
                return "told, then not known"
            if not again.refresh({}, NOW).targets:
                return "cannot refresh"
        if done:
            return None
    raise AssertionError


def build(world: dict[str, bytes | None], folder: Path) -> Path:
    for path, content in sorted(world.items()):
        place = folder / path
        if content is None:
            place.mkdir(parents=True)
        else:
            place.write_bytes(content)
    return folder


def test_a_download_resumes_after_the_server_died(device: Device, target: Target, server: Server) -> None:
    """The part on the disk is not fetched again."""
    server.answers[url_of(target)] = cut_after(400_000)
    with pytest.raises(UpdateUnreachable, match="ended after 400000 of 1048576"):
        device.download(target)
    assert part_of(device, target).stat().st_size == 400_000
    server.answers.clear()
    server.asked.clear()
    assert device.download(target) == MODEL
    assert server.asked == [(url_of(target), "bytes=400000-")]


def test_a_server_without_ranges_sends_everything_again(device: Device, target: Target, server: Server) -> None:
    """It answers with status 200, and the whole file is accepted."""
    part_of(device, target).write_bytes(MODEL[:1000])
    server.ranges = False
    assert device.download(target) == MODEL


def test_a_download_from_a_folder_resumes_too(repository: Repository, target: Target, tmp_path: Path) -> None:
    """A slow card is not read twice."""
    device = Device(tmp_path / "mounted", str(repository.folder), repository.first_root)
    part_of(device, target).write_bytes(MODEL[:1000])
    assert device.download(target) == MODEL


@pytest.mark.parametrize("left", [b"x" * 1000, b"x" * len(MODEL), MODEL + b"x", b"x" * 5_000_000, MODEL],
                         ids=["other", "other-whole", "longer", "much-longer", "complete"])
def test_a_part_with_other_content_is_replaced(device: Device, target: Target, left: bytes) -> None:
    """Any content, as a power cut may leave it, ends in a complete download."""
    part_of(device, target).write_bytes(left)
    assert device.download(target) == MODEL


def test_a_part_longer_than_the_file_starts_again(device: Device, target: Target, server: Server) -> None:
    """Status 416 leads to a fresh start."""
    part_of(device, target).write_bytes(MODEL[:5000])

    def answer(handler: BaseHTTPRequestHandler) -> None:
        send(handler, MODEL[:4000] if handler.headers["Range"] else MODEL, handler.headers["Range"])

    server.answers[url_of(target)] = answer
    assert device.download(target) == MODEL


def test_a_wrong_range_is_refused(device: Device, target: Target, server: Server) -> None:
    """The right number of bytes from the wrong position is not appended."""
    part_of(device, target).write_bytes(MODEL[:5000])

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(206)
        handler.send_header("Content-Range", f"bytes 4000-{len(MODEL) - 1}/{len(MODEL)}")
        handler.send_header("Content-Length", str(len(MODEL) - 4000))
        handler.end_headers()
        handler.wfile.write(MODEL[4000:])

    server.answers[url_of(target)] = answer
    with pytest.raises(UpdateUnreachable, match="expected the file from byte 5000, got it from byte 4000"):
        device.download(target)


def test_a_resumed_download_that_goes_on_is_refused(device: Device, target: Target, server: Server) -> None:
    """The rest alone is not too long, but the whole would be. The source works again afterwards."""
    part_of(device, target).write_bytes(MODEL[:5000])

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(206)
        handler.send_header("Content-Range", f"bytes 5000-{len(MODEL) - 1}/{len(MODEL)}")
        handler.end_headers()
        handler.wfile.write(MODEL[5000:] + bytes(1000))

    server.answers[url_of(target)] = answer
    with pytest.raises(UpdateRefused, match=r"^too long: .* more than"):
        device.download(target)
    server.answers.clear()
    assert device.download(target) == MODEL


def test_a_complete_file_that_was_not_adopted_is_not_fetched_again(device: Device, target: Target,
                                                                    server: Server) -> None:
    """The power failed between the download and the store."""
    device.download(target)
    server.asked.clear()
    assert device.download(target) == MODEL
    assert server.asked == []


def test_a_file_of_the_wrong_length_is_refused(device: Device, target: Target, server: Server) -> None:
    """A declared length that is too long, a body that goes on, and a body that is too short."""
    for content in (MODEL + b"x", MODEL[:-1]):
        server.answers[url_of(target)] = partial(send, content=content)
        with pytest.raises(UpdateRefused, match=r"^(too long|wrong length): "):
            device.download(target)
    server.answers.clear()
    assert device.download(target) == MODEL


def test_a_short_body_without_a_length_is_kept_as_a_part(device: Device, target: Target, server: Server) -> None:
    """Only the signed length counts, and the received part stays."""
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(MODEL[:5000])

    server.answers[url_of(target)] = answer
    with pytest.raises(UpdateUnreachable, match="ended after 5000 of 1048576 bytes"):
        device.download(target)
    server.answers.clear()
    assert device.download(target) == MODEL


def test_a_wrong_digest_is_refused_and_deleted(device: Device, target: Target, server: Server) -> None:
    """The right file is accepted later."""
    server.answers[url_of(target)] = lambda handler: send(handler, MODEL[:-1] + b"x")
    with pytest.raises(UpdateRefused, match=r"^wrong digest: "):
        device.download(target)
    assert not (device.incoming / "model").exists()
    server.answers.clear()
    assert device.download(target) == MODEL


def test_html_with_status_200_keeps_the_part(device: Device, target: Target, server: Server) -> None:
    """A login page is no model, and the earlier part of the download stays."""
    part_of(device, target).write_bytes(MODEL[:5000])
    server.answers[url_of(target)] = lambda handler: send(handler, b"<html>Log in</html>")
    with pytest.raises(UpdateRefused, match=r"^wrong length: .* is it another page, for example a login\?"):
        device.download(target)
    assert part_of(device, target).read_bytes() == MODEL[:5000]
    server.answers.clear()
    assert device.download(target) == MODEL


def test_a_file_that_was_missing_is_fetched_later(device: Device, target: Target, server: Server) -> None:
    """Status 404 refuses no release for ever."""
    server.answers[url_of(target)] = status(404)
    with pytest.raises(UpdateMissing, match="404"):
        device.download(target)
    server.answers.clear()
    assert device.download(target) == MODEL


def test_a_lack_of_space_is_reported_before_anything_is_written(device: Device, target: Target, server: Server) -> None:
    """The reserve that must stay free counts."""
    with pytest.raises(StoreFull, match=r"MiB free; the download needs 2, and 953674316 are reserved"):
        device.source.download(target, device.incoming / "model", progress=lambda *_: None, deadline_s=60,
                               min_free_bytes=10**15)
    assert server.asked == []


FILL = """
import resource, sys
from pathlib import Path
from vedette.errors import StoreFull
from vedette.store.release import Release, Target
from vedette.update.source import UpdateSource
release = Release(name="street", version="1", release=1, device_classes=("default",), channel="stable")
source = UpdateSource(sys.argv[1], b"", Path(sys.argv[2]))
resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))
try:
    source.download(Target("1/street.tflite", int(sys.argv[4]), sys.argv[3], release), Path(sys.argv[2], "model"),
                    progress=lambda *_: None, deadline_s=60)
except StoreFull as full:
    print(full)
"""


def test_a_disk_that_fills_up_during_a_download_is_reported(
        repository: Repository, device: Device, target: Target) -> None:
    """Another process took the space: the kernel's error becomes the same message."""
    done = subprocess.run([sys.executable, "-c", FILL, str(repository.folder), device.incoming, target.sha256,
                           str(target.length)], capture_output=True, text=True, timeout=240)
    assert done.stdout == f"{part_of(device, target)}: File too large\n", done.stderr
    assert device.download(target) == MODEL


def test_a_missing_folder_is_named(device: Device, target: Target) -> None:
    """The message has its path."""
    with pytest.raises(StateUnusable, match=r"nowhere/.*\.part: cannot be written: No such file"):
        device.source.download(target, device.incoming / "nowhere" / "model", progress=lambda *_: None, deadline_s=60)


class Stopped(Exception):
    pass


def test_progress_is_reported_and_can_end_the_download(device: Device, target: Target) -> None:
    """An exception of the callback stops the download; the part stays for the next time."""
    reports: list[tuple[int, int]] = []

    def progress(got: int, whole: int) -> None:
        reports.append((got, whole))
        if len(reports) == 3:
            raise Stopped

    with pytest.raises(Stopped):
        device.source.download(target, device.incoming / "model", progress=progress, deadline_s=60)
    assert part_of(device, target).stat().st_size == reports[-1][0]
    assert [whole for _, whole in reports] == [len(MODEL)] * 3
    assert device.download(target) == MODEL


VERIFY = """
import sys
if {blind}:
    sys.modules["cryptography"] = None
from datetime import datetime, UTC
from pathlib import Path
from vedette.update.source import UpdateSource
source = UpdateSource(sys.argv[1], Path(sys.argv[2]).read_bytes(), Path(sys.argv[3]))
print(len(source.refresh({{}}, datetime(2026, 11, 21, 12, tzinfo=UTC)).targets))
assert ("cryptography.hazmat" in sys.modules) is not {blind}
"""


@pytest.mark.slow
@pytest.mark.parametrize("blind", [True, False])
def test_a_device_verifies_without_cryptography(repository: Repository, target: Target, tmp_path: Path,
                                                blind: bool) -> None:
    """Only operators need that package; ed25519 is verified in plain Python too, and a forgery refused."""
    root = tmp_path / "root.json"
    root.write_bytes(repository.first_root)
    command: list[Path | str] = [sys.executable, "-c", VERIFY.format(blind=blind), repository.folder, root,
                                 tmp_path / "metadata"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr
    content = repository.path("timestamp").read_bytes()
    repository.path("timestamp").write_bytes(content.replace(b'"version":2', b'"version":3'))
    assert content != repository.path("timestamp").read_bytes()
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert "UpdateRefused: unsigned: metadata/timestamp.json" in done.stderr


def test_a_daemon_without_a_source_imports_no_tuf() -> None:
    """Neither python-tuf nor its dependencies are imported with the daemon."""
    script = ("import sys, vedette.app, vedette.cli; "
              "print(*sorted({'tuf', 'securesystemslib', 'urllib3', 'cryptography'} & set(sys.modules)))")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=240)
    assert (done.returncode, done.stdout) == (0, "\n"), done.stderr
