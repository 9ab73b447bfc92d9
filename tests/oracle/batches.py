"""Examples in, groups of equal length out, and the runs that every method needs of a group."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from tests.oracle.metrics import Example, metric
from tests.oracle.transformer import Edit, Run, run
from tests.oracle.weights import Tensor, Weights

ABLATIONS = ("counterfactual", "zero", "mean", "mean-positional")


@dataclass(frozen=True)
class Group:
    """Examples of one length, with their place in the original order and the two unedited runs."""

    places: list[int]
    examples: list[Example]
    clean: Tensor  # ids [batch, position]
    corrupted: Tensor
    clean_run: Run
    corrupted_run: Run

    def metric(self, name: str, logits: Tensor) -> Tensor:
        """[batch] of one metric, from logits [batch, position, vocabulary]."""
        rows = [
            metric(name, logits[row, example.read], example, self.clean_run.logits[row, example.read])
            for row, example in enumerate(self.examples)
        ]
        return torch.stack(rows)


def groups(weights: Weights, examples: Sequence[Example]) -> list[Group]:
    """One group a length, shortest first."""
    made = []
    for length in sorted({len(example.clean) for example in examples}):
        places = [place for place, example in enumerate(examples) if len(example.clean) == length]
        chosen = [examples[place] for place in places]
        clean = torch.tensor([list(example.clean) for example in chosen])
        corrupted = torch.tensor([list(example.corrupted) for example in chosen])
        with torch.no_grad():
            made.append(Group(places, chosen, clean, corrupted, run(weights, clean), run(weights, corrupted)))
    return made


def replacements(ablation: str, every: Sequence[Group], group: Group) -> list[Tensor]:
    """What each source is replaced by in this group: a list over sources of [batch, position, d].

    The means are over the clean prompts of all groups: `mean` over all their tokens, `mean-positional` over the
    examples at each position (so one length only).
    """
    clean = group.clean_run.sources
    if ablation == "counterfactual":
        return group.corrupted_run.sources
    if ablation == "zero":
        return [torch.zeros_like(output) for output in clean]
    replaced = []
    for source in range(len(clean)):
        outputs = [g.clean_run.sources[source] for g in every]
        if ablation == "mean":
            mean = torch.cat([output.flatten(0, 1) for output in outputs]).mean(0)
        else:
            assert ablation == "mean-positional"
            assert len(outputs) == 1, "several lengths have no mean at a position"
            mean = outputs[0].mean(0)
        replaced.append(mean.expand_as(clean[source]))
    return replaced


def edited(weights: Weights, group: Group, edit: Edit) -> Run:
    """The group's clean prompts under an edit."""
    return run(weights, group.clean, edit)
