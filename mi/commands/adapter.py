"""`mi adapter`: how an architecture is laid out. In: a model, an architecture's name or a file. Out: a record of roles.

The record is data, TOML: `mi cache --adapter FILE` and every other command that runs a model take it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from mi import options
from mi.options import UNRECORDED, Argument, Option

if TYPE_CHECKING:
    from mi.core.identities import Finding
    from mi.core.probe import Probed

AsJson = Annotated[bool, UNRECORDED, Option("--json", help="Print one JSON object.")]


def adapter(json: AsJson = False) -> None:
    """List the architectures that mi knows.

    'mi adapter show' prints the record of one of them: which part of a model plays which role. 'mi adapter probe' finds
    the record of a model that is not among them. docs/architectures.md says what a record means and how it is used.

    Examples:

        mi adapter

        mi adapter show llama

        mi adapter probe -m ./my-model -o my-model.toml
    """
    from mi.core.families import ROLES
    from mi.io import canonical
    from mi.show.table import Column, Table, write

    rows = [
        (family, ", ".join(f"{key} = {canonical.dumps(value).decode()}" for key, value in record.when))
        for record in ROLES
        for family in record.families
    ]
    if json:
        facts = [{"family": family, "when": when} for family, when in rows]
        sys.stdout.write(canonical.dumps(facts).decode() + "\n")
    else:
        write([Table((Column("architecture"), Column("where its configuration says", wide=True)), sorted(rows))])


def adapter_show(
    name: Annotated[str, UNRECORDED, Argument(metavar="NAME", help="An architecture, or a file with a record.")],
    json: AsJson = False,
) -> None:
    """Print the record of an architecture, or that of a file if it is one.

    A path is that of a module; paths of parts of a block are relative to the block. What is left out is as usual: no
    such part, or no.

    Examples:

        mi adapter show gemma2

        mi adapter show my-model.toml --json
    """
    import os

    from mi.core import records
    from mi.core.families import ROLES
    from mi.errors import UsageError
    from mi.io import adapter_file, canonical

    found = [record for record in ROLES if name in record.families]
    if not found and not os.path.exists(name):
        raise UsageError(f"no architecture and no file is called {name}", "'mi adapter' lists the architectures")
    if not found:
        found = [records.from_record(adapter_file.read(name).record, name)]
    shown = [records.to_record(record) for record in found]
    if json:
        sys.stdout.write("".join(canonical.dumps(record).decode() + "\n" for record in shown))
    else:
        sys.stdout.write("\n".join(adapter_file.to_toml(record) for record in shown))


def adapter_probe(
    model: options.Model = None,
    revision: options.Revision = None,
    device: options.Device = "cpu",
    dtype: options.Dtype = "float32",
    trust_remote_code: options.TrustRemoteCode = False,
    allow_pickle: options.AllowPickle = False,
    output: options.Output = None,
    json: AsJson = False,
    quiet: options.Quiet = False,
) -> int:
    """Find out how an unknown architecture is laid out, and check it.

    Runs the model on a few random tokens and looks at what its parts do: who reads what whom wrote, and on which
    outputs of which projection a token's mix depends. Writes the record that this comes to, and runs on it the
    identities that every command checks when it loads a model. Exit code 1: a role could not be found, or an identity
    does not hold; the record says which, and wants a look.

    Examples:

        mi adapter probe -m ./my-model -o my-model.toml

        mi cache -m ./my-model --adapter my-model.toml --task ioi | mi attribute | mi prune | mi score
    """
    from mi import work
    from mi.core.sitewise.which import need_text
    from mi.errors import FOUND, OK
    from mi.io import atomic, canonical
    from mi.io.models import locate
    from mi.show.notes import note

    located = locate(model, revision, allow_pickle=allow_pickle)
    need_text(located)
    work.import_libraries()
    from mi.core import runtime
    from mi.core.model import read_module
    from mi.core.probe import checked, probe

    runtime.settle(False)
    module = read_module(located, runtime.dtype(dtype), trust_remote_code, allow_pickle, None)
    found = probe(module.to(runtime.device(device)))
    compared, fault = checked(module, found)
    if output or json:  # else they stand above the record
        for line in _said(found, compared, fault):
            note(line)
    holds = not found.lacking and not fault and all(finding.holds for finding in compared)
    if json:
        text = canonical.dumps(_facts(found, compared, fault)).decode() + "\n"
    else:
        text = _text(found, compared, fault)
    if output is None:
        sys.stdout.write(text)
    else:
        with atomic.file(output) as f:
            f.write(text.encode())
    return OK if holds else FOUND


def _text(found: Probed, compared: Sequence[Finding], fault: str) -> str:
    from mi.core import records
    from mi.io import adapter_file

    lines = [f"# {line}\n" for line in _said(found, compared, fault)]
    return "".join(lines) + adapter_file.to_toml(records.to_record(found.record))


def _said(found: Probed, compared: Sequence[Finding], fault: str) -> list[str]:
    lacking = [f"no {role}: {why}" for role, why in found.lacking.items()]
    return [*lacking, *([fault] if fault else []), *_identities(compared)]


def _identities(compared: Sequence[Finding]) -> list[str]:
    """A line for each identity: the largest error, or the first fault."""
    from mi.core.identities import SAID

    lines = []
    for number, what in SAID.items():
        own = [finding for finding in compared if finding.identity == number]
        bad = next((finding for finding in own if not finding.holds), None)
        if bad is not None:
            lines.append(f"identity {number} FAILS: {bad.otherwise} (relative error {bad.error:.1e})")
        elif own:
            lines.append(f"identity {number} holds: {what} (to {max(finding.error for finding in own):.1e})")
    return lines


def _facts(found: Probed, compared: Sequence[Finding], fault: str) -> dict[str, Any]:
    from mi.core import records
    from mi.core.identities import SAID

    by_number = {number: [finding for finding in compared if finding.identity == number] for number in SAID}
    return {
        "record": records.to_record(found.record),
        "lacking": dict(found.lacking),
        "fault": fault or None,
        "identities": [
            {
                "number": number,
                "says": what,
                "holds": all(finding.holds for finding in by_number[number]) if by_number[number] else None,
            }
            for number, what in SAID.items()
        ],
    }


SUBCOMMANDS: Mapping[str, Any] = {"probe": adapter_probe, "show": adapter_show}
