"""Where `mi score` finds the examples that a circuit was found on.

In: the head of a stream, and flags. Out: the examples, verified by their digest. In this order: ``--data`` or
``--task``, the generator that made them, the store, the data file's relative path.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from mi.errors import MiError
from mi.io import store
from mi.io.examples import examples_digest
from mi.io.models import locate
from mi.tasks import subject
from mi.tasks import task as tasks
from mi.tasks.subject import Chosen, Examples
from mi.tasks.tokenizer import load as load_tokenizer


def examples(head: Mapping[str, Any], task: str | None, data: str | None, model: Chosen) -> Examples:
    """The examples of a stream after `mi cache`.

    Raises:
        MiError: none of the places has them; says what was tried.
    """
    named = head.get("examples") or {}
    source = dict(named.get("source") or {})
    if task and data:
        raise MiError("--task and --data both name examples", "give one of them", code=2)
    if data:
        return _given(subject.from_file(data, model), head)
    if task:
        n, seed = int(source.get("n", 100)), int(source.get("seed", 0))
        return subject.from_task(task, n, seed, None, model.tokenizer)
    wanted = named.get("sha256")
    if not wanted:
        raise MiError("the stream does not say what examples it was made from", "name them with --data FILE")
    tried: list[str] = []
    for place in (_generated, _stored, _file):
        found = place(source, wanted, model, tried)
        if found is not None:
            return Examples(found, {"task": head["task"], "examples": named}, lambda index: f"example {index + 1}")
    raise MiError(
        f"the examples {wanted[:12]} are not to be found: {'; '.join(tried)}",
        "name the file that holds them with --data FILE",
    )


def _given(found: Examples, head: Mapping[str, Any]) -> Examples:
    """The examples of ``--data``: those of the stream under another path, or others, measured as the stream was."""
    task = dict(head.get("task") or {})
    if found.head["examples"]["sha256"] != (head.get("examples") or {}).get("sha256"):
        task = {**found.head["task"], **({"metric": task["metric"]} if "metric" in task else {})}
    return replace(found, head={**found.head, "task": task or found.head["task"]})


def _same(records: list[dict[str, Any]], source: Mapping[str, Any], wanted: str) -> list[dict[str, Any]] | None:
    limit = source.get("limit")
    if limit is not None:
        whole = Examples(records, {"examples": {}}, "")
        records = subject.limited(whole, int(limit)).records
    return records if examples_digest(records) == wanted else None


def _generated(source: Mapping[str, Any], wanted: str, model: Chosen, tried: list[str]) -> list[dict[str, Any]] | None:
    name = source.get("generator")
    if not name:
        return None
    try:
        made_for = source.get("tokenizer") or {}
        tokenizer = model.tokenizer
        if tokenizer is None or made_for.get("sha256") not in (None, tokenizer.digest):
            located = locate(made_for.get("id"))
            tokenizer = load_tokenizer(located.folder, located.id)
        records, _ = tasks.make(
            name, int(source["n"]), int(source["seed"]), source.get("counterfactual"), tokenizer,
            tuple(source.get("splits") or ("train", "validation")),
        )  # fmt: skip
        found = _same(records, source, wanted)
    except (MiError, KeyError, TypeError, ValueError) as error:
        tried.append(f"generator {name}: {getattr(error, 'fact', error)}")
        return None
    if found is None:
        tried.append(f"generator {name} makes other examples now")
    return found


def _stored(source: Mapping[str, Any], wanted: str, model: Chosen, tried: list[str]) -> list[dict[str, Any]] | None:
    store.check_digest(wanted)
    found = store.get_examples(wanted)
    if found is None:
        tried.append(f"the store {store.where()} has none")
    return found


def _file(source: Mapping[str, Any], wanted: str, model: Chosen, tried: list[str]) -> list[dict[str, Any]] | None:
    path = source.get("path")
    if not path:
        return None
    if not Path(path).exists():
        tried.append(f"there is no {path}")
        return None
    try:
        found = _same(subject.from_file(str(path), model).records, source, wanted)
    except MiError as error:
        tried.append(f"{path}: {error.fact}")
        return None
    if found is None:
        tried.append(f"{path} holds other examples")
    return found
