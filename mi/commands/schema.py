"""mi schema: the name of a kind of stream in, its JSON Schema out."""

from __future__ import annotations

import json
import sys
from typing import Annotated

from mi.errors import UsageError
from mi.io import atomic, schemas, stream
from mi.options import Argument, Output, Quiet


def schema(
    kind: Annotated[str, Argument(metavar="KIND", help="examples, cache, scores, circuit or report.")],
    output: Output = None,
    quiet: Quiet = False,
) -> None:
    """Print the JSON Schema of a kind of stream.

    The schema has two parts: what the head of such a stream holds, and what each of its records does.

    Examples:
      mi schema circuit
      mi schema report | jq .properties.record
    """
    if kind not in stream.KINDS:
        raise UsageError(f"no kind {kind!r}", f"kinds are {', '.join(stream.KINDS)}")
    text = json.dumps(schemas.schema(kind), indent=2, ensure_ascii=False) + "\n"
    if output in (None, "-"):
        sys.stdout.write(text)
        return
    with atomic.file(str(output)) as f:
        f.write(text.encode())
