"""mi pipe: several stages in one process. In: 'cache ! attribute ! prune'. Out: what the last stage writes.

Each stage reads and writes through `mi.io.channel`, so it leaves the same bytes as its twin in a shell pipe.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

from mi.errors import OK, UsageError
from mi.io import channel, stream
from mi.io.channel import Channel, Handover
from mi.options import UNRECORDED, Argument, Json, Output, Quiet
from mi.run import Call, execute, parse

# Commands that can stand in a pipe.
STAGES = (
    *(
        "data",
        "import",
        "head",
        "cat",
        "cache",
        "patch",
        "attribute",
        "search",
        "merge",
        "prune",
        "set",
        "score",
        "eval",
    ),
    *("check", "view", "graph", "plot", "report", "stamp", "log"),
)
BETWEEN = "!"


@dataclass(frozen=True)
class Stage:
    command: str
    words: tuple[str, ...]
    tee: str | None = None


def pipe(
    stages: Annotated[str, UNRECORDED, Argument(metavar="STAGES", help="Commands with their flags, joined by '!'.")],
    output: Output = None,
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Run several stages in one process.

    The model is loaded once and tensors stay in memory; the stream that comes out is the same, byte for byte, as that
    of the shell pipe. -o, --json and -q go to the last stage; --tee FILE on an earlier stage keeps a copy of its
    stream.

    Examples:
      mi pipe 'cache --task ioi ! attribute ! prune ! score'
      mi pipe 'data ioi -n 500 ! cache ! attribute --tee scores.jsonl ! prune --top 200' -o circuit.jsonl
    """
    planned = plan(stages)
    last = [*(("-o", output) if output else ()), *(("--json",) if json else ())]
    for index, stage in enumerate(planned):
        _check(stage, first=index == 0, last=index == len(planned) - 1, quiet=quiet)
    made: Handover | None = None
    code = OK
    for index, stage in enumerate(planned):
        ends = index == len(planned) - 1
        words = [*stage.words, *(last if ends else ()), *(("-q",) if quiet else ())]
        with channel.use(Channel(input=made, keeps_output=not ends)) as link:
            made = None  # its tensors are the stage's alone now
            code = execute(stage.command, words)
        if code != OK or ends:
            break
        made = link.made
        if stage.tee and made is not None:
            _keep(made, stage.tee)
    return code


def plan(text: str) -> list[Stage]:
    """The stages of 'cache ! attribute --steps 10 ! prune'."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UsageError(f"cannot read the stages: {str(error).lower()}", "quote them as in a shell") from None
    return [_stage(part) for part in _split(words)]


def _split(words: Sequence[str]) -> Iterator[list[str]]:
    part: list[str] = []
    for word in [*words, BETWEEN]:
        if word == "|":
            raise UsageError("stages are joined by '!', not '|'", "mi pipe 'cache ! attribute'")
        if word != BETWEEN:
            part.append(word)
        elif part:
            yield part
            part = []
        else:
            raise UsageError("a stage is empty", "mi pipe 'cache ! attribute ! prune ! score'")


def _stage(words: list[str]) -> Stage:
    command, *rest = words[1:] if words[0] == "mi" and len(words) > 1 else words
    if command not in STAGES:
        raise UsageError(f"no stage {command!r}", f"stages are {', '.join(STAGES)}")
    tee: str | None = None
    if "--tee" in rest:
        at = rest.index("--tee")
        if at + 1 == len(rest):
            raise UsageError(f"--tee of {command} names no file", "--tee scores.jsonl")
        tee = rest[at + 1]
        rest = rest[:at] + rest[at + 2 :]
    return Stage(command, tuple(rest), tee)


def _check(stage: Stage, *, first: bool, last: bool, quiet: bool) -> None:
    """Parse every stage before the first one works, so that a wrong flag at the end costs nothing."""
    call = None if {"-h", "--help"} & set(stage.words) else parse(stage.command, stage.words)
    if not isinstance(call, Call):
        raise UsageError("--help is no stage", f"mi {stage.command} --help")
    if last and stage.tee:
        raise UsageError("the last stage takes -o, not --tee", "mi pipe '... ! score' -o report.jsonl")
    stream.check_output(stage.tee)
    if not last and call.arguments.get("output"):
        raise UsageError(f"-o of {stage.command} would leave the next stage nothing to read", "use --tee FILE")
    reads = call.arguments.get("files") or [call.arguments.get("file")]
    if not first and not {None, "-"} & set(reads):
        raise UsageError(
            f"{stage.command} reads {' and '.join(reads)}, not the stage before it", "leave the file away, or name it -"
        )


def _keep(made: Handover, file: str) -> None:
    """A copy of the stream between two stages, as the shell's twin would write it with -o."""
    whole = stream.parse(made.data.splitlines(keepends=True), "stdin", stream.KINDS, memory=made.blobs)
    stream.write(file, whole.head, whole.records, whole.blobs)
