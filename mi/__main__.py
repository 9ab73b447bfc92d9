"""The front door: command line in, exit code out. Standard library only, so that `mi --help` is instant.

It knows the names of the commands and nothing else about them; `mi/run.py` parses and runs the one that was named.
"""

from __future__ import annotations

import sys

GROUPS: dict[str, dict[str, str]] = {
    "The main line": {
        "data": "make or read examples of a task, or keep those the model gets right",
        "cache": "run the model on clean and corrupted inputs; starts a pipe",
        "attribute": "score every edge of the model's graph",
        "prune": "keep the edges that matter: scores in, circuit out",
        "score": "measure how faithful a circuit is, or the curve over sizes",
        "pipe": "run several stages in one process: 'cache ! attribute ! prune'",
    },
    "Other ways to a circuit": {
        "patch": "put one activation of the other run into this one: where to look",
        "search": "find a circuit by trying edges, or by learning a mask",
        "merge": "make one ranking of several: an ensemble of scores",
        "set": "join circuits, or take one from another",
    },
    "Judge and compare": {
        "eval": "hold scores against a circuit that is known",
        "check": "is a report as good as its baseline? for CI",
        "diff": "what differs between two circuits, scores, reports or models",
    },
    "Look": {
        "view": "show a stream as a table",
        "graph": "draw a circuit: SVG, HTML, DOT or PNG",
        "plot": "plot reports, scores or effects, as a picture or as text",
        "report": "a circuit and its reports as one page for a reviewer",
    },
    "Streams": {
        "head": "keep the first records of a stream",
        "cat": "join several sets of examples into one",
        "split": "take a set of examples apart, by a field or at random",
        "log": "show the commands that made a stream, or a script that repeats them",
        "verify": "check the digests of streams and of their tensors",
        "stamp": "seal a stream again after an edit",
        "pack": "copy a stream together with its tensors",
        "schema": "print the JSON Schema of a kind of stream",
    },
    "Exchange": {
        "import": "read scores and circuits that other tools wrote",
        "export": "write scores and circuits for other tools",
        "push": "put a stream into a repository of the hub, or a folder",
        "pull": "get a stream from there, verified",
        "mib": "run a cell of the MIB benchmark, or collect its results",
    },
    "The house": {
        "info": "versions, devices, tasks and methods, or the sites of a model",
        "adapter": "the architectures that mi knows, and how to make it know another",
        "gc": "empty the store of tensors that are old or too many",
    },
}
# All others never import torch.
MODEL_COMMANDS = ("data", "cache", "patch", "attribute", "search", "score", "pipe", "mib", "info", "adapter")
COMMANDS: dict[str, str] = {name: summary for group in GROUPS.values() for name, summary in group.items()}

USAGE = 2
FAILED = 4
INTERRUPTED = 130
BROKEN_PIPE = 141


def main(argv: list[str] | None = None) -> int:
    """Run one command line. Returns the exit code."""
    args = sys.argv[1:] if argv is None else list(argv)
    try:
        return _dispatch(args)
    except KeyboardInterrupt:  # while mi/run.py itself is being imported
        return INTERRUPTED
    except BrokenPipeError:
        return BROKEN_PIPE
    except OSError as error:
        print(f"mi: cannot write: {error.strerror}", file=sys.stderr)
        return FAILED


def _dispatch(args: list[str]) -> int:
    if not args:
        print(usage(), end="", file=sys.stderr)
        return USAGE
    first, rest = args[0], args[1:]
    if first == "help" and rest:
        first, rest = rest[0], [*rest[1:], "--help"]
    if first in ("-h", "--help", "help"):
        print(usage(), end="", flush=True)
        return 0
    if first in ("-V", "--version"):
        from mi import __version__

        print(f"mi {__version__}", flush=True)
        return 0
    if first not in COMMANDS:
        return _unknown(first)
    from mi.run import run

    return run(first, rest)


def usage() -> str:
    """The text of `mi --help`."""
    width = max(map(len, [*COMMANDS, "-V, --version"]))
    lines = [
        "Usage: mi COMMAND [OPTIONS] [FILE]",
        "",
        "Composable tools for mechanistic interpretability: find the part of a network that",
        "does a job, and measure how faithful that part is. Commands are joined by pipes:",
        "",
        "    mi cache | mi attribute | mi prune | mi score",
        "",
    ]
    for title, commands in GROUPS.items():
        lines += [f"{title}:", *(f"  {name:<{width}}  {summary}" for name, summary in commands.items()), ""]
    lines += [
        "Options:",
        f"  {'-h, --help':<{width}}  show this, or after a command its own help",
        f"  {'-V, --version':<{width}}  show the version",
        "",
        "Exit codes: 0 done, 1 a check found something, 2 usage, 3 bad input, 4 the run failed.",
    ]
    return "\n".join(lines) + "\n"


def _unknown(word: str) -> int:
    from difflib import get_close_matches

    kind = "option" if word.startswith("-") else "command"
    near = get_close_matches(word, COMMANDS, n=1)
    hint = f"did you mean 'mi {near[0]}'?" if near else "'mi --help' lists them"
    print(f"mi: no {kind} {word!r}; {hint}", file=sys.stderr)
    return USAGE


def entry() -> None:
    """The console script. Libraries must not read our flags (nnsight takes -v for itself), so argv is emptied."""
    args = sys.argv[1:]
    sys.argv[1:] = []
    if args and args[0] not in MODEL_COMMANDS:
        _start_light()
    code = main(args)
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:  # it has been said, or nobody reads: the interpreter must not say it again
        _silence(sys.stdout.fileno())
        code = code or FAILED
    if code == INTERRUPTED or _light():
        _leave(code)
    sys.exit(code)


def _leave(code: int) -> None:
    """End now. An interrupt that passed through exec() of a string, as while a library is imported, makes CPython end
    `python -m` by the signal itself, whatever the exit code."""
    import os

    if sys.stderr is not None:
        sys.stderr.flush()
    os._exit(code)


def _light() -> bool:
    """Whether nothing is left that must be put in order: taking every module apart is a tenth of a light command.
    torch ends in its own way, and so does a profiler, which has yet to write what it saw."""
    return "torch" not in sys.modules and sys.getprofile() is None and sys.gettrace() is None


def _start_light() -> None:
    """numpy would start a pool of threads, which takes longer than all that a light command computes; and what is
    imported stays, so to look for garbage while importing is in vain."""
    import gc
    import os

    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    gc.set_threshold(200_000)


def _silence(descriptor: int) -> None:
    import os

    os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)


if __name__ == "__main__":
    entry()
