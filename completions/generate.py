"""Write mi.bash, _mi (zsh) and mi.fish from the definitions of the commands: python -m completions.generate

`--check` writes nothing and exits with 1 if a file is not what would be written. The files are static: pressing the tab
key starts no Python.
"""

from __future__ import annotations

import sys
from pathlib import Path

from completions import bash, fish, zsh
from completions.commands import commands

FOLDER = Path(__file__).resolve().parent


def texts() -> dict[str, str]:
    """The three files by name."""
    known = commands()
    return {"mi.bash": bash.script(known), "_mi": zsh.script(known), "mi.fish": fish.script(known)}


def stale() -> list[str]:
    """The files that are not what would be written."""
    return [name for name, text in texts().items() if not _same(FOLDER / name, text)]


def _same(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text() == text


def main() -> int:
    if "--check" in sys.argv[1:]:
        for name in stale():
            print(f"completions/{name} is stale: make generated", file=sys.stderr)
        return int(bool(stale()))
    for name, text in texts().items():
        (FOLDER / name).write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
