"""`mi cache --means`: the mean of what each node writes, over examples or any text, for --ablation mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mi import work
from mi.errors import MiError
from mi.show.notes import note
from mi.tasks import subject, text
from mi.tasks.plan import cost
from mi.tasks.subject import Chosen, Examples, Loading

if TYPE_CHECKING:
    from mi.core.model import Model
    from mi.tasks.encode import Encoded

WINDOW = 128  # tokens of text that are run together


@dataclass(frozen=True)
class Request:
    """The flags of `mi cache` that matter here."""

    by_position: bool
    limit: int | None
    bos: str
    batch_size: int | None
    executor: str
    output: str | None
    json: bool
    dry_run: bool
    fresh: bool

    @property
    def ablation(self) -> str:
        return "mean-positional" if self.by_position else "mean"


def of_examples(asked: Request, examples: Examples, head: Mapping[str, Any], chosen: Chosen, loading: Loading) -> None:
    """Means over the clean prompts of examples."""
    rows = range(len(examples.records))
    prompts = subject.encoded(examples, rows, chosen, asked.bos, need_answers=False)
    said = {"sha256": examples.head["examples"]["sha256"]}
    _make(asked, prompts, {"examples": said}, examples.head, head, chosen, loading, examples.inputs)


def of_text(asked: Request, path: str, window: int | None, chosen: Chosen, loading: Loading) -> None:
    """Means over windows of a text."""
    config = chosen.located.config()
    most = int(config.get("max_position_embeddings") or config.get("n_positions") or WINDOW)
    if window and window > most:
        raise MiError(f"a window of {window} tokens, and the model has {most} positions", "use a smaller --window")
    size = min(window or WINDOW, most)
    found = text.read(path, chosen.tokenizer, asked.bos, size, asked.limit, whole=asked.by_position)
    for line in found.notes:
        note(line)
    said = {"text": {"sha256": found.sha256, "window": size}}
    _make(asked, found.prompts, said, {}, {}, chosen, loading, [found.input])


def _make(
    asked: Request,
    prompts: Sequence[Encoded],
    source: Mapping[str, Any],
    parts: Mapping[str, Any],
    head: Mapping[str, Any],
    chosen: Chosen,
    loading: Loading,
    inputs: Sequence[Mapping[str, Any]],
) -> None:
    lengths = [len(prompt.clean) for prompt in prompts]
    if asked.dry_run:
        note(cost(lengths, chosen.located.config(), loading.dtype, asked.batch_size, 1, budget=loading.budget).text())
        return

    def compute(ready: Model) -> work.Result:
        from mi.core.means import means_of
        from mi.show.progress import progress

        with progress(len(prompts), "cache") as bar:
            got = means_of(
                ready,
                prompts,
                by_position=asked.by_position,
                batch_size=asked.batch_size,
                executor=asked.executor,
                on_done=bar.advance,
                on_halved=work.say_halved(),
            )
        said = {
            "ablation": asked.ablation,
            "n": len(prompts),
            "tokens": sum(lengths),
            "positions": max(lengths) if asked.by_position else 1,
            "plan": work.plan_summary(got.plan),
            "halved": got.halved,
            "memory_budget": loading.budget.bytes,
            **source,
        }
        return work.Result(
            head={**parts, "kind": "means", "model": {"bos": asked.bos}, "graph": ready.graph.head(), "means": said},
            records=[{"node": node, "norm": norm} for node, norm in got.norms.items()],
            tensors={"means": got.arrays},
        )

    work.produce(
        compute,
        chosen=chosen,
        loading=loading,
        head=head,
        inputs=inputs,
        depends_on=[dict(source)],
        output=asked.output,
        json=asked.json,
        fresh=asked.fresh,
    )
