"""mi log: a stream in, the commands that made it out, as text or as a script that makes it again."""

from __future__ import annotations

from typing import Annotated

from mi.errors import printable
from mi.io import atomic, canonical, chain, stream
from mi.options import Input, Option, Output, Quiet


def log(
    file: Input = None,
    script: Annotated[bool, Option("--script", help="Print a shell script that makes the stream again.")] = False,
    json: Annotated[bool, Option("--json", help="Print each link of the chain as one line of JSON.")] = False,
    output: Output = None,
    quiet: Quiet = False,
) -> None:
    """Show the commands that made a stream.

    The script takes the recorded files from the working directory, or from the shell variables that it names at its
    top, and stops if the digest of one differs from what was recorded.

    Examples:
      mi log circuit.jsonl
      mi log --script circuit.jsonl > again.sh && bash again.sh
    """
    head = stream.read(file, stream.KINDS).head
    if script:
        text = chain.script(head)
    elif json:
        text = "".join(canonical.dumps(link).decode() + "\n" for link in head.get("chain", []))
    else:
        text = printable(chain.text(head)) + "\n"
    atomic.text(output, text)
