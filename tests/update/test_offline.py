"""An operator installs a bundle where no daemon runs and nobody asks the source."""

from pathlib import Path

import pytest

from tests.support.network.repository_of_lies import DAY, NOW, Device, Repository
from vedette.config.models import Config
from vedette.errors import UpdateExpired, UpdateRefused
from vedette.store.model_store import ModelStore
from vedette.update.offline import offline_actions
from vedette.update.operator import OperatorActions
from vedette.validate.candidate import ProbeReport


def never(path: Path, sha256: str) -> ProbeReport:
    raise AssertionError


def test_expired_metadata_is_not_called_unsigned(tmp_path: Path) -> None:
    """The bundle is signed; what has to be done is `vedette fleet renew`, or to set the clock."""
    repository = Repository(tmp_path / "repository")
    target = repository.add(1, b"bundle")
    device = Device(tmp_path, str(repository.folder), repository.first_root)
    device.refresh()
    (tmp_path / "root.json").write_bytes(repository.first_root)
    store = ModelStore(tmp_path)
    store.read()

    def actions(days: int, *, require_signed: bool = True) -> OperatorActions:
        update = {"source": str(repository.folder), "root": tmp_path / "root.json", "require_signed": require_signed}
        return offline_actions(store, Config.model_validate({"update": update}), prove=never,
                               utc_now=lambda: NOW + days * DAY, clock_synced=True)

    assert actions(0).admit(target.sha256) == target
    with pytest.raises(UpdateExpired, match=r"^expired: "):
        actions(15).admit(target.sha256)
    assert actions(15, require_signed=False).admit(target.sha256) is None
    with pytest.raises(UpdateRefused, match=r"^unsigned: "):
        actions(0).admit("b" * 64)
