"""`mi patch`: put one activation of the other run into this one, at each place in turn, and see what becomes of the
metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

from mi import options
from mi.options import Option

if TYPE_CHECKING:
    from mi.core.model import Model
    from mi.tasks.encode import Encoded
    from mi.work import Result

SITES = ("resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out", "z", "q", "k", "v")
Axes = Literal["layer,position", "head,position", "layer,head", "layer", "site", "site,position"]


def patch(
    file: options.Input = None,
    site: Annotated[
        list[str] | None,
        Option(
            "--site",
            metavar="SITE",
            show_default=False,
            help="What is patched in every layer: resid_pre (the default), resid_mid, resid_post, attn_out, mlp_out, "
            "z, q, k or v. Or any module's input or output, a name or a pattern (repeatable): 'model.layers.*:output'.",
        ),
    ] = None,
    by: Annotated[
        Axes | None,
        Option(
            "--by",
            show_default=False,
            help="One place is a layer at a position (the default), a head at a position, a head, or a layer; "
            "of modules a site (the default), or a site at a position.",
        ),
    ] = None,
    noising: Annotated[
        bool, Option("--noising", help="Put corrupted activations into the clean run (the default).")
    ] = False,
    denoising: Annotated[bool, Option("--denoising", help="Put clean activations into the corrupted run.")] = False,
    template: Annotated[
        str | None,
        Option("--template", metavar="NAME", show_default=False, help="Use the examples of one template only."),
    ] = None,
    length: Annotated[
        int | None,
        Option("--length", metavar="N", min=1, show_default=False, help="Use the examples of N tokens only."),
    ] = None,
    metric: options.Metric = None,
    split: options.Split = None,
    limit: options.Limit = None,
    model: options.Model = None,
    revision: options.Revision = None,
    bos: options.Bos = "auto",
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    tf32: options.Tf32 = False,
    tensor_parallel: options.TensorParallel = False,
    batch_size: options.BatchSize = None,
    memory_budget: options.MemoryBudget = "1GB",
    executor: options.Executor = "auto",
    remote: options.Remote = None,
    device_map: options.DeviceMap = None,
    trust_remote_code: options.TrustRemoteCode = False,
    allow_pickle: options.AllowPickle = False,
    adapter: options.Adapter = None,
    output: options.Output = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    dry_run: options.DryRun = False,
    fresh: options.Fresh = False,
) -> None:
    """Patch one activation at a time and map what becomes of the metric: where to look first.

    Reads a cache or examples and uses the train split. An effect is positive where the place carries what the clean
    prompt has and the corrupted one lacks: noising loses it, denoising brings it back. It is also given as a share of
    the difference between the two runs. mi view draws the map, with --svg as a picture.

    A model that is no decoder (an encoder, a vision or time series transformer, any torch module) is patched by site:
    the output of every module, or what --site names.

    Positions must line up: choose examples of one length or template where the data has several.

    Examples:

        mi data ioi | mi patch --site resid_pre --length 16 -o effects.jsonl

        mi cache --task ioi | mi patch --site z --by layer,head --denoising | mi view

        mi patch pairs.jsonl -m bert/ --site 'bert.encoder.layer.*:output' --by site,position

        mi view effects.jsonl --svg -o effects.svg
    """
    from mi import work
    from mi.commands.patch_sites import Request, check_executor, of_modules, of_sites
    from mi.commands.remote import check, spread_over, weights_here
    from mi.core.sitewise.which import sites_only
    from mi.core.team import current
    from mi.errors import UsageError
    from mi.io import stream
    from mi.show.notes import note
    from mi.tasks import footprint, subject
    from mi.tasks.budget import parse
    from mi.tasks.encode import needs
    from mi.tasks.plan import cost

    if noising and denoising:
        raise UsageError("--noising and --denoising are two directions", "give one of them")
    direction = "denoising" if denoising else "noising"
    room, apart = parse(memory_budget), spread_over(device_map, device, remote)
    named = site or []
    everywhere = _of_every_layer(named)
    piped = current().first(lambda: stream.read(file, ("examples", "cache"), work.import_libraries))
    head = piped.head
    check(remote, model, head)
    here = weights_here(remote)
    chosen = subject.choose_model(model, revision, head, allow_pickle=allow_pickle, adapter=adapter, weights=here)
    if chosen.is_regression:
        note(f"running on {chosen.located.id}, whose weights are not those that the stream was made with")
    which = split or "train"
    loading = subject.Loading(device, dtype, tf32, trust_remote_code, allow_pickle, budget=room, device_map=apart)
    if remote and (everywhere or not named):
        named, everywhere = of_modules(everywhere), []
    if remote or (named and not everywhere) or (by or "").startswith("site") or sites_only(*chosen.kind):
        asked = Request(
            named, by, direction, template, length, metric, which, limit, bos, batch_size, output, json, dry_run, fresh
        )
        check_executor(executor)
        of_sites(asked, piped, chosen, replace(loading, sites_only=True, remote=remote))
        return
    axes, part = by or "layer,position", everywhere[0] if everywhere else SITES[0]
    examples = subject.from_stream(piped)
    rows, text = subject.select(examples, which)
    if text:
        note(text)
    measure = metric or str(head["task"]["metric"])
    begin = str(head.get("model", {}).get("bos", bos)) if bos == "auto" else bos
    encoded = subject.encoded(examples, rows, chosen, begin, **needs(measure))
    encoded = _chosen(encoded, template, length, which, axes)[:limit]
    if dry_run:
        lengths = [len(example.clean) for example in encoded]
        config = chosen.located.config()
        forwards = 2 + _places(config, part, axes, max(lengths))
        note(cost(lengths, config, dtype, batch_size, forwards, memory=footprint.sites, budget=room).text())
        return

    def compute(ready: Model) -> Result:
        from mi.circuit import effects
        from mi.core.site_patching import patch_sites
        from mi.show.progress import progress

        with progress(len(encoded), "patch") as bar:
            got = patch_sites(
                ready,
                encoded,
                site=part,
                by=axes,
                direction=direction,
                metric=measure,
                batch_size=batch_size,
                executor=executor,
                on_done=bar.advance,
                on_halved=work.say_halved(),
            )
        said: dict[str, Any] = {
            "site": part,
            "by": axes,
            "direction": direction,
            "metric": measure,
            "split": which,
            "n": len(encoded),
            "executor": ready.executor(executor).name,
            "plan": work.plan_summary(got.plan),
            "halved": got.halved,
            "memory_budget": room.bytes,
            **work.together(),
            "clean": float(got.clean.mean()),
            "corrupted": float(got.corrupted.mean()),
        }
        if "position" in axes:
            said["tokens"] = _tokens(encoded, chosen.tokenizer)
        if why := effects.undetermined(got.clean, got.corrupted):
            said["undetermined"] = why
        places = [
            {
                name: at
                for name, at in (("layer", c.layer), ("head", c.head), ("position", c.position))
                if at is not None
            }
            for c in got.cells
        ]
        kept = {key: value for key, value in head.items() if key not in ("mi", "v", "kind", "chain", "caching")}
        return work.Result(
            head={**kept, "kind": "effects", "model": {"bos": begin}, "graph": ready.graph.head(), "patching": said},
            records=effects.records(places, got.value, got.clean, got.corrupted, direction),
        )

    work.produce(
        compute,
        chosen=chosen,
        loading=loading,
        head=head,
        inputs=examples.inputs,
        depends_on=[piped.sha256],
        output=output,
        json=json,
        fresh=fresh,
        warnings=_warnings,
    )


def _of_every_layer(named: Sequence[str]) -> list[str]:
    """The site that means a place in every layer, if it is one; else sites are named one by one, or by patterns."""
    from mi.errors import UsageError

    found = [name for name in named if name in SITES]
    if found and len(named) > 1:
        raise UsageError(f"--site {found[0]} is of every layer, and patched alone", "give one such site at a time")
    for name in named:
        if name not in SITES and not any(mark in name for mark in ":.*?"):
            hint = f"sites are {', '.join(SITES)}, or a module's input or output, such as {name}.0:output"
            raise UsageError(f"nothing is patched at '{name}'", hint)
    return found


def _chosen(
    encoded: Sequence[Encoded], template: str | None, length: int | None, split: str, axes: str
) -> list[Encoded]:
    """The examples of one template and one length.

    Raises:
        MiError: there is none; or positions are asked for and the examples have several lengths.
    """
    from collections import Counter

    from mi.errors import MiError

    if not encoded:
        raise MiError(f"the split {split} has no examples", "choose another with --split")
    found = [e for e in encoded if template in (None, e.template)]
    if not found:
        common = ", ".join(name for name, _ in Counter(e.template for e in encoded if e.template).most_common(5))
        hint = f"its commonest are {common}" if common else "leave --template away"
        raise MiError(f"no example of the split {split} has the template {template!r}", hint)
    lengths = Counter(len(e.clean) for e in found)
    common = ", ".join(f"{tokens}: {n}" for tokens, n in sorted(lengths.most_common(5)))
    if length is not None:
        if length not in lengths:
            raise MiError(f"no example has {length} tokens", f"there are {common} examples")
        return [e for e in found if len(e.clean) == length]
    if "position" in axes and len(lengths) > 1:
        raise MiError(
            f"the examples have {min(lengths)} to {max(lengths)} tokens, so their positions do not line up",
            f"choose with --length ({common} examples), with --template, or leave position out of --by",
        )
    return found


def _tokens(encoded: Sequence[Encoded], tokenizer: Any) -> list[str]:
    """What stands at each position of the clean prompts: the token that all share, or the variable of the template
    that each fills in, {so}; nothing where they have no more in common than the place."""

    def text(example: Encoded, position: int) -> str:
        token = example.clean[position]
        return str(token) if tokenizer is None else str(tokenizer.decode([token]) or tokenizer.token(token) or "")

    def filled(example: Encoded, position: int) -> set[str]:
        values = example.record.get("variables") or {}
        return {name for name, value in values.items() if str(value).strip() == text(example, position).strip()}

    made = []
    for position in range(len(encoded[0].clean)):
        shared = {example.clean[position] for example in encoded}
        if len(shared) == 1:
            made.append(text(encoded[0], position))
            continue
        names = set.intersection(*(filled(example, position) for example in encoded))
        made.append(f"{{{min(names)}}}" if names else "")
    return made


def _places(config: Mapping[str, Any], site: str, axes: str, length: int) -> int:
    """How many places there are, from the model's configuration alone."""
    from mi.tasks.plan import shape_of

    n_heads = shape_of(config).n_heads
    heads = int(config.get("num_key_value_heads") or n_heads) if site in ("k", "v") else n_heads
    return shape_of(config).n_layers * (heads if "head" in axes else 1) * (length if "position" in axes else 1)


def _warnings(head: Mapping[str, Any], records: Sequence[Mapping[str, Any]]) -> list[str]:
    why = head["patching"].get("undetermined")
    return [f"no effect is given as a share of the difference: {why}"] if why else []
