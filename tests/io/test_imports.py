"""What importing mi.io costs: nothing heavy, and nothing above it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import mi.io

MODULES = sorted(
    "mi.io." + path.relative_to(Path(mi.io.__file__).parent).with_suffix("").as_posix().replace("/", ".")
    for path in Path(mi.io.__file__).parent.rglob("*.py")
    if path.stem != "__init__"
)
HEAVY = {"torch", "transformers", "nnsight", "safetensors", "numpy", "typer", "rich", "importlib.metadata", "tomllib"}
ABOVE = ("mi.circuit", "mi.tasks", "mi.core", "mi.commands", "mi.show", "mi.run")


def imported(statement: str) -> set[str]:
    program = f"{statement}\nimport sys; print(*sys.modules)"
    made = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(made.stdout.split())


def test_the_list_is_there() -> None:
    assert {"mi.io.stream", "mi.io.schemas.circuit", "mi.io.canonical"} <= set(MODULES)


def test_importing_all_of_it_imports_nothing_heavy_and_nothing_above() -> None:
    found = imported("import " + ", ".join(MODULES))
    assert not found & HEAVY
    assert not {name for name in found if name.startswith(ABOVE)}


def test_the_errors_need_the_standard_library_only() -> None:
    found = {name.partition(".")[0] for name in imported("import mi.errors") - imported("pass")} - {"mi"}
    assert found <= set(sys.stdlib_module_names)


@pytest.mark.parametrize("file", ["scores.jsonl", "circuit.jsonl"])
def test_reading_and_writing_lines_imports_no_numpy(file: str) -> None:
    path = Path(__file__).parent / "fixtures" / "v1" / file
    found = imported(
        f"from mi.io import stream; s = stream.read({str(path)!r}, ()); stream.write('out', s.head, s.records)"
    )
    assert not found & HEAVY
