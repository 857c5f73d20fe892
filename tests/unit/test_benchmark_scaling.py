"""The report of scaling.py: ratios by round and verdicts."""

from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def scripts(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def answer(speed, host=0.01):
    return {"atom_steps_per_second": speed, "seconds_per_step": 2.0, "stages": {"host": 2.0 * host, "halo": 0.1},
            "ghosts": 7, "rebuilds": 1}


def test_each_round_is_compared_with_itself():
    from scaling import STUDIES, table

    one, two = [100.0, 50.0, 100.0], [195.0, 97.0, 194.0]
    study = STUDIES["strong"]
    results = {label: [answer(speed) for speed in (two if run.ranks == 2 else one)]
               for label, run in study.runs.items()}
    text = "\n".join(table(study, results))
    # medians of speeds would say 194 / 100; round by round it is 1.95, 1.94, 1.94
    assert text.count("1.94 (1.94 to 1.95)") == 2
    assert "asked for 1.9: reached" in text
    slower = {label: [answer(speed) for speed in ([150.0] if run.ranks == 2 else [100.0])]
              for label, run in study.runs.items()}
    assert "\n".join(table(study, slower)).count("MISSED") == 2


def test_host_shares_are_held_against_their_goals():
    from scaling import STUDIES, table

    results = {"10,000 atoms": [answer(1.0, host=0.05)], "100,000 atoms": [answer(1.0, host=0.05)]}
    small, large = table(STUDIES["host"], results)[1:]
    assert "less than 10 %: reached" in small
    assert "less than 2 %: MISSED" in large


def test_vacuum_is_as_high_as_the_column():
    """Cuts in equal volumes would leave one of the two ranks empty."""
    from scaling import STUDIES
    from systems import standard_system

    run = STUDIES["vacuum"].runs["half empty"]
    atoms = standard_system(run.system, run.atoms, run.vacuum, displaced=False)
    assert atoms.positions[:, 2].max() < 0.5 * atoms.cell[2, 2] < atoms.positions[:, 2].max() + 4.0
    # the cut goes through the column, not through the plane
    assert atoms.cell[2, 2] > 2.0 * max(atoms.cell[0, 0], atoms.cell[1, 1])
