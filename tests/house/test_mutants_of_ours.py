"""The table of mutants of our own code fits the code: else a mutant would break nothing, and nobody would notice."""

from __future__ import annotations

from pathlib import Path

from tests.campaign.mutants_of_ours import PACKAGE, ROOT, table


def test_every_mutant_fits_the_code() -> None:
    """Its old text occurs exactly once, and its tests exist. Whoever changes that line changes its mutant too."""
    assert [f"{mutant}: {problem}" for mutant in table() if (problem := mutant.problem(ROOT))] == []


def test_there_are_mutants_of_every_room() -> None:
    """At least a hundred in all, and none twice."""
    mutants = table()
    rooms = {path.name for path in (ROOT / PACKAGE).iterdir() if (path / "__init__.py").is_file()}
    assert {Path(mutant.file).parts[0] for mutant in mutants} >= rooms
    assert len({(mutant.file, mutant.old, mutant.new) for mutant in mutants}) == len(mutants) >= 100
