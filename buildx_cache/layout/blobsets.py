"""Sets of blobs that cost little where many tags share many blobs.

A set is a whole number with one bit a blob: a union, a difference or a sum of sizes takes a few operations on whole
numbers, not one a blob.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass


class Numbering:
    """The blobs of a folder, each with the number of its bit."""

    def __init__(self, digests: Iterable[str]) -> None:
        self._names = tuple(dict.fromkeys(digests))
        self._numbers = {digest: number for number, digest in enumerate(self._names)}

    def bits(self, digests: Iterable[str]) -> int:
        """The set of those of these blobs that have a number."""
        found = bytearray(len(self._names) // 8 + 1)
        for digest in digests:
            number = self._numbers.get(digest)
            if number is not None:
                found[number >> 3] |= 1 << (number & 7)
        return int.from_bytes(found, "little")

    def names(self, bits: int) -> Iterator[str]:
        """The digests in a set."""
        text = bin(bits)[:1:-1]
        place = text.find("1")
        while place >= 0:
            yield self._names[place]
            place = text.find("1", place + 1)


@dataclass(frozen=True, kw_only=True)
class BlobSet:
    """The digests of some blobs of a folder."""

    numbering: Numbering
    bits: int

    def __iter__(self) -> Iterator[str]:
        return self.numbering.names(self.bits)

    def __contains__(self, digest: str) -> bool:
        return bool(self.bits & self.numbering.bits([digest]))


class Weights:
    """Whole numbers given to blobs, and their sum over a set: one operation a binary digit, not one a blob."""

    def __init__(self, numbering: Numbering, weights: Mapping[str, int]) -> None:
        digits = max(weights.values(), default=0).bit_length()
        self._planes = tuple(
            numbering.bits(digest for digest, weight in weights.items() if weight >> digit & 1)
            for digit in range(digits)
        )

    def of(self, bits: int) -> int:
        """The sum over a set."""
        return sum((bits & plane).bit_count() << digit for digit, plane in enumerate(self._planes))
