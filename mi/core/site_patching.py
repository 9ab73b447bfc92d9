"""Activation patching at one place at a time: the activation of the other run put into this one, and what becomes of
the metric.

Noising puts a corrupted activation into the clean run, denoising a clean one into the corrupted run (Meng et al. 2022).
A place, or cell, is a site of a layer at one position or at all, and of one head or of all.

Flows in: a model, encoded examples, a site and the axes of the cells. Flows out: :class:`SitePatching`, the metric of
every cell on every example. Cells run side by side as rows of one batch. With the fast executor they go on from the
block that they touch, at the positions from the first difference on (`resume`); the generic one runs the whole model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mi.core import batches, ports
from mi.core.batches import Batch, copies_at_once
from mi.core.executor import Edit, Executor, Port
from mi.core.job import finite
from mi.core.memory import SideBySide, halving
from mi.core.metrics import Metric, metric_named
from mi.core.model import Model
from mi.core.readout import same_logits
from mi.core.resume import Resume, first_position
from mi.core.sites import Site, resolve
from mi.errors import MiError, UsageError
from mi.tasks.encode import Encoded

ALIASES = {
    "resid_pre": "resid_pre",
    "resid_mid": "resid_mid",
    "resid_post": "resid_post",
    "attn_out": "attn.out",
    "mlp_out": "mlp.out",
    "z": "attn.z",
    "q": "attn.q",
    "k": "attn.k",
    "v": "attn.v",
}
SITES = tuple(ALIASES)
HEADS = ("z", "q", "k", "v")  # sites that have heads; keys and values their own, fewer where queries share them
AXES = ("layer,position", "head,position", "layer,head", "layer")
DIRECTIONS = ("noising", "denoising")


@dataclass(frozen=True)
class Cell:
    """One place. ``head`` or ``position`` None: all of them."""

    layer: int
    head: int | None = None
    position: int | None = None


@dataclass(frozen=True)
class SitePatching:
    """The metric with each cell patched, and of the two runs; float64."""

    cells: list[Cell]
    value: Float[np.ndarray, "cell example"]
    clean: Float[np.ndarray, " example"]
    corrupted: Float[np.ndarray, " example"]
    plan: list[list[int]] = field(repr=False)
    halved: int = 0


def check(site: str, by: str, direction: str, lengths: Sequence[int]) -> None:
    """Refuse a site, axes or a direction that there are not, and positions that do not line up."""
    if site not in SITES:
        raise UsageError(f"nothing is patched at '{site}'", f"sites are {', '.join(SITES)}")
    if by not in AXES:
        raise UsageError(f"no axes '{by}'", f"axes are {'; '.join(AXES)}")
    if "head" in by and site not in HEADS:
        raise UsageError(f"{site} has no heads", "use --site z, q, k or v, or --by layer,position")
    if direction not in DIRECTIONS:
        raise UsageError(f"no direction '{direction}'", f"directions are {', '.join(DIRECTIONS)}")
    several = sorted(set(lengths))
    if "position" in by and len(several) > 1:
        raise MiError(
            f"the examples have {several[0]} to {several[-1]} tokens, so their positions do not line up",
            f"choose some with --template or --length, or use --by {'layer,head' if site in HEADS else 'layer'}",
        )


def cells_of(model: Model, site: str, by: str, length: int) -> list[Cell]:
    """Every cell of the picture, a layer after the other."""
    shape = dict(resolve(model.adapter, f"blocks.0.{ALIASES[site]}").shape)
    heads: Sequence[int | None] = range(shape["head"]) if "head" in by else [None]
    positions: Sequence[int | None] = range(length) if "position" in by else [None]
    return [Cell(l, h, p) for l in range(model.adapter.n_layers) for h in heads for p in positions]


def patch_sites(
    model: Model,
    examples: Sequence[Encoded],
    *,
    site: str = "resid_pre",
    by: str = "layer,position",
    direction: str = "noising",
    metric: str = "logit-diff",
    batch_size: int | None = None,
    executor: str = "auto",
    on_done: Callable[[int], None] = lambda n: None,
    on_halved: Callable[[int], None] = lambda n: None,
) -> SitePatching:
    """Patch every cell of ``site`` and measure.

    Raises:
        MiError: no examples; a site or axes that there are not; examples whose positions do not line up.
        RunError: a metric is not finite.
    """
    if site == "resid_mid" and model.adapter.roles.parallel:
        family = getattr(model.module.config, "model_type", "this architecture")
        raise MiError(
            f"in '{family}' attention and MLP read the same stream, so there is none between them",
            "use --site resid_pre or resid_post",
            place="-m",
        )
    chosen = metric_named(metric)
    lengths = [len(example.clean) for example in examples]
    check(site, by, direction, lengths)
    if not examples:
        raise MiError("no examples to patch", "the chosen split is empty")
    runner = model.executor(executor)
    cells = cells_of(model, site, by, lengths[0])
    rows = batches.plan_for(model, lengths, batch_size)
    value = np.zeros((len(cells), len(examples)))
    clean, corrupted = np.zeros(len(examples)), np.zeros(len(examples))
    side = SideBySide(on_halved)

    def work(part: Sequence[int]) -> None:
        batch = batches.make_batch(examples, part, model.device)
        names = [examples[row].id for row in part]
        with torch.inference_mode():
            pair = _Pair(model, runner, chosen, batch, site, direction)
            index = list(part)
            clean[index], corrupted[index] = _numpy(pair.clean), _numpy(pair.corrupted)
            finite(pair.clean, names, "clean")
            finite(pair.corrupted, names, "corrupted")

            def measure(some: Sequence[int]) -> None:
                metrics = pair.run([cells[number] for number in some])  # [cell, batch]
                finite(metrics.flatten(), names * len(some), "patched")
                value[np.ix_(some, index)] = _numpy(metrics)

            for chunk in pair.chunks(range(len(cells)), cells):
                side.run(chunk, len(part), measure)
        on_done(len(part))

    done, halved = halving(rows, work, on_halved)
    return SitePatching(cells, value, clean, corrupted, done, halved + side.halved)


def _numpy(metric: Tensor) -> np.ndarray:
    return metric.cpu().double().numpy()


@dataclass(frozen=True)
class _Place:
    """Where one layer's cells are: a port, the columns of each head (or of all) there, and what is put in.

    ``block`` is where the run goes on from. ``port`` None: the stream before that block is itself what is patched.
    """

    block: int
    port: Port | None
    columns: Int[Tensor, " *head column"]
    target: Float[Tensor, "batch pos width"]


class _Pair:
    """The two runs of one batch: one is patched, the other is where activations come from."""

    def __init__(
        self, model: Model, executor: Executor, metric: Metric, batch: Batch, site: str, direction: str
    ) -> None:
        self._model, self._executor, self._metric, self._batch, self._site = model, executor, metric, batch, site
        noising = direction == "noising"
        base, other = (batch.clean, batch.corrupted) if noising else (batch.corrupted, batch.clean)
        self._ids = base
        self._resumes = executor.name == "fast"
        length = batch.clean.shape[1]
        differs = batch.clean != batch.corrupted
        # Where an example's prompts first differ; the length where they never do.
        self._differs_at = torch.where(differs.any(1), differs.to(torch.int8).argmax(1), length)
        first = int(torch.minimum(self._differs_at, batch.read).min()) if self._resumes else 0
        self._first = first_position(model, first)
        self._base, base_logits = self._record(base, self._ports_of_base())
        self._other, other_logits = self._record(other, self._ports())
        clean_logits = base_logits if noising else other_logits
        self._reference = clean_logits.to(model.compute_dtype)
        self._base_metric = self._measure(base_logits, 1)[0]
        other_metric = self._measure(other_logits, 1)[0]
        self.clean, self.corrupted = (self._base_metric, other_metric) if noising else (other_metric, self._base_metric)
        self._resume = self._resumed(base, base_logits) if self._resumes else None
        self._places = [self._place(layer) for layer in range(model.adapter.n_layers)]

    def _resumed(self, ids: Tensor, logits: Tensor) -> Resume:
        resume = Resume(self._model, ids, self._batch.read, self._first)
        n_layers = self._model.adapter.n_layers
        start, end = (self._stream(self._base, block)[:, self._first :] for block in (0, n_layers))
        last = resume.at_read(end)[:, 0]
        resume.verify(start, last)
        with torch.no_grad():
            same_logits(self._unembedded(last), logits, "use --executor generic, which runs the model to its end")
        return resume

    def chunks(self, numbers: Sequence[int], cells: Sequence[Cell]) -> Iterator[list[int]]:
        """Cells of one layer, few enough to run side by side."""
        most = copies_at_once(self._model, len(self._batch) * (self._batch.clean.shape[1] - self._first))
        for layer in range(self._model.adapter.n_layers):
            mine = [number for number in numbers if cells[number].layer == layer]
            for start in range(0, len(mine), most):
                yield mine[start : start + most]

    def run(self, cells: Sequence[Cell]) -> Float[Tensor, "cell batch"]:
        """The metric with each of these cells of one layer patched."""
        untouched = torch.stack([self._untouched(cell) for cell in cells])  # [cell, batch]
        running = [number for number, still in enumerate(untouched.all(1).tolist()) if not still]
        metrics = self._base_metric.repeat(len(cells), 1)
        if running:
            logits = self._logits([cells[number] for number in running])
            metrics[running] = self._measure(logits, len(running))
        return torch.where(untouched, self._base_metric, metrics)

    def _untouched(self, cell: Cell) -> Tensor:
        """Examples on which this cell can change nothing: it lies before the first difference, or after the read."""
        if cell.position is None:
            return self._differs_at > self._batch.read
        return (cell.position < self._differs_at) | (cell.position > self._batch.read)

    def _logits(self, cells: Sequence[Cell]) -> Float[Tensor, "row vocab"]:
        place, copies = self._places[cells[0].layer], len(cells)
        edits: list[Edit] = []
        if place.port is not None:
            edits.append(Edit(place.port, lambda value: self._put(value, place, cells)))
        if self._resume is None:
            return self._executor.run(self._ids.repeat(copies, 1), edits, self._batch.read.repeat(copies))
        hidden = self._stream(self._base, place.block)[:, self._first :]
        hidden = hidden.repeat(copies, 1, 1) if edits else self._put(hidden.repeat(copies, 1, 1), place, cells)
        return self._unembedded(self._resume.finish(hidden, place.block, edits))

    def _unembedded(self, hidden: Float[Tensor, "row d_model"]) -> Float[Tensor, "row vocab"]:
        adapter = self._model.adapter
        return adapter.logits(hidden)

    def _put(
        self, value: Float[Tensor, "row pos width"], place: _Place, cells: Sequence[Cell]
    ) -> Float[Tensor, "row pos width"]:
        """``value`` with each copy's cell replaced. In the last block it may hold the read position alone."""
        made = value.clone().unflatten(0, (len(cells), -1))  # [cell, batch, pos, width]
        only_read = made.shape[2] != self._batch.clean.shape[1] - self._first
        rows = torch.arange(made.shape[1], device=made.device)
        for copy, cell in zip(made, cells, strict=True):
            columns = place.columns.flatten() if cell.head is None else place.columns[cell.head]
            if only_read:
                at = self._batch.read
                hit = rows if cell.position is None else rows[at == cell.position]
                copy[hit[:, None], 0, columns] = place.target[hit, at[hit]][:, columns].to(copy.dtype)
            elif cell.position is None:
                copy[:, :, columns] = place.target[:, self._first :, columns].to(copy.dtype)
            elif cell.position >= self._first:
                copy[:, cell.position - self._first, columns] = place.target[:, cell.position, columns].to(copy.dtype)
        return made.flatten(0, 1)

    def _measure(self, logits: Tensor, copies: int) -> Float[Tensor, "cell batch"]:
        batch = self._batch
        repeated = replace(
            batch,
            rows=batch.rows * copies,
            **{
                name: getattr(batch, name).repeat(copies, 1)
                for name in ("clean", "corrupted", "answers", "answers_real", "foils", "foils_real")
            },
            read=batch.read.repeat(copies),
        )
        logits = logits.to(self._model.compute_dtype)
        return self._metric.compute(logits, repeated, self._reference.repeat(copies, 1)).view(copies, -1)

    # Where things are

    def _site_of(self, layer: int) -> Site:
        return resolve(self._model.adapter, f"blocks.{layer}.{ALIASES[self._site]}")

    def _stream_port(self, block: int) -> Port:
        """The residual stream before a block, or after the last: what the norm that reads it is given."""
        adapter = self._model.adapter
        if block == adapter.n_layers:
            return Port(adapter.roles.final_norm, "in")
        return ports.stream(adapter.layers[block])

    def _stream(self, run: dict[Port, Tensor], block: int) -> Tensor:
        return run[self._stream_port(block)]

    def _writer(self, layer: int) -> Port:
        """The port whose output completes the residual site of a layer: what is added there is added to the site.

        A norm's input is not such a port: the stream goes past it.
        """
        adapter = self._model.adapter
        if self._site == "resid_mid":
            return ports.attention_out(adapter.layers[layer])
        block = layer if self._site == "resid_post" else layer - 1
        return ports.mlp_out(adapter.layers[block]) if block >= 0 else Port(adapter.roles.embed, "out")

    def _ports(self) -> list[Port]:
        return [self._site_of(layer).port for layer in range(self._model.adapter.n_layers)]

    def _ports_of_base(self) -> list[Port]:
        n_layers = self._model.adapter.n_layers
        streams = [self._stream_port(block) for block in range(n_layers + 1)] if self._resumes else []
        writers = [self._writer(layer) for layer in range(n_layers)] if self._site.startswith("resid") else []
        return [*self._ports(), *streams, *writers]

    def _record(self, ids: Tensor, wanted: Sequence[Port]) -> tuple[dict[Port, Tensor], Tensor]:
        kept: dict[Port, Tensor] = {}

        def keep(port: Port) -> Edit:
            def function(value: Tensor) -> None:
                kept[port] = value.detach()

            return Edit(port, function)

        logits = self._executor.run(ids, [keep(port) for port in dict.fromkeys(wanted)], self._batch.read)
        return kept, logits

    def _place(self, layer: int) -> _Place:
        site = self._site_of(layer)
        base, other = self._base[site.port], self._other[site.port]
        width = torch.arange(other.shape[-1], device=other.device)
        columns = site.view(width[None, None])[0, 0]
        if not self._site.startswith("resid"):
            return _Place(layer, site.port, columns, other)
        if self._resumes and self._site != "resid_mid":
            return _Place(layer + (self._site == "resid_post"), None, columns, other)
        writer = self._writer(layer)
        return _Place(layer, writer, columns, self._base[writer] + (other - base))
