"""Where `mi score` finds the examples that a circuit was found on.

In: the head of a stream, and flags. Out: the examples, verified by their digest. In this order: ``--data`` or
``--task``, the generator that made them, the store, the data file's relative path.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from mi.errors import MiError
from mi.io import store
from mi.io.examples import examples_digest
from mi.io.models import locate
from mi.tasks import again, subject
from mi.tasks.subject import Chosen, Examples
from mi.tasks.tokenizer import Tokenizer
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
        rule = str((head.get("task") or {}).get("answers", "single"))
        return _given(subject.from_file(data, model, answers=rule), head)
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
        task = {**found.head["task"], **{name: task[name] for name in ("metric", "answers") if name in task}}
    return replace(found, head={**found.head, "task": task or found.head["task"]})


def _generated(source: Mapping[str, Any], wanted: str, model: Chosen, tried: list[str]) -> list[dict[str, Any]] | None:
    name = source.get("generator")
    if not name:
        return None
    return _again(f"generator {name}", lambda: again.generate(source, _made_for(source, model)), wanted, tried)


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
    return _again(
        str(path), lambda: again.read_file(source, _made_for(source, model), model.vocab_size or None), wanted, tried
    )


def _made_for(source: Mapping[str, Any], model: Chosen) -> Tokenizer | None:
    """The tokenizer that the examples were made for: the model's own, or that of the model which the stream names."""
    named = source.get("tokenizer") or {}
    if model.tokenizer is not None and named.get("sha256") in (None, model.tokenizer.digest):
        return model.tokenizer
    located = locate(named.get("id"), weights=False)
    return load_tokenizer(located.folder, located.id)


def _again(
    what: str, remake: Callable[[], list[dict[str, Any]]], wanted: str, tried: list[str]
) -> list[dict[str, Any]] | None:
    """The records of ``remake`` if they are those that are wanted; else why not goes into ``tried``."""
    try:
        records = remake()
    except (MiError, KeyError, TypeError, ValueError) as error:
        tried.append(f"{what}: {getattr(error, 'fact', error)}")
        return None
    if examples_digest(records) == wanted:
        return records
    tried.append(f"{what} gives other examples now")
    return None
