"""Write docs/commands.md, the help page of every command, from the commands themselves: python -m docs.generate

`--check` writes nothing and exits with 1 if the file is not what would be written.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from mi.__main__ import GROUPS
from mi.run import build, find, module

FILE = Path(__file__).resolve().parent / "commands.md"
WIDTH = 100

HEAD = """\
# Commands

Written by `docs/generate.py` from the help pages: change those, not this. `mi help COMMAND` shows the same.
Flags that several commands share mean the same in all of them. [streams.md](streams.md) says what goes through the
pipes, [errors.md](errors.md) how a command ends.
"""


def text() -> str:
    parts = [HEAD]
    for title, commands in GROUPS.items():
        parts.append(f"## {title}\n")
        for name in commands:
            parts += [f"### mi {words}\n\n```text\n{page(words)}\n```\n" for words in _with_inner(name)]
    return "\n".join(parts)


def _with_inner(name: str) -> Iterator[str]:
    yield name
    yield from (f"{name} {inner}" for inner in getattr(module(name), "SUBCOMMANDS", {}))


def page(words: str) -> str:
    """What `mi help WORDS` prints on a wide terminal."""
    first, *rest = words.split()
    command, function, _ = find(first, rest)
    parser = build(command, function)
    context = parser.make_context(f"mi {command}", [], resilient_parsing=True, terminal_width=WIDTH)
    return str(parser.get_help(context)).rstrip()


def main() -> int:
    if "--check" in sys.argv[1:]:
        stale = not FILE.is_file() or FILE.read_text() != text()
        if stale:
            print("docs/commands.md is stale: make generated", file=sys.stderr)
        return int(stale)
    FILE.write_text(text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
