"""The one grammar for names: text in, `Name` or `EdgeName` out, and back; parse(format(x)) == x.

    name  =  component [":" port] ["@" span] ["/" unit] ["<" branch ">"]        a9.h3@S2<q>   m3/f1021   m3/error
    edge  =  source "->" receiver                                               a0.h1->a3.h5<q>

`@ / < > :` and white space are reserved: no part of a name may contain one. A branch says which of a node's inputs is
read, so only a receiver has one. The builder of graphs writes the plain names of EAP-IG and MIB (`input`, `a9.h3`,
`m3`, `logits`, `a9.h3<q>`); spans, units and module sites (`model.layers.3.mlp:output`) share the grammar.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from mi.errors import MiError

BRANCHES = ("q", "k", "v")
ARROW = "->"

_PART = r"[^@/<>:\s]+"
_NAME = re.compile(
    rf"(?P<component>{_PART})(?::(?P<port>{_PART}))?(?:@(?P<span>{_PART}))?(?:/(?P<unit>{_PART}))?(?:<(?P<branch>[qkv])>)?"
)


@dataclass(frozen=True)
class Name:
    """A node, a receiver of a node (with a branch), a part of one (span, unit) or a module's site (port)."""

    component: str
    port: str | None = None
    span: str | None = None
    unit: str | None = None
    branch: str | None = None

    def __post_init__(self) -> None:
        match = _NAME.fullmatch(format(self))
        if match is None or match.groupdict() != vars(self):
            raise MiError(
                f"{format(self)!r} is not a name",
                "the parts of a name are not empty and hold none of @ / < > : or white space; the branch is q, k or v",
            )

    def __str__(self) -> str:
        text = self.component
        for mark, part in ((":", self.port), ("@", self.span), ("/", self.unit)):
            text += "" if part is None else mark + part
        return text if self.branch is None else f"{text}<{self.branch}>"

    def __format__(self, spec: str) -> str:
        return str(self).__format__(spec)

    @property
    def node(self) -> Name:
        """The node that a receiver belongs to."""
        return Name(self.component, self.port, self.span, self.unit)


@dataclass(frozen=True)
class EdgeName:
    """What `source` writes as far as `receiver` reads it."""

    source: Name
    receiver: Name

    def __post_init__(self) -> None:
        if self.source.branch is not None:
            raise MiError(f"{self.source} cannot be the source of an edge", "a branch such as <q> is read, not written")

    def __str__(self) -> str:
        return f"{self.source}{ARROW}{self.receiver}"

    def __format__(self, spec: str) -> str:
        return str(self).__format__(spec)


def parse(text: str) -> Name:
    match = _NAME.fullmatch(text)
    if match is None:
        raise MiError(f"{text!r} is not a name", "names look like a9.h3, a9.h3<q>, m3, input, logits")
    return Name(**match.groupdict())


def parse_edge(text: str) -> EdgeName:
    source, arrow, receiver = text.partition(ARROW)
    if not arrow:
        raise MiError(f"{text!r} is not an edge", "edges look like m0->m3, a0.h1->a3.h5<q>, input->logits")
    return EdgeName(parse(source), parse(receiver))
