"""`mi info -m` of a model that has sites and no graph: its parts, and every site with its shape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mi.show.table import Column, Table

if TYPE_CHECKING:
    from mi.core.sitewise.load import Module
    from mi.core.sitewise.reach import Site
    from mi.tasks.arguments import Arguments
    from mi.tasks.subject import Chosen

TOKENS = 8  # of the made-up input of a model of text


def description(model: Module, chosen: Chosen, data: str | None) -> dict[str, Any]:
    """What the model is made of. Shapes are those of a run: of the first example of ``data``, else of an input made up
    from what the config says; where neither is known, sites are listed without."""
    from mi.core.sitewise.frame import probe
    from mi.errors import MiError

    example = _of_data(data, chosen) if data else _made_up(chosen.located.config(), model)
    sites: list[Site] = []
    again: list[str] = []
    if example is not None:
        try:
            sites, again = probe(model, example)
        except MiError:
            if data:
                raise
    parts = dict(model.module.named_modules())
    listed = [_site(site, parts) for site in sites] or [
        {"name": f"{path}:{side}", "module": type(part).__name__}
        for path, part in parts.items()
        if path
        for side in ("input", "output")
    ]
    made: dict[str, Any] = {
        "model": {**model.identity, "parameters": sum(p.numel() for p in model.module.parameters())},
        "class": type(model.module).__name__,
        "sites": listed,
        "run_several_times": again,
    }
    if sites and example is not None:
        made["shapes_of"] = {name: ["batch", *value.shape] for name, value in sorted(example.clean.items())}
    return made


def _site(site: Site, parts: Mapping[str, Any]) -> dict[str, Any]:
    rows = "batch" if site.shape[0] == 1 else f"batch x {site.shape[0]}"
    made: dict[str, Any] = {
        "name": site.name,
        "module": type(parts[site.port.path]).__name__,
        "shape": [rows, *site.shape[1:]],
    }
    return {**made, "aliases": list(site.aliases)} if site.aliases else made


def _of_data(data: str, chosen: Chosen) -> Arguments:
    from mi.tasks import subject
    from mi.tasks.arguments import arguments

    (example,) = arguments(subject.for_sites(data), [0], chosen, need_answers=False)
    return example


def _made_up(config: Mapping[str, Any], model: Module) -> Arguments | None:
    """An input of the shape that the config speaks of: tokens, an image, a time series."""
    import numpy as np

    from mi.tasks.arguments import Arguments

    def size(*names: str) -> int:
        return next((int(config[name]) for name in names if isinstance(config.get(name), int)), 0)

    name = str(getattr(model.module, "main_input_name", ""))
    if name == "input_ids" and size("vocab_size"):
        positions = size("max_position_embeddings", "n_positions") or TOKENS
        made = np.zeros(min(TOKENS, positions), dtype=np.int64)
    elif name == "pixel_values" and size("image_size"):
        made = np.zeros((size("num_channels") or 3, size("image_size"), size("image_size")), dtype=np.float32)
    elif name == "past_values" and size("context_length"):
        made = np.zeros((size("context_length"), size("num_input_channels") or 1), dtype=np.float32)
    else:
        return None
    return Arguments("made up", {name: made}, {name: made}, (), ())


def tables(facts: Mapping[str, Any]) -> list[Table]:
    from mi.show.head import fields
    from mi.show.numbers import number

    parts = [
        ("model", fields({**facts["model"], "parameters": None})),
        ("class", facts["class"]),
        ("parameters", number(facts["model"]["parameters"])),
        ("graph", "none: sites only"),
    ]
    notes = []
    if "shapes_of" in facts:
        shapes = ", ".join(f"{name} {_shape(shape)}" for name, shape in facts["shapes_of"].items())
        notes.append(f"shapes for an input of {shapes}")
    else:
        notes.append("no shapes: what the model takes is not known; --data FILE names examples")
    if facts["run_several_times"]:
        notes.append(f"run several times, and so no sites: {', '.join(facts['run_several_times'])}")
    rows = [
        (site["name"], " ".join(site.get("aliases", ())), site["module"], _shape(site.get("shape", ())))
        for site in facts["sites"]
    ]
    columns = (Column("site"), Column("alias"), Column("module"), Column("shape"))
    return [Table((Column("part"), Column("value", wide=True)), parts), Table(columns, rows, notes=notes)]


def _shape(axes: Sequence[Any]) -> str:
    return f"[{', '.join(map(str, axes))}]" if axes else ""
