"""Shapes are types while the tests run: every function of mi.core whose annotations name a shape is checked.

Only those, and no closures: jaxtyping compiles a checker each time that it decorates, which for a function made anew in
every forward pass costs far more than the pass itself (twenty times, on models as small as the tests').
"""

import ast
from typing import Any

import beartype
from jaxtyping import _import_hook, install_import_hook

SHAPED = ("Float", "Int", "Bool", "Logits", "PerExample")
checked = beartype.beartype


def install() -> None:
    """Before the first import of mi.core."""
    visit = _import_hook.JaxtypingTransformer.visit_FunctionDef

    def visit_shaped(self: Any, node: ast.FunctionDef) -> Any:
        inside_function = isinstance(self._parents[-1], ast.FunctionDef)
        if inside_function:
            return node
        if _names_a_shape(node):
            return visit(self, node)
        self._parents.append(node)
        self.generic_visit(node)
        self._parents.pop()
        return node

    _import_hook.JaxtypingTransformer.visit_FunctionDef = visit_shaped
    install_import_hook(
        "mi.core", "tests.shapes.checked"
    )  # a name of our own: it is part of the names of cached bytecode


def _names_a_shape(node: ast.FunctionDef) -> bool:
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    annotations = [argument.annotation for argument in arguments if argument.annotation] + [node.returns]
    parts = [part for annotation in annotations if annotation for part in ast.walk(annotation)]
    return any(isinstance(part, ast.Name) and part.id in SHAPED for part in parts)
