"""The MIB benchmark's circuit track: its cells, its folder layout, and its file of results (spec A7, E1).

A cell is a task on a model: `ioi_gpt2`. A submission is a folder with one folder for each cell, and in it either one
file of importances, from which the leaderboard takes circuits of its ten sizes, or nine files of circuits of the first
nine.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mi.circuit.curve import PERCENTAGES
from mi.errors import MiError, UsageError

# Task: the data set on the hub, and its configuration where it has several.
TASKS: dict[str, tuple[str, str | None]] = {
    "ioi": ("mib-bench/ioi", None),
    "mcqa": ("mib-bench/copycolors_mcqa", "4_answer_choices"),
    "arithmetic-addition": ("mib-bench/arithmetic_addition", None),
    "arithmetic-subtraction": ("mib-bench/arithmetic_subtraction", None),
    "arc-easy": ("mib-bench/arc_easy", None),
    "arc-challenge": ("mib-bench/arc_challenge", None),
}
MODELS: dict[str, str] = {
    "gpt2": "openai-community/gpt2",
    "qwen2.5": "Qwen/Qwen2.5-0.5B",
    "gemma2": "google/gemma-2-2b",
    "llama3": "meta-llama/Llama-3.1-8B",
}
CELLS: tuple[tuple[str, str], ...] = (
    ("ioi", "gpt2"), ("ioi", "qwen2.5"), ("ioi", "gemma2"), ("ioi", "llama3"),
    ("mcqa", "qwen2.5"), ("mcqa", "gemma2"), ("mcqa", "llama3"),
    ("arithmetic-addition", "llama3"), ("arithmetic-subtraction", "llama3"),
    ("arc-easy", "gemma2"), ("arc-easy", "llama3"), ("arc-challenge", "llama3"),
)  # fmt: skip
SHAPES = {"gpt2": (12, 12), "qwen2.5": (24, 14), "gemma2": (26, 8), "llama3": (32, 32)}  # layers, heads
# How many examples scores are computed on; None: all there are.
EXAMPLES: dict[str, int | None] = {"ioi": 1000, "mcqa": None}
OTHER_EXAMPLES = 100
IMPORTANCES = "importances"
SIZES = PERCENTAGES[:-1]  # of a submission of nine circuits


@dataclass(frozen=True)
class Cell:
    """A task on a model, by the benchmark's names; any other name is taken as it is."""

    task: str
    model: str

    @property
    def name(self) -> str:
        """The folder of a submission."""
        return f"{self.task}_{self.model}"

    @property
    def known(self) -> bool:
        return (self.task, self.model) in CELLS


def parse(name: str) -> Cell:
    """`ioi_gpt2` to its cell."""
    task, _, model = name.replace("arithmetic_", "arithmetic-").replace("arc_", "arc-").partition("_")
    if not task or not model or not re.fullmatch(r"[\w.-]+", name):
        cells = ", ".join(Cell(*cell).name for cell in CELLS)
        raise UsageError(f"{name!r} is no cell of the benchmark", f"cells are {cells}")
    return Cell(task, model)


def cell_of(head: Mapping[str, Any]) -> Cell:
    """The cell that a stream belongs to, by the task and the model in its head.

    Raises:
        UsageError: the head does not say it; ARC's rows do not tell its two sets apart.
    """
    task = str((head.get("task") or {}).get("name") or "")
    model = model_name(str((head.get("model") or {}).get("id") or ""))
    if task not in TASKS or not model:
        what = f"the task {task!r}" if model and task else "the head, which names no task" if model else "no model"
        raise UsageError(f"{what} says which cell this is" if not model else f"{what} is none of the benchmark's",
                         "name the cell with --cell, as ioi_gpt2")  # fmt: skip
    return Cell(task, model)


def model_name(hub_id: str) -> str:
    """The benchmark's name of a model, or the last part of its id, as a folder may be called."""
    plain = hub_id.lower().rpartition("/")[2]
    known = {full.lower().rpartition("/")[2]: name for name, full in MODELS.items()} | {"gpt2-small": "gpt2"}
    return known.get(plain) or re.sub(r"[^\w.-]", "-", plain).replace("_", "-")


def check_shape(cell: Cell, params: Mapping[str, Any]) -> None:
    """Refuse a graph of another size than the benchmark's model has."""
    shape = SHAPES.get(cell.model)
    if shape is not None and (params.get("n_layers"), params.get("n_heads")) != shape:
        fact = f"{cell.name} is about a model of {shape[0]} layers and {shape[1]} heads, and this graph has "
        raise MiError(f"{fact}{params.get('n_layers')} and {params.get('n_heads')}", "is --cell the right one?")


def circuit_file(fraction: float) -> str:
    """The name of one of nine files, without its ending: `circuit_0.1pct`."""
    return f"circuit_{100 * fraction:g}pct"


# --- results


def results(
    reports: Sequence[tuple[Cell, Sequence[Mapping[str, Any]]]], method: str, description: str
) -> dict[str, Any]:
    """The leaderboard's file: for each model and task the circuits' sizes and their faithfulness, CPR by signed
    selection and CMD by magnitude."""
    by_model: dict[str, dict[str, Any]] = {}
    for cell, records in reports:
        tasks = by_model.setdefault(cell.model, {})
        task = cell.task.replace("-", "_")
        if task in tasks:
            raise MiError(f"there are two reports of {cell.name}", "give one report for each cell")
        tasks[task] = {area: _curve(records, mode, cell) for area, mode in (("CPR", "signed"), ("CMD", "absolute"))}
    listed = [{"model_id": model, "scores": scores} for model, scores in by_model.items()]
    return {"method_name": method, "description": description, "results": listed}


def _curve(records: Iterable[Mapping[str, Any]], mode: str, cell: Cell) -> dict[str, list[float]]:
    points = {r["nominal"]: r for r in records if r.get("summary") == "faithfulness" and r.get("mode") == mode}
    if tuple(sorted(points)) != PERCENTAGES:
        raise MiError(f"the report of {cell.name} has no {mode} curve over the ten sizes", "mi score SCORES makes one")
    ordered = [points[nominal] for nominal in PERCENTAGES]
    if any("value" not in point for point in ordered):
        raise MiError(f"the faithfulness of {cell.name} is undetermined", "the model does not do the task")
    counts = [float(point.get("weighted_edges", point["size"])) for point in ordered]
    return {"edge_counts": counts, "faithfulness": [point["value"] for point in ordered]}
