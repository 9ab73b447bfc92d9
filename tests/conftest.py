"""What holds for every test: its own store, a count of torch processes, and a summary that says what was skipped.

jaxtyping checks the shapes of tensors in mi.core while the tests run (MI_NO_SHAPES=1 turns that off).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import seeds

MOST_TORCH_PROCESSES = 25

if os.environ.get("MI_NO_SHAPES") != "1":
    from tests import shapes

    shapes.install()


def pytest_report_header() -> str:
    return f"MI_TEST_SEED={seeds.FRESH}"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "torch_process(n=1): starts n processes that import torch; at most 25 in all")


@pytest.fixture(autouse=True)
def own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test has an empty store, none of the user's settings, and plain output."""
    for name in list(os.environ):
        if name.startswith("MI_") and name not in ("MI_TEST_DATA", "MI_TEST_SEED", "MI_NO_SHAPES", "MI_TRACEBACK"):
            monkeypatch.delenv(name)
    for name in (
        "MAKELEVEL",
        "MAKEFLAGS",
        "MFLAGS",
    ):  # `make test` sets them, and a make of a test's own speaks of them
        monkeypatch.delenv(name, raising=False)
    store = tmp_path / "store"
    monkeypatch.setenv("MI_STORE", str(store))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("NO_COLOR", "1")
    return store


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Count what the marks promise; a test that starts more than that is caught by the fixture `torch_process`."""
    promised = {item.nodeid: _promised(item) for item in items}
    total = sum(promised.values())
    if total > MOST_TORCH_PROCESSES:
        names = "\n  ".join(f"{n} {name}" for name, n in promised.items() if n)
        raise pytest.UsageError(
            f"the tests would start {total} torch processes, more than {MOST_TORCH_PROCESSES}:\n  {names}"
        )


def _promised(item: pytest.Item) -> int:
    mark = item.get_closest_marker("torch_process")
    return 0 if mark is None else int(mark.kwargs.get("n", mark.args[0] if mark.args else 1))


@pytest.fixture
def torch_process(request: pytest.FixtureRequest) -> Callable[[int], None]:
    """Called before a process that imports torch is started; fails the test that starts more than its mark promises."""
    allowed, used = _promised(request.node), 0

    def count(n: int = 1) -> None:
        nonlocal used
        used += n
        if used > allowed:
            pytest.fail(f"starts {used} torch processes; its mark torch_process promises {allowed}")

    return count


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say once, for each reason, how many tests it skipped and which."""
    skipped: dict[str, list[str]] = {}
    for report in terminalreporter.stats.get("skipped", []):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        skipped.setdefault(reason.removeprefix("Skipped: "), []).append(report.nodeid)
    if not skipped:
        return
    terminalreporter.section("not tested, and why")
    for reason, names in sorted(skipped.items()):
        terminalreporter.line(
            f"{len(names)} x {reason}: {', '.join(sorted(set(names))[:4])}" + (" ..." if len(set(names)) > 4 else "")
        )
