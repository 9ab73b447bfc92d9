"""Tests of mi/io run in a folder of their own, with a cache of their own."""

from __future__ import annotations

import random
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return folder


@pytest.fixture(params=["seed 0", "fresh seed"])
def seed(request: pytest.FixtureRequest) -> int:
    """A fixed seed and one that nobody has tried; pytest shows it where the test fails."""
    number = 0 if request.param == "seed 0" else random.SystemRandom().randrange(2**32)
    print(f"seed {number}")
    return number
