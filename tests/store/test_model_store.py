"""The model store on real disks: what it accepts, what it saves, and how it recovers from any content of its folder."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import random
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

from tests.support.daemon.as_nobody import as_nobody, give_away
from tests.support.faults.forgetful_disk import CountedDisk
from tests.support.present import present
from vedette._lib.durable import Files
from vedette.errors import ModelDamaged, ModelError, ModelUnreadable, StateUnusable, StoreFull
from vedette.store.model_store import ModelStore
from vedette.store.state import CRASHES_MAX, Installed, StoreState, Trial

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
LIMIT = 1 << 20
MODELS = [b"model %d " % number * 500 for number in range(5)]
A, B, C = (Installed(sha256=hashlib.sha256(content).hexdigest(), size=len(content), name=f"model {number}")
           for number, content in enumerate(MODELS[:3]))


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    """A store with B on trial after a good A."""
    return filled(tmp_path / "models")


def filled(folder: Path) -> ModelStore:
    store = opened(folder)
    store.recover()
    for model in (A, B):
        put(store, model)
        store.change(store.state.activated(model, NOW, on_trial=model is B))
    return store


def opened(folder: Path, files: Files = os) -> ModelStore:
    return ModelStore(folder, files=files, min_free_bytes=0, utc_now=lambda: NOW)


class UncheckedStore(ModelStore):
    """As if another process fills the disk after the check."""

    def check_room(self, size: int) -> None:
        """There is always enough."""


def put(store: ModelStore, model: Installed) -> None:
    with tempfile.TemporaryFile() as file:
        file.write(MODELS[int(model.name[-1])])
        file.seek(0)
        store.stage(file, model.sha256, limit_bytes=LIMIT)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# What comes in

@pytest.mark.parametrize(("make", "error", "message"), [
    (lambda path: None, ModelUnreadable, "No such file"),
    (lambda path: path.write_bytes(b""), ModelUnreadable, "empty"),
    (lambda path: path.mkdir(), ModelUnreadable, "directory|not a regular file"),
    (os.mkfifo, ModelUnreadable, "not a regular file"),
    (lambda path: path.symlink_to("/dev/zero"), ModelUnreadable, "not a regular file"),
    (lambda path: path.write_bytes(b"x" * (LIMIT + 1)), ModelUnreadable, "expected at most 1"),
    (lambda path: path.write_bytes(b"another"), ModelDamaged, f"expected SHA-256 {C.sha256}, found "),
], ids=["missing", "empty", "folder", "pipe", "endless", "long", "another"])
def test_a_wrong_file_is_refused(store: ModelStore, tmp_path: Path, make: Callable[[Path], object],
                                 error: type[ModelError], message: str) -> None:
    """Each is refused with a message, and nothing of it stays in the store."""
    make(tmp_path / "given")
    before = names(store.folder)
    with pytest.raises(error, match=message):
        store.stage(tmp_path / "given", C.sha256, limit_bytes=LIMIT)
    assert names(store.folder) == before
    assert names(store.incoming) == set()


def test_a_file_that_grows_while_it_is_read_is_refused(store: ModelStore) -> None:
    """The limit holds for the bytes that are read, not for the size at the start."""
    class Growing(io.FileIO):
        name = "growing"

        def read(self, size: int | None = -1, /) -> bytes:
            return b"x" * (size or 0)

    with contextlib.closing(Growing(os.memfd_create("growing"), "wb+")) as file:
        file.write(b"x")
        with pytest.raises(ModelUnreadable, match="grows"):
            store.receive(file, None, limit_bytes=LIMIT)
    assert names(store.incoming) == set()


def test_a_bundle_is_stored_under_its_digest(store: ModelStore, tmp_path: Path) -> None:
    """Staging the same one again changes nothing."""
    (tmp_path / "given").write_bytes(MODELS[2])
    for _ in range(2):
        assert store.stage(tmp_path / "given", None, limit_bytes=LIMIT) == (C.sha256, C.size)
    assert store.verified(C.sha256).read_bytes() == MODELS[2]
    assert names(store.incoming) == set()


def test_a_download_of_another_content_is_not_adopted(store: ModelStore) -> None:
    """It is removed, and the next attempt starts from the beginning."""
    download = store.incoming / "download"
    download.write_bytes(MODELS[3])
    with pytest.raises(ModelDamaged, match="expected SHA-256"):
        store.adopt(download, C.sha256)
    assert not download.exists()
    with pytest.raises(ModelUnreadable, match="No such file"):
        store.adopt(download, C.sha256)


def test_the_reserve_stays_free(store: ModelStore, tmp_path: Path) -> None:
    """If the reserve is missing, StoreFull gives the figures before anything is written."""
    (tmp_path / "given").write_bytes(MODELS[2])
    greedy = ModelStore(store.folder, min_free_bytes=1 << 60)
    with pytest.raises(StoreFull, match=r"MiB free; expected \d+ MiB, of which \d+ MiB stay in reserve"):
        greedy.stage(tmp_path / "given", None, limit_bytes=LIMIT)
    assert names(store.incoming) == set()


def test_clean_up_deletes_what_the_state_does_not_name(store: ModelStore, tmp_path: Path) -> None:
    """It spares the files that the state names, those that a living process has locked, and the latest download."""
    put(store, C)
    (tmp_path / "given").write_bytes(MODELS[3])
    (store.folder / ".state.json.7.tmp").write_bytes(b"cut off")
    for age, name in enumerate(("old.part", "new.part")):
        (store.incoming / name).write_bytes(b"half")
        os.utime(store.incoming / name, (age, age))
    (store.incoming / "nobodys.loose").write_bytes(b"left behind")
    with store.receive(tmp_path / "given", None, limit_bytes=LIMIT) as received:
        store.clean_up()
        assert names(store.incoming) == {"new.part", received.path.name}
    assert names(store.incoming) == {"new.part"}
    assert {path.name for path in store.folder.iterdir() if path.is_file()} == {
        f"{A.sha256}.tflite", f"{B.sha256}.tflite", "state.json", "state.copy.json"}


def test_a_download_under_way_stays(store: ModelStore) -> None:
    """It stays also beside an older one with a later time: the clock may have been set meanwhile."""
    for name, at_s in (("under way", 1), ("of yesterday", 9)):
        (store.incoming / name).write_bytes(b"half")
        os.utime(store.incoming / name, (at_s, at_s))
    store.fetching = store.incoming / "under way"
    store.clean_up()
    assert "under way" in names(store.incoming)


# What the disk refused, or has lost

def test_a_state_that_could_not_be_saved_is_saved_later(store: ModelStore) -> None:
    """`trouble` holds exactly as long as the disk accepts no write."""
    disk = SwitchedDisk()
    again = opened(store.folder, disk)
    again.recover()
    disk.is_full = True
    with pytest.raises(StateUnusable):
        again.change(again.state.marked_good(NOW))
    for _ in range(2):
        with pytest.raises(StateUnusable):
            again.retry_save()
        assert "No space left" in (again.trouble or "")
    disk.is_full = False
    again.retry_save()
    assert again.trouble is None
    steps = disk.steps
    again.retry_save()
    assert disk.steps == steps


def test_a_removed_store_is_created_again(store: ModelStore) -> None:
    """Its state is saved again. `trouble` says that the active model's file is missing; it runs from memory."""
    shutil.rmtree(store.folder)
    store.retry_save()
    assert opened(store.folder).read() == store.state
    assert "the active model's file is missing" in (store.trouble or "")
    put(store, B)
    store.retry_save()
    assert store.trouble is None


def test_a_missing_state_folder_is_reported(tmp_path: Path) -> None:
    """Also by a store without a model. It recovers when the folder is back."""
    folder = tmp_path / "state"
    folder.mkdir()
    store = opened(folder / "models")
    store.recover()
    shutil.rmtree(folder)
    with pytest.raises(StateUnusable):
        store.retry_save()
    folder.mkdir()
    store.retry_save()
    assert store.trouble is None
    assert store.incoming.is_dir()


# What is found

def test_a_new_store(tmp_path: Path) -> None:
    """It has no model, no trouble, and no state file until there is a state."""
    store = opened(tmp_path / "models")
    assert store.recover() == StoreState()
    assert store.trouble is None
    assert store.start("boot", NOW) == (None, None)
    assert names(store.folder) == {"incoming", "requests", "answers", "metadata"}


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b""),
                                    lambda path: path.write_bytes(b"x" + path.read_bytes()[1:])])
def test_a_damaged_model_is_replaced(store: ModelStore, damage: Callable[[Path], object]) -> None:
    """The previous one runs, else none; `trouble` says why. The digest is not refused: an undamaged copy may come."""
    damage(store.path_of(B.sha256))
    again = opened(store.folder)
    found = again.recover()
    assert (found.active, found.previous, found.trial, found.refused) == (A, None, None, ())
    assert B.sha256 in (again.trouble or "")
    damage(store.path_of(A.sha256))
    again = opened(store.folder)
    assert again.recover().active is None
    assert again.start("boot", NOW) == (None, None)
    assert not list(store.folder.glob("*.tflite"))


def test_a_model_that_cannot_be_read_now_stays_in_the_state(store: ModelStore) -> None:
    """This run uses the previous one. Nothing changes on disk, since the next start may be able to read it."""
    kept = (store.folder / "state.json").read_bytes()
    path = store.path_of(B.sha256)
    path.rename(store.folder / "aside")
    path.mkdir()
    again = opened(store.folder)
    assert again.recover().active == A
    assert "Is a directory" in (again.trouble or "")
    assert (store.folder / "state.json").read_bytes() == kept
    path.rmdir()
    (store.folder / "aside").rename(path)
    assert opened(store.folder).recover() == store.state


def test_a_missing_candidate_or_previous_leaves_the_state(store: ModelStore) -> None:
    """Every model that the state names exists."""
    put(store, C)
    store.change(store.state.staged(C))
    for model in (A, C):
        store.path_of(model.sha256).unlink()
    found = opened(store.folder).recover()
    assert (found.active, found.previous, found.candidate, found.trial) == (B, None, None, store.state.trial)


BAD = [b"", b"\0" * 4096, b"{", b"[]", b'{"active": 7}', b"[" * 100_000, b"x" * (2 << 20)]


@pytest.mark.parametrize("content", BAD, ids=lambda content: repr(content[:12]))
def test_a_corrupt_state_file_costs_nothing(store: ModelStore, content: bytes) -> None:
    """The copy is used; the corrupt file is set aside and replaced by a good one."""
    store.start("boot", NOW)        # only the trial's counters may be older in the copy
    (store.folder / "state.json").write_bytes(content)
    again = opened(store.folder)
    found = again.recover()
    assert found.model_copy(update={"trial": None}) == store.state.model_copy(update={"trial": None})
    assert found.trial == Trial(since_utc=NOW)
    assert "state.json: cannot be parsed" in (again.trouble or "") or "MiB" in (again.trouble or "")
    if len(content) < 1 << 20:
        assert (store.folder / "state.json.bad").read_bytes() == content
        assert StoreState.parse((store.folder / "state.json").read_bytes()) == found
    assert opened(store.folder).recover() == found


@pytest.mark.parametrize("content", BAD[:-1], ids=lambda content: repr(content[:12]))
def test_with_both_state_files_corrupt_a_whole_model_still_runs(store: ModelStore, content: bytes) -> None:
    """The newest whole one runs, on trial, with the whole one before it as previous. Broken ones do not count."""
    put(store, C)
    for age, model in enumerate((A, B, C)):
        os.utime(store.path_of(model.sha256), (age, age))
    store.path_of(C.sha256).write_bytes(b"broken")
    for name in ("state.json", "state.copy.json"):
        (store.folder / name).write_bytes(content)
    found = opened(store.folder).recover()
    assert found.active is not None
    assert found.previous is not None
    assert (found.active.sha256, found.previous.sha256) == (B.sha256, A.sha256)
    assert found.trial == Trial(since_utc=NOW)
    assert opened(store.folder).recover() == found


def test_one_wrong_part_costs_that_part(store: ModelStore) -> None:
    """A state.json with a wrong type inside is newer than the copy, so its other parts are used."""
    text = store.state.staged(C).serialize().replace(b'"refused": []', b'"refused": 7')
    put(store, C)
    (store.folder / "state.json").write_bytes(text)
    assert opened(store.folder).recover() == store.state.staged(C)


def test_a_missing_state_file_is_written_again(store: ModelStore) -> None:
    """One of the two files is enough; `read` writes none."""
    for name in ("state.json", "state.copy.json"):
        (store.folder / name).unlink()
        assert opened(store.folder).read() == store.state
        assert not (store.folder / name).exists()
        assert opened(store.folder).recover() == store.state
        assert StoreState.parse((store.folder / name).read_bytes()) == store.state


def leave(path: Path) -> None:
    pass


def link_to_itself(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


def become(make: Callable[[Path], object]) -> Callable[[Path], None]:
    def replace(path: Path) -> None:
        path.unlink()
        make(path)
    return replace


HARMS: list[Callable[[Path], object]] = [
    leave, leave, Path.unlink, become(os.mkfifo), become(Path.mkdir), link_to_itself,
    lambda path: path.write_bytes(b""), lambda path: path.write_bytes(b"\xde\xad" * 50),
    lambda path: path.write_bytes(path.read_bytes()[:-1]),
    lambda path: path.write_bytes(b"x" + path.read_bytes()[1:]), lambda path: path.chmod(0),
    lambda path: path.chmod(0o444)]


def harmed(folder: Path, seed: int) -> None:
    """Damage a store's files and folders at random; then recover and start twice."""
    chance = random.Random(seed)
    store = filled(folder)
    put(store, C)
    store.change(store.state.staged(C))
    for path in [path for path in folder.iterdir() if path.is_file()]:
        chance.choice(HARMS)(path)
    for path in [*(path for path in folder.iterdir() if path.is_dir()), folder]:
        path.chmod(chance.choice([0o755, 0o755, 0o755, 0o555, 0o333, 0o444, 0]))
    for _ in range(2):
        again = opened(folder)
        again.recover()
        model, _ = again.start("boot", NOW)
        assert model == again.state.active, seed
        assert model is None or again.verified(model.sha256), seed
        with contextlib.suppress(StateUnusable, ModelUnreadable):
            put(again, A)
        again.clean_up()


@pytest.mark.slow
def test_a_start_works_with_any_damage_to_the_folder(ram: Path) -> None:
    """Deleted, cut, changed, pipes, loops, no rights, in any mixture: never an exception, never a damaged model."""
    def harm_many() -> None:
        for seed in range(200):
            folder = ram / str(seed)
            folder.mkdir()
            harmed(folder / "models", seed)
            (folder / "models").chmod(0o755)
            for path in (folder / "models").iterdir():
                if path.is_dir():
                    path.chmod(0o755)

    as_nobody(harm_many)


# What a start does

def test_a_crash_loop_ends_in_the_previous_model(store: ModelStore) -> None:
    """After three crashed starts, the fourth runs the previous model, gives the reason and refuses the digest."""
    for _ in range(CRASHES_MAX):
        again = opened(store.folder)
        again.recover()
        assert again.start("boot", NOW) == (B, None)
    again = opened(store.folder)
    again.recover()
    model, reason = again.start("boot", NOW)
    assert (model, reason) == (A, "3 crashes and 0 other ends in 3 starts on trial")
    assert again.state.refusal_of(B.sha256) is not None
    assert opened(store.folder).recover() == again.state


def test_every_start_on_trial_is_on_disk_before_the_model_is_loaded(store: ModelStore) -> None:
    """The start of a good model writes nothing."""
    store.start("boot", NOW)
    kept = StoreState.parse((store.folder / "state.json").read_bytes())
    assert kept.trial == Trial(since_utc=NOW, starts=1, open_boot="boot")
    store.change(store.state.marked_good(NOW))
    disk = CountedDisk(0, fail(errno.EIO))
    good = opened(store.folder, disk)
    good.recover()
    assert good.start("boot", NOW) == (B, None)
    assert (good.trouble, disk.steps) == (None, 0)


def fail(number: int) -> Callable[[], None]:
    def raise_it() -> None:
        raise OSError(number, os.strerror(number))
    return raise_it


class SwitchedDisk(CountedDisk):
    """The real disk, which is full while `is_full` is set."""

    is_full = False

    def __init__(self) -> None:
        super().__init__(0, self.fill)

    def fill(self) -> None:
        if self.is_full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def unlink(self, path: str, /) -> None:
        Path(path).unlink()


class FullDisk(CountedDisk):
    """Nothing new fits; removing works."""

    def __init__(self) -> None:
        super().__init__(0, fail(errno.ENOSPC))

    def unlink(self, path: str, /) -> None:
        Path(path).unlink()


def test_a_start_that_cannot_be_counted_runs_the_proven_model(store: ModelStore) -> None:
    """The model on trial stays: the state on disk still names it."""
    full = opened(store.folder, FullDisk())
    full.recover()
    model, reason = full.start("boot", NOW)
    assert model == A
    assert "cannot be counted" in (reason or "")
    assert "No space left on device" in (reason or "")
    full.clean_up()
    assert opened(store.folder).recover() == store.state


def test_a_first_model_on_trial_runs_uncounted(tmp_path: Path) -> None:
    """There is no previous model; `trouble` says what is wrong."""
    store = opened(tmp_path / "models")
    store.recover()
    put(store, A)
    store.change(store.state.activated(A, NOW))
    full = opened(store.folder, FullDisk())
    full.recover()
    assert full.start("boot", NOW) == (A, None)
    assert "No space left" in (full.trouble or "")


# Real disks that accept no write

def run_without_writing(folder: Path) -> tuple[Installed | None, str | None, list[tuple[type[StateUnusable], str]]]:
    """Start as a daemon that may not write: returns the model, the reason, and the errors of a change and a stage."""
    store = opened(folder)
    store.recover()
    model, reason = store.start("boot", NOW)
    errors: list[tuple[type[StateUnusable], str]] = []
    for attempt in (partial(store.change, store.state.activated(C, NOW)), partial(put, store, C)):
        try:
            attempt()
        except StateUnusable as error:
            errors.append((type(error), str(error)))
    return model, reason, errors


@pytest.fixture
def nobodys() -> Iterator[Path]:
    """A store of a user without rights, in a folder that this user can reach."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        store = filled(Path(name, "models"))
        store.change(store.state.marked_good(NOW))
        yield store.folder
        for path in (store.folder, *store.folder.rglob("*")):
            path.chmod(0o755)


def test_a_folder_that_may_not_be_written_runs_the_active_model(nobodys: Path) -> None:
    """A read-only store: the model runs, and every write raises an error that gives the reason."""
    give_away(nobodys)
    kept = (nobodys / "state.json").read_bytes()
    for path in (nobodys, *nobodys.iterdir()):
        path.chmod(0o555 if path.is_dir() else 0o444)
    model, reason, errors = as_nobody(lambda: run_without_writing(nobodys))
    assert (model, reason) == (B, None)
    assert [kind for kind, _ in errors] == [StateUnusable, StateUnusable]
    assert all("Permission denied" in message for _, message in errors)
    assert (nobodys / "state.json").read_bytes() == kept


def test_a_state_file_that_may_not_be_read_is_not_treated_as_missing(nobodys: Path) -> None:
    """Nothing is deleted or overwritten: the newest whole model runs, and the state changes in memory only."""
    give_away(nobodys)
    before = names(nobodys)
    kept = (nobodys / "state.json").read_bytes()
    for name in ("state.json", "state.copy.json"):
        (nobodys / name).chmod(0)

    def recovered() -> tuple[Installed | None, str]:
        store = opened(nobodys)
        return store.recover().active, present(store.trouble)

    active, trouble = as_nobody(recovered)
    assert active is not None
    assert "cannot be read: Permission denied" in trouble
    for name in ("state.json", "state.copy.json"):
        (nobodys / name).chmod(0o600)
    assert names(nobodys) == before
    assert (nobodys / "state.json").read_bytes() == kept


def test_a_state_file_that_cannot_be_replaced(store: ModelStore) -> None:
    """A folder is in its place: the copy is used, and every change raises an error that gives the reason."""
    (store.folder / "state.json").unlink()
    (store.folder / "state.json" / "in the way").mkdir(parents=True)
    again = opened(store.folder)
    assert again.recover().active == B
    with pytest.raises(StateUnusable, match=r"state\.json: cannot be written: "):
        again.change(again.state.marked_good(NOW))
    assert again.start("boot", NOW)[0] == A      # the start cannot be counted
    assert again.state.refused == ()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
def test_a_real_disk_that_is_full(tmp_path: Path) -> None:
    """A model that does not fit raises StoreFull, nothing of it stays, and the active one still runs."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        store = filled(disk / "models")
        store.change(store.state.marked_good(NOW))
        (tmp_path / "given").write_bytes(b"x" * (256 << 10))
        with pytest.raises(StoreFull, match="MiB free"):
            store.stage(tmp_path / "given", None, limit_bytes=LIMIT)
        unchecked = UncheckedStore(store.folder, min_free_bytes=0, utc_now=lambda: NOW)
        unchecked.recover()
        with pytest.raises(StoreFull, match="No space left on device"):
            unchecked.stage(tmp_path / "given", None, limit_bytes=LIMIT)
        assert names(store.incoming) == set()
        with contextlib.suppress(OSError):
            (disk / "filler").write_bytes(b"x" * (1 << 20))
        model, reason, errors = run_without_writing(store.folder)
        assert (model, reason) == (B, None)
        assert [kind for kind, _ in errors] == [StoreFull, StoreFull]
    finally:
        subprocess.run(["umount", disk], check=True)
    shutil.rmtree(disk)
