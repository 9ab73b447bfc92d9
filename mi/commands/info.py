"""mi info: nothing in, what this installation has out; or a model in, its architecture and every site out."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import typing
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

from mi import options
from mi.options import UNRECORDED, Option
from mi.show.table import Column, Table

if TYPE_CHECKING:
    from mi.core.model import Model
    from mi.tasks.subject import Chosen

SIDES = {"in": "input", "out": "output", "pattern": "pattern"}  # of a port, in words
LIBRARIES = ("torch", "transformers", "nnsight", "tokenizers", "safetensors", "numpy", "typer")
Rows = list[tuple[str, ...]]


def info(
    model: options.Model = None,
    revision: options.Revision = None,
    device: options.Device = "cpu",
    dtype: options.Dtype = "auto",
    trust_remote_code: options.TrustRemoteCode = False,
    allow_pickle: options.AllowPickle = False,
    adapter: options.Adapter = None,
    data: Annotated[
        str | None,
        Option("--data", metavar="FILE", show_default=False, help="Shapes of sites for an input such as in FILE."),
    ] = None,
    json: Annotated[bool, UNRECORDED, Option("--json", help="Print one JSON object.")] = False,
    quiet: options.Quiet = False,
) -> None:
    """Show what is installed, or what a model is made of.

    Without a model: versions, devices, the embedded models, the tasks, the methods. With -m MODEL: its architecture and
    adapter, its counts, and every site with its alias and shape; 'mi cache --site' takes any of these names.

    A model that is no decoder has sites only, with the shapes of an input that the config describes, or of the first
    example of --data.

    Examples:
      mi info
      mi info -m gpt2
      mi info -m default --json | jq -r '.sites[].name'
      mi info -m model.py:build --trust-remote-code --data series.safetensors
    """
    from mi.io import canonical
    from mi.show import table
    from mi.tasks.subject import choose_model

    if model is None:
        facts = installation()
        tables = _installation_tables(facts)
    else:
        facts, tables = _of_model(
            choose_model(model, revision, {}, allow_pickle=allow_pickle, adapter=adapter),
            data,
            device=device,
            dtype=dtype,
            trust_remote_code=trust_remote_code,
            allow_pickle=allow_pickle,
        )
    if json:
        sys.stdout.write(canonical.dumps(facts).decode() + "\n")
    else:
        table.write(tables)


def _of_model(chosen: Chosen, data: str | None, **loading: Any) -> tuple[dict[str, Any], list[Table]]:
    """What the model is made of, and how that is shown."""
    from mi.core.sitewise.which import sites_only, unknown

    if sites_only(*chosen.kind) or unknown(*chosen.kind):
        from mi.commands import info_sites
        from mi.core.sitewise.load import load_located as load_sites

        facts = info_sites.description(load_sites(chosen.located, **loading), chosen, data)
        return facts, info_sites.tables(facts)
    from mi.core.model import load_located

    record = chosen.adapter.record if chosen.adapter else None
    facts = description(load_located(chosen.located, **loading, adapter=record))
    return facts, _model_tables(facts)


def installation() -> dict[str, Any]:
    """Versions, devices and names. Nothing heavy is imported for it."""
    from mi import __version__, embedded
    from mi.core.methods import METHODS
    from mi.core.sitewise.methods import LEVEL
    from mi.core.sitewise.methods import METHODS as OF_SITES
    from mi.io import store
    from mi.io.chain import version
    from mi.tasks.task import TASKS

    return {
        "versions": {
            "mi": __version__,
            "python": platform.python_version(),
            **{name: version(name) for name in LIBRARIES},
        },
        "devices": [{"name": name, "what": what} for name, what in _devices()],
        "store": str(store.where()),
        "models": list(embedded.NAMES),
        "tasks": [
            {"name": t.name, "summary": t.summary, "metric": t.metric, "counterfactuals": list(t.counterfactuals)}
            for t in TASKS.values()
        ],
        "methods": methods(),
        "attribution": [
            {
                "name": m.name,
                "summary": m.summary,
                "levels": [*m.levels, *([LEVEL] if m.name in OF_SITES else [])],
                "flags": list(m.flags),
            }
            for m in METHODS.values()
        ],
    }


def methods() -> dict[str, list[str]]:
    """What can be chosen among: the values of the flags, as the commands declare them."""
    from mi.commands.attribute import attribute

    hints = typing.get_type_hints(attribute)
    return {name: _choices(hints[name]) for name in ("method", "rule", "ablation", "metric") if name in hints}


def _choices(hint: Any) -> list[str]:
    """The words of a Literal, also inside an Optional."""
    words: list[str] = []
    for part in typing.get_args(hint):
        words += [part] if isinstance(part, str) else _choices(part)
    return words


def _devices() -> Iterator[tuple[str, str]]:
    """The processor, and what the system says of accelerators; torch, which takes a second, is not asked."""
    yield "cpu", f"{platform.processor() or platform.machine()}, {_cores()} cores"
    if sys.platform == "darwin" and platform.machine() == "arm64":
        yield "mps", "Apple GPU"
    if (program := shutil.which("nvidia-smi")) is None:
        return
    try:
        asked = [program, "--query-gpu=index,name,memory.total", "--format=csv,noheader"]
        listed = subprocess.run(asked, capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return
    for line in listed.splitlines():
        index, _, rest = line.partition(", ")
        yield f"cuda:{index}", rest


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _installation_tables(facts: Mapping[str, Any]) -> list[Table]:
    versions: Rows = list(facts["versions"].items())
    devices: Rows = [(device["name"], device["what"]) for device in facts["devices"]]
    tasks: Rows = [(t["name"], t["metric"], t["summary"]) for t in facts["tasks"]]
    methods: Rows = [(m["name"], " ".join(m["levels"]), m["summary"]) for m in facts["attribution"]]
    choices: Rows = [(f"--{name}", " ".join(words)) for name, words in facts["methods"].items() if name != "method"]
    return [
        Table((Column("program"), Column("version")), versions),
        Table((Column("device"), Column("what")), devices, notes=[f"store: {facts['store']}"]),
        Table((Column("embedded model"),), [(name,) for name in facts["models"]]),
        Table((Column("task"), Column("metric"), Column("what the model does", wide=True)), tasks),
        Table((Column("method"), Column("scores"), Column("by", wide=True)), methods),
        Table((Column("mi attribute"), Column("values", wide=True)), choices),
    ]


def description(model: Model) -> dict[str, Any]:
    """What a model is made of."""
    from mi.core.sites import aliases

    adapter, graph = model.adapter, model.graph
    return {
        "model": {**model.identity, "parameters": sum(p.numel() for p in model.module.parameters())},
        "adapter": {
            "families": list(adapter.roles.families),
            "layers": adapter.n_layers,
            "heads": adapter.n_heads,
            "key_value_heads": adapter.n_kv_heads,
            "d_model": adapter.d_model,
            "d_head": adapter.d_head,
            "vocabulary": adapter.vocab_size,
        },
        "graph": {
            **graph.head(),
            "nodes": len(graph.nodes),
            "receivers": len(graph.receivers),
            "edges": graph.n_edges,
        },
        "sites": [
            {
                "name": site.name,
                "module": f"{site.port.path}:{SIDES[site.port.side]}",
                "shape": ["batch", "pos", *([axis, size] if size else axis for axis, size in site.shape)],
            }
            for site in aliases(adapter)
        ],
    }


def _model_tables(facts: Mapping[str, Any]) -> list[Table]:
    from mi.show.head import fields
    from mi.show.numbers import number

    parts: Rows = [
        ("model", fields({**facts["model"], "parameters": None})),
        ("parameters", number(facts["model"]["parameters"])),
        ("adapter", fields(facts["adapter"])),
        ("graph", fields({key: facts["graph"][key] for key in ("builder", "nodes", "receivers", "edges", "digest")})),
    ]
    sites: Rows = [(site["name"], site["module"], _shape(site["shape"])) for site in facts["sites"]]
    return [
        Table((Column("part"), Column("value", wide=True)), parts),
        Table((Column("site"), Column("module"), Column("shape")), sites),
    ]


def _shape(axes: list[Any]) -> str:
    return "[" + ", ".join(axis if isinstance(axis, str) else f"{axis[0]} {axis[1]}" for axis in axes) + "]"
