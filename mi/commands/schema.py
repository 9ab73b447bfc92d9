"""mi schema: the name of a kind of stream in, its JSON Schema out."""

from __future__ import annotations

import json
from typing import Annotated

from mi.io import atomic, schemas
from mi.options import Argument, Output, Quiet


def schema(
    kind: Annotated[str, Argument(metavar="KIND", help="examples, cache, scores, circuit, report, means or effects.")],
    output: Output = None,
    quiet: Quiet = False,
) -> None:
    """Print the JSON Schema of a kind of stream.

    It is the schema of one line of such a stream: the head, a record, a record that names tensors, or the end.

    Examples:
      mi schema circuit
      mi schema report | jq '."$defs".record'
    """
    text = json.dumps(schemas.get(kind), indent=2, ensure_ascii=False) + "\n"
    atomic.text(output, text)
