"""What each document of a folder leads to: made once a document, from those of its children."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from buildx_cache.layout.blobsets import Numbering
from buildx_cache.layout.graph import Graph


def closures(graph: Graph, numbering: Numbering) -> Mapping[str, int]:
    """For each root, and each document that names something, the bits of itself and of all that it leads to."""
    found: dict[str, int] = {}
    for digest in leaves_first(graph):
        children = {child.digest for child in graph.children[digest]}
        bits = numbering.bits((digest, *children))
        for inner in children & found.keys():
            bits |= found[inner]
        found[digest] = bits
    alone = {root.descriptor.digest for root in graph.roots} - found.keys()
    return {**found, **{digest: numbering.bits([digest]) for digest in alone}}


def leaves_first(graph: Graph) -> Iterator[str]:
    """Every document that names something, after those that it names.

    A document's digest covers what it names, so that there is no ring; one would be cut somewhere.
    """
    opened: set[str] = set()
    waiting = [(root.descriptor.digest, False) for root in graph.roots]
    while waiting:
        digest, is_done = waiting.pop()
        if is_done:
            yield digest
        elif digest not in opened and (children := graph.children.get(digest)):
            opened.add(digest)
            waiting.append((digest, True))
            waiting += [(inner, False) for inner in {child.digest for child in children} - opened]
