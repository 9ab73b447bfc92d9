"""EAP-IG over activations: each source's own output is moved from corrupted to clean, all else stays (spec B3).

    S(u->v) = <a'_u - a_u, sum_k w_k g_v(a_u := a_u + (1 - alpha_k)(a'_u - a_u))>

as Marks et al. (2024) integrate. The heads of a layer are moved together, so there are 2L + 1 groups of sources. A run
scores what leaves its own group, and begins there: what comes before the group is as in the clean run and is not
computed again, forwards or backwards. All groups share the run at the clean end.

``--compat mib`` does what the reference's code does instead (spec B0 rows 6 and 15): every run scores all edges, and
the total is divided by the number of groups.

Flows in: a job and a batch. Flows out: its scores, and the losses of the clean and of the corrupted run where known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from mi.core import norms, ports, replacement
from mi.core.batches import Batch
from mi.core.contraction import contract, edges_of
from mi.core.executor import Edit, Port
from mi.core.gradients import GradientRecorder, ReceiverGradients
from mi.core.inputs import collector, step
from mi.core.job import Job, Scored
from mi.core.methods import alphas
from mi.core.model import Model
from mi.core.nodes import SourceGradients, neuron_scores, node_scores
from mi.core.outputs import Outputs, PostNorm
from mi.core.receivers import projection_ports, ungroup_edits
from mi.core.wide import zeros

Steps = Sequence[tuple[float, float]]  # alpha and weight


@dataclass(frozen=True)
class Group:
    """Sources that are moved together: the input, all heads of a layer, or an MLP. Heads of layers from
    ``heads_from`` on and MLPs of layers from ``mlps_from`` on read what they write.
    """

    sources: range
    port: Port
    clean: Float[Tensor, "batch pos d_model"]
    change: Float[Tensor, "batch pos d_model"]  # replacement minus clean
    heads_from: int
    mlps_from: int

    def moved(self, alpha: float) -> Tensor:
        """What the group writes at ``alpha``, as a leaf of a graph of gradients."""
        value = self.clean.to(self.change.dtype) + (1 - alpha) * self.change
        return value.to(self.clean.dtype).requires_grad_(True)


def groups(model: Model, clean: Outputs, attended: Sequence[Tensor], change: Outputs) -> Iterator[Group]:
    """Every group of sources, in the order of the graph. ``attended`` is what each attention wrote in the clean run."""
    adapter, places = model.adapter, model.layout
    of_input = range(places.input, places.input + 1)
    yield Group(of_input, Port(adapter.roles.embed, "out"), clean.embed, change.embed, 0, 0)
    for layer, rows in zip(adapter.layers, places.layers, strict=True):
        here = layer.index
        heads, mlp = range(rows.heads[0], rows.heads[-1] + 1), range(rows.mlp, rows.mlp + 1)
        moved = change.z[here] @ layer.output_weight.to(model.compute_dtype).flatten(0, 1)
        own_mlp = here + 1 if adapter.roles.parallel else here  # the first that reads the heads
        yield Group(heads, ports.attended(layer), attended[here], moved, here + 1, own_mlp)
        yield Group(mlp, ports.mlp_out(layer), clean.mlp[here], change.mlp[here], here + 1, here + 1)


def attention_outputs(model: Model, outputs: Outputs) -> list[Float[Tensor, "batch pos d_model"]]:
    """What each layer's attention writes: its heads and b_O, before a post-norm."""
    return [layer.attended(z) for layer, z in zip(model.adapter.layers, outputs.z, strict=True)]


def run(job: Job, batch: Batch) -> Scored:
    """Score one batch."""
    steps = alphas(job.config)
    corrupted, corrupted_logits = None, None
    if job.instead.from_corrupted:
        corrupted, corrupted_logits = replacement.record(job.model, job.executor, batch.corrupted, batch.read)
    shared = collector(job)  # of the step at the clean end
    at_end = [weight for alpha, weight in steps if alpha == 1.0 and not job.config.compat]
    if at_end:
        with torch.no_grad():
            embed = job.model.adapter.embed(batch.clean)
        recorded, clean_logits = step(job, batch, embed, None, at_end[0], shared, keep=True)
        assert recorded is not None
        clean = recorded
    else:
        clean, clean_logits = replacement.record(job.model, job.executor, batch.clean, batch.read)
    difference = job.difference(clean, corrupted)
    work = _Work(job, batch, clean, attention_outputs(job.model, clean), clean_logits, difference)
    if job.config.compat:
        scores = work.as_the_reference(steps)
    else:
        moved = [step for step in steps if step[0] != 1.0]
        scores = work.edges(moved) if job.config.level == "edge" else work.sources(moved)
    if at_end:
        scores = scores + shared.scores(difference, batch.read)
    loss = job.loss(clean_logits, batch, clean_logits, "clean")
    lost = None if corrupted_logits is None else job.loss(corrupted_logits, batch, clean_logits, "corrupted")
    return Scored(scores, loss, lost)


@dataclass(frozen=True)
class _Work:
    """One batch: its clean run, and runs with a group moved."""

    job: Job
    batch: Batch
    clean: Outputs
    attended: list[Tensor]
    clean_logits: Tensor
    difference: Outputs

    def edges(self, steps: Steps) -> Float[Tensor, "batch edge"]:
        model, read = self.job.model, self.batch.read
        cells = self._cells()
        for group in self._groups(self.difference):
            recorder = GradientRecorder(model.adapter, model.compute_dtype, group.heads_from, group.mlps_from)
            total: ReceiverGradients | None = None
            for alpha, weight in steps:
                moved = group.moved(alpha)
                with torch.enable_grad():
                    loss = self._loss([*self._from(group, moved), *recorder.edits()])
                    total = recorder.pull(loss, read, weight, total)
                if (through := self._post_norms(group, moved)) is not None:
                    # Of a step of its own: the norm that the heads pass is another one at each.
                    contract(model, replace(self.difference, post_norms=through), total, read, group.sources, cells)
                    total = None
            if total is not None:
                contract(model, self.difference, total, read, group.sources, cells)
        return edges_of(model, cells)

    def _post_norms(self, group: Group, moved: Tensor) -> list[PostNorm] | None:
        """The norms after heads, the group's where it is moved to; None for a group that passes none."""
        layers, places = self.job.model.adapter.layers, self.job.model.layout.layers
        own = next((i for i, rows in enumerate(places) if group.sources.start in rows.heads), None)
        if self.difference.post_norms is None or own is None:
            return None
        through = list(self.difference.post_norms)
        at = norms.normalise(layers[own].attention_post_norm, moved, self.job.model.compute_dtype)
        through[own] = replace(through[own], at=at)
        return through

    def sources(self, steps: Steps) -> Tensor:
        """Of nodes or neurons: the gradient is that of what is moved."""
        model = self.job.model
        found = [self._at_source(group, steps) for group in self._groups(self.difference)]
        gradients = SourceGradients(found[0], found[1::2], found[2::2])
        of_level = node_scores if self.job.config.level == "node" else neuron_scores
        return of_level(model, self.difference, gradients)

    def _at_source(self, group: Group, steps: Steps) -> Float[Tensor, "batch pos d_model"]:
        total = torch.zeros_like(group.change)
        for alpha, weight in steps:
            with torch.enable_grad():
                leaf = group.moved(alpha)
                loss = self._loss(self._from(group, leaf))
            total += weight * torch.autograd.grad(loss.sum(), leaf)[0].to(total.dtype)
        return total

    def as_the_reference(self, steps: Steps) -> Float[Tensor, "batch edge"]:
        """All edges from every run, whichever group it moves; a moved group passes no gradient on."""
        model, read = self.job.model, self.batch.read
        roles = model.adapter.roles
        cells = self._cells()
        # Towards a mean it moves a group from zero, not from the mean.
        change = self.difference if self.job.instead.from_corrupted else self.clean.map(lambda t: -t)
        every = list(self._groups(change))
        for group in every:
            total: ReceiverGradients | None = None
            recorder = GradientRecorder(model.adapter, model.compute_dtype)
            for alpha, weight in steps:
                moved = group.moved(alpha)
                embed = moved if group is every[0] else self.clean.embed.clone().requires_grad_(True)
                edits = [Edit(Port(roles.embed, "out"), _give(embed))]
                if group is not every[0]:
                    edits.append(Edit(group.port, _give(moved.detach()), replaces=True))
                with torch.enable_grad():
                    loss = self._loss([*edits, *ungroup_edits(model.adapter), *recorder.edits()])
                    total = recorder.pull(loss, read, weight / len(every), total, unreached=True)
            assert total is not None
            if group is every[0] and roles.position is None:
                # The moved embedding carries no gradient there, so what reads nothing else collects none.
                del total.heads[0]
                if roles.parallel:
                    del total.mlp[0]
            contract(model, self.difference, total, read, into=cells)
        return edges_of(model, cells)

    def _cells(self) -> Float[Tensor, "batch source receiver"]:
        places, device = self.job.model.layout, self.difference.embed.device
        shape = (len(self.batch), places.n_sources, places.n_receivers)
        return zeros(shape, device)

    def _groups(self, change: Outputs) -> Iterator[Group]:
        return groups(self.job.model, self.clean, self.attended, change)

    def _loss(self, edits: Sequence[Edit]) -> Float[Tensor, " batch"]:
        logits = self.job.executor.run(self.batch.clean, edits, self.batch.read)
        return -self.job.measure(logits, self.batch, self.clean_logits)

    def _from(self, group: Group, leaf: Tensor) -> list[Edit]:
        """Edits that put ``leaf`` in the place of what the group writes, and the clean run's values in the place of
        what comes before it, so that none of that is computed.
        """
        adapter, roles = self.job.model.adapter, self.job.model.adapter.roles
        written = {group.port: leaf}
        edits = [Edit(group.port, _give(leaf))] if group.port.path == roles.embed else []
        for layer in adapter.layers[: group.heads_from]:
            port = ports.attended(layer)
            edits += [Edit(unread, _nothing(leaf), replaces=True) for unread in projection_ports(adapter, layer)]
            edits.append(Edit(port, _give(written.get(port, self.attended[layer.index])), replaces=True))
        for layer in adapter.layers[: group.mlps_from]:
            port = ports.mlp_out(layer)
            own = Port(layer.path(layer.roles.mlp), "out")
            given = _give(written.get(port, self.clean.mlp[layer.index]))
            edits += [] if own == port else [Edit(own, _nothing(leaf), replaces=True)]
            edits.append(Edit(port, given, replaces=True))
        return [*edits, *ungroup_edits(adapter)]


def _give(value: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda _: value


def _nothing(like: Float[Tensor, "batch pos d_model"]) -> Callable[[Tensor], Tensor]:
    """Zeros in the place of what nobody reads."""
    return lambda value: value.new_zeros(*like.shape[:2], value.shape[-1])
