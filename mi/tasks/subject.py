"""What a command that runs a model works on: the model's files, the examples, and how a stream names both.

In: flags and perhaps a stream. Out: a :class:`Subject`, ready to be encoded. No torch: a result that is in the store is
found with no more than this.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mi.errors import MiError
from mi.io import adapter_file
from mi.io.adapter_file import AdapterFile
from mi.io.device_map import DeviceMap
from mi.io.examples import examples_digest, split_counts
from mi.io.models import Located, locate, of_head
from mi.io.stream import Stream
from mi.io.stream import read as read_stream
from mi.tasks import task as tasks
from mi.tasks.budget import DEFAULT_BUDGET, Budget
from mi.tasks.encode import Encoded, Place, encode
from mi.tasks.readers import Reading, own
from mi.tasks.readers import read as read_file
from mi.tasks.readers import tensors as tensor_files
from mi.tasks.readers.tensors import INPUTS
from mi.tasks.shape import shape_of
from mi.tasks.split import assign, first_of_each
from mi.tasks.tokenizer import Tokenizer
from mi.tasks.tokenizer import load as load_tokenizer

DEFAULT_TASK = "ioi"


@dataclass(frozen=True)
class Loading:
    """The flags that say how a model is loaded, and in how much memory it is to work."""

    device: str = "auto"
    dtype: str = "auto"
    tf32: bool = False
    trust_remote_code: bool = False
    allow_pickle: bool = False
    remote: str | None = None  # where the model runs: None is here
    device_map: DeviceMap | None = None  # how accelerate spreads the model over devices
    sites_only: bool = False  # as a module with sites, whatever its architecture, and no graph
    budget: Budget = DEFAULT_BUDGET
    kv: str | None = None  # the graph's receivers of keys and values: query, grouped, or those of the stream

    def inputs(self) -> list[Mapping[str, Any]]:
        """The files that say so, as inputs of a chain's link."""
        return [] if self.device_map is None else self.device_map.inputs()


@dataclass(frozen=True)
class Chosen:
    """A model that has been found: its files, its tokenizer, and the ``model`` of a head (dtype comes when it is
    loaded).
    """

    located: Located
    tokenizer: Tokenizer | None
    weights: str
    recorded: Mapping[str, Any] = field(default_factory=dict)  # the head's `model`, where a stream came with one
    adapter: AdapterFile | None = None  # roles that a user or the stream gives, where mi's own do not count

    @property
    def vocab_size(self) -> int:
        return int(self.located.config().get("vocab_size", 0))

    @property
    def kind(self) -> tuple[Located, AdapterFile | None]:
        """What tells whether the model has a graph."""
        return self.located, self.adapter

    @property
    def is_regression(self) -> bool:
        """Other weights than those that the stream was made with."""
        return bool(self.recorded) and self.recorded.get("weights") != self.weights

    def inputs(self) -> list[dict[str, Any]]:
        """The weights, as an input of a chain's link; and the file with the adapter, where one was given."""
        weights = {"name": self.located.id, "sha256": self.weights, "files": self.located.files()}
        if self.adapter is None or not self.adapter.sha256:
            return [weights]
        return [weights, {"name": self.adapter.name, "sha256": self.adapter.sha256}]

    @property
    def identity(self) -> str:
        """What results of this model depend on: its weights, and the roles if they are not mi's own."""
        return self.weights if self.adapter is None else f"{self.weights} {self.adapter.digest}"

    def head(self, dtype: str, bos: str) -> dict[str, Any]:
        """The ``model`` of the stream to be written."""
        config = self.located.config()
        made: dict[str, Any] = {
            "id": self.located.id,
            "revision": self.located.revision,
            "dtype": dtype,
            "architecture": str(config.get("model_type", "")),
            "weights": self.weights,
            "bos": bos,
        }
        if self.adapter is not None:
            made["adapter"] = {"sha256": self.adapter.digest, "roles": dict(self.adapter.record)}
        if self.is_regression:
            made |= {"from": self.recorded["weights"], "to": self.weights}
        return made


def choose_model(
    ref: str | None,
    revision: str | None,
    head: Mapping[str, Any],
    *,
    allow_pickle: bool = False,
    adapter: str | None = None,
    weights: bool = True,
) -> Chosen:
    """The model of ``-m``, else that of the stream, else the embedded default. ``adapter``: a file with its roles.
    Without ``weights``, a model of the hub is known by its config and tokenizer: it runs elsewhere.

    Raises:
        MiError: it is not there; or, without ``-m``, its weights are not those that the stream names.
    """
    recorded = head.get("model") or {}
    if ref is None and recorded:
        located = of_head(head, weights=weights)
    else:
        located = locate(ref, revision, allow_pickle=allow_pickle, weights=weights)
    found = located.digest()
    if ref is None and recorded and recorded.get("weights") != found:
        raise MiError(
            f"the weights of {located.id} are not those that made the stream: {found[:12]}, not "
            f"{str(recorded.get('weights'))[:12]}",
            f"name a model with -m, such as -m {located.id} to run on the new weights",
        )
    _check_graph(located, head)
    has_tokenizer = any((located.folder / name).is_file() for name in ("tokenizer.json", "vocab.json"))
    tokenizer = load_tokenizer(located.folder, located.id) if has_tokenizer else None
    return Chosen(located, tokenizer, found, recorded, _adapter(adapter, recorded, located))


def _adapter(path: str | None, recorded: Mapping[str, Any], located: Located) -> AdapterFile | None:
    """The adapter of ``--adapter``, else that of the stream if the model is of its family."""
    if path is not None:
        return adapter_file.read(path)
    named = recorded.get("adapter")
    if named is None:
        return None
    roles = adapter_file.checked(named.get("roles") if isinstance(named, dict) else None, "the stream's adapter")
    if located.config().get("model_type") not in (roles.get("families") or []):
        return None
    made = AdapterFile("the stream's adapter", roles, "")
    if made.digest != named.get("sha256"):
        raise MiError("the stream's adapter is not the one that its digest names", "give it with --adapter FILE")
    return made


def _check_graph(located: Located, head: Mapping[str, Any]) -> None:
    """Refuse another shape of graph before anything is loaded; the whole table is compared once the model is there."""
    params = (head.get("graph") or {}).get("params") or {}
    shape = shape_of(located.config())
    for key, size in (("n_layers", shape.n_layers), ("n_heads", shape.n_heads)):
        if size > 1 and key in params and params[key] != size:  # 1 where the config does not say
            raise MiError(
                f"{located.id} has another graph than the stream: {key} is {size}, not {params[key]}",
                "scores and circuits belong to one graph; make them again with this model",
            )


@dataclass(frozen=True)
class Examples:
    """Example records, the head parts that name them, and where each stands, for errors."""

    records: list[dict[str, Any]]
    head: Mapping[str, Any]  # `task` and `examples`
    place: Place
    inputs: Sequence[Mapping[str, Any]] = ()
    notes: Sequence[str] = ()
    tensors: Mapping[str, Any] = field(default_factory=dict)  # blobs that the records name


def from_stream(stream: Stream) -> Examples:
    """The records of an examples or cache stream, verified against the digest in its head."""
    named = stream.head.get("examples", {}).get("sha256")
    found = examples_digest(stream.records)
    if named is not None and named != found:
        raise MiError("the examples are not those that the head names", "make the stream again", place=stream.origin)
    head: dict[str, Any] = {key: stream.head[key] for key in ("task", "examples") if key in stream.head}
    held = {INPUTS: stream.blobs[INPUTS]} if INPUTS in stream.blobs else {}
    return Examples(stream.records, head, stream.place, tensors=held)


def from_task(name: str, n: int, seed: int, counterfactual: str | None, tokenizer: Tokenizer | None) -> Examples:
    """Examples made by a task's generator."""
    records, head = tasks.make(name, n, seed, counterfactual, tokenizer)
    return Examples(records, head, lambda index: f"example {index + 1} of {name}")


def from_file(path: str, model: Chosen, counterfactual: str | None = None, answers: str = "single") -> Examples:
    """Examples of a data file, in any format that `mi data --from` reads, or an examples stream."""
    reading = read_file(
        path,
        tokenizer=model.tokenizer,
        vocab_size=model.vocab_size or None,
        counterfactual=counterfactual,
        answers=answers,
    )
    return _of_reading(path, reading)


def of_tensors(path: str) -> Examples:
    """Examples of a safetensors file: their inputs are tensors."""
    found = tensor_files.read(path)
    examples = {
        "sha256": examples_digest(found.records),
        "n": split_counts(found.records),
        "source": found.source,
    }
    head = {"task": found.task, "examples": examples}
    held = {INPUTS: found.tensors}
    return Examples(found.records, head, lambda index: f"{path}: row {index}", found.inputs, tensors=held)


def for_sites(path: str) -> Examples:
    """Examples of a file for a model that is no language model: tensors, a stream that mi wrote, or records of any
    format, whose words are not looked up in a vocabulary."""
    if tensor_files.is_tensors(path):
        return of_tensors(path)
    if path != "-" and os.path.isfile(path):
        with open(path, "rb") as file:
            if own.is_stream(file.readline(1 << 16).decode("utf-8", "replace")):
                return from_stream(read_stream(path, ("examples", "cache")))
    return _of_reading(path, read_file(path))


def _of_reading(path: str, reading: Reading) -> Examples:
    examples = {
        "sha256": examples_digest(reading.records),
        "n": split_counts(reading.records),
        "source": reading.source,
    }
    head = {"task": reading.task, "examples": examples}
    return Examples(reading.records, head, lambda index: f"{path}: example {index + 1}", reading.inputs, reading.notes)


def answered(examples: Examples, rule: str) -> Examples:
    """The same examples under a rule for answers of several tokens; every stage after this one follows it."""
    if rule == "single":
        return examples
    return replace(examples, head={**examples.head, "task": {**examples.head.get("task", {}), "answers": rule}})


def limited(examples: Examples, limit: int | None) -> Examples:
    """The first ``limit`` records of each split, as a set of its own."""
    if limit is None:
        return examples
    rows = first_of_each(examples.records, limit)
    records = [examples.records[row] for row in rows]
    named = dict(examples.head["examples"])
    named |= {"sha256": examples_digest(records), "n": split_counts(records)}
    source = named.get("source", {})
    named["source"] = {**source, "limit": min(limit, source.get("limit", limit))}
    return replace(
        examples,
        records=records,
        head={**examples.head, "examples": named},
        place=lambda index: place_of(examples.place, rows[index]),
    )


def place_of(place: Place, row: int) -> str:
    """Where the record of a row stands, for errors."""
    return place(row) if callable(place) else f"{place}:{row + 2}"


def select(examples: Examples, split: str, limit: int | None = None) -> tuple[list[int], str]:
    """Rows of the examples of one split (the first ``limit``), and a note for stderr."""
    numbered = [{**record, "_row": row} for row, record in enumerate(examples.records)]
    chosen, note = assign(numbered, split)
    return [record["_row"] for record in chosen][:limit], note


def encoded(
    examples: Examples,
    rows: Sequence[int],
    model: Chosen,
    bos: str,
    *,
    need_answers: bool,
    need_foils: bool | None = None,
) -> list[Encoded]:
    """The chosen records as token ids of the model; answers of several tokens by the rule of the head's task.

    Raises:
        MiError: names the record that cannot be used.
    """
    records = [examples.records[row] for row in rows]
    return encode(
        records,
        model.tokenizer,
        bos,
        model.vocab_size or None,
        lambda index: place_of(examples.place, rows[index]),
        need_answers=need_answers,
        need_foils=need_foils,
        rule=str((examples.head.get("task") or {}).get("answers", "single")),
    )
