"""The table [tool.mi] of the nearest pyproject.toml."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mi.errors import BAD_INPUT, MiError
from mi.io.settings import project

TABLE = '[tool.mi]\ndevice = "cpu"\nbatch-size = 4\nquiet = false\n[tool.mi.score]\ndevice = "cuda"\n'


def write(text: str, folder: str = ".") -> None:
    Path(folder).mkdir(parents=True, exist_ok=True)
    (Path(folder) / "pyproject.toml").write_text(text)


def test_the_table_is_given_as_it_is() -> None:
    write(TABLE)
    assert project() == {"device": "cpu", "batch-size": 4, "quiet": False, "score": {"device": "cuda"}}


def test_the_nearest_file_that_names_mi() -> None:
    write('[tool.mi]\ndevice = "far"\n')
    write('[tool.other]\ndevice = "mi"\n', "a/b")
    os.makedirs("a/b/c")
    assert project("a/b/c") == {"device": "far"}
    write('[tool.mi]\ndevice = "near"\n', "a")
    assert project("a/b/c") == {"device": "near"}
    assert project(Path("a/b/c").absolute()) == {"device": "near"}


def test_without_a_file_there_are_none() -> None:
    assert project() == {}


def test_a_broken_file_is_named_only_if_it_is_ours() -> None:
    write("[tool.mi]\ndevice = \n")
    with pytest.raises(MiError, match="not TOML") as caught:
        project()
    assert caught.value.place == "pyproject.toml"
    assert caught.value.code == BAD_INPUT
    for text in ("[tool\nmi", "mi = \udcff"):
        Path("pyproject.toml").write_bytes(text.encode("utf-8", "surrogateescape"))
        assert project() == {}


def test_a_table_that_is_none() -> None:
    write("[tool]\nmi = 3\n")
    with pytest.raises(MiError, match="no table"):
        project()
