"""Short trainings: tests ask whether a network learns at all, on a hundred rows or so."""

import pytest

from probes.diagnosis import networks


@pytest.fixture(autouse=True)
def short_training(monkeypatch):
    monkeypatch.setattr(networks, "FEWEST", 96)
    monkeypatch.setattr(networks, "MOST", 96)
    monkeypatch.setattr(networks, "RATE", 2e-2)
