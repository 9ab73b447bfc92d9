"""Imports point one way, and torch stays where it belongs."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.data_dir import CHECKOUT

PACKAGE = CHECKOUT / "mi"

# A module may import those of its own row and of the rows below it. `show` stands beside core and tasks: it may use
# circuit, io and errors, and only commands may use it.
ROWS = (
    (
        "__main__",
        "scripts",
        "mi",
    ),  # mi/embedded/*.py are programs of their own; "mi" is mi/__init__.py as a user of others
    ("commands", "run", "failures", "options", "work"),
    ("core",),
    ("tasks",),
    ("circuit",),
    ("io", "embedded"),  # the embedded package itself is names and folders
    ("errors", ""),  # "" is mi/__init__.py as others use it: the version
)
RANK = {name: rank for rank, row in enumerate(ROWS) for name in row}
SHOW_MAY_USE = {"show", "circuit", "io", "errors", ""}
USE_SHOW = {"mi", "show", "commands", "run", "failures", "work"}
TORCH_IN = {"core", "scripts"}


def modules() -> Iterator[Path]:
    yield from sorted(PACKAGE.rglob("*.py"))


def part(path: Path) -> str:
    """The folder or file under mi/ that a module belongs to."""
    inside = path.relative_to(PACKAGE)
    name = inside.parts[0].removesuffix(".py")
    if name == "embedded" and inside.name != "__init__.py":
        return "scripts"
    return "mi" if name == "__init__" else name


def imported(tree: ast.AST, nested: bool = True) -> Iterator[tuple[str, int]]:
    """Dotted names that a module imports and their lines; `nested` also those in function bodies."""
    for node in ast.walk(tree) if nested else _at_top(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, "imports name the whole path"
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def _at_top(tree: ast.AST) -> Iterator[ast.AST]:
    """What runs when the module is imported: not function bodies, not `if TYPE_CHECKING`."""
    for node in ast.iter_child_nodes(tree):
        checking = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)) and not checking:
            yield node
            yield from _at_top(node)


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def allowed(user: str, used: str) -> bool:
    if used == "show":
        return user in USE_SHOW
    if user == "show":
        return used in SHOW_MAY_USE
    return RANK[user] <= RANK[used]


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_one_way(path: Path) -> None:
    user = part(path)
    assert user == "show" or user in RANK, f"{user} has no place in the order: give it one above"
    for name, line in imported(parsed(path)):
        if name == "mi" or name.startswith("mi."):
            inside = name.split(".")[1] if name.count(".") else ""
            used = inside if (PACKAGE / inside).is_dir() or (PACKAGE / f"{inside}.py").is_file() else ""
            assert allowed(user, used), f"{path.relative_to(CHECKOUT)}:{line} imports {name}"


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_torch_is_imported_in_core_and_in_function_bodies_only(path: Path) -> None:
    if part(path) in TORCH_IN:
        return
    heavy = {name.split(".")[0] for name, _ in imported(parsed(path), nested=False)} & {
        "torch",
        "transformers",
        "nnsight",
    }
    assert not heavy, f"{path.relative_to(CHECKOUT)} imports {heavy} when it is imported"


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_two_files_know_the_parser(path: Path) -> None:
    names = {name.split(".")[0] for name, _ in imported(parsed(path))}
    if path.relative_to(PACKAGE).as_posix() not in ("run.py", "options.py"):
        assert not names & {"typer", "click"}


def test_no_file_is_called_utils() -> None:
    assert not [path for path in modules() if path.stem in ("utils", "util", "helpers", "misc", "common")]


def test_the_order_itself() -> None:
    assert allowed("commands", "core")
    assert allowed("core", "io")
    assert allowed("commands", "show")
    assert allowed("show", "circuit")
    assert not allowed("core", "commands")
    assert not allowed("core", "show")
    assert not allowed("io", "circuit")
    assert not allowed("show", "core")
    assert not allowed("errors", "io")
