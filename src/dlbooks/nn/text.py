"""Text as tokens and tokens as numbers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from dlbooks import UserError


@dataclass(frozen=True)
class Vocabulary:
    """The tokens of a model, characters or words, numbered from 0: ``tokens[i]`` has id i.

    ``unk`` is the token that stands for all unknown ones. It may be missing from ``tokens``; then an unknown token is a ``UserError``.
    """

    tokens: tuple[str, ...]
    unk: str = "<unk>"

    def __post_init__(self):
        if len(self.ids) != len(self.tokens):
            raise ValueError("a vocabulary holds each token once")

    @classmethod
    def from_counts(
        cls, counts: Mapping[str, int], max_size: int | None = None, min_count: int = 1, specials: Iterable[str] = (), unk: str = "<unk>"
    ) -> Vocabulary:
        """The tokens of ``counts`` by falling count, ties by code point, behind ``specials`` in their own order.

        Tokens seen fewer than ``min_count`` times are left out, then the rarest until ``max_size`` are left, specials included.
        """
        specials = tuple(specials)
        kept = [t for t, n in counts.items() if n >= min_count and t not in specials]
        kept.sort(key=lambda token: (-counts[token], token))
        return cls((*specials, *kept)[:max_size], unk)

    def __len__(self) -> int:
        return len(self.tokens)

    @cached_property
    def ids(self) -> dict[str, int]:
        """Token → id."""
        return {token: i for i, token in enumerate(self.tokens)}

    @property
    def unk_id(self) -> int | None:
        """The id of unknown tokens, if there is one."""
        return self.ids.get(self.unk)

    def encode(self, tokens: Iterable[str]) -> np.ndarray:
        """Tokens, or a string taken as characters, → int32 ``[n]``."""
        unknown = self.unk_id
        found = [self.ids.get(t, unknown) for t in tokens]
        if unknown is None and None in found:
            token = list(tokens)[found.index(None)]
            code = f" (U+{ord(token):04X})" if len(token) == 1 else ""
            raise UserError(f"{token!r}{code} is not in the vocabulary of {len(self)} tokens")
        return np.array(found, np.int32)

    def decode(self, ids: Iterable[int]) -> list[str]:
        """Ids → tokens."""
        return [self.tokens[i] for i in ids]

    def to_json(self) -> str:
        """One JSON object; tokens may be line breaks or spaces, so a file of one token a line would not do."""
        return json.dumps({"unk": self.unk, "tokens": self.tokens}, ensure_ascii=False, indent=0) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Vocabulary:
        stored = json.loads(text)
        return cls(tuple(stored["tokens"]), stored["unk"])

    def lookup(self):
        """The vocabulary as part of a TensorFlow graph, for exports: ``encode(string tensor)`` → int32, ``decode(ids)`` → string tensor.

        An unknown token becomes ``unk_id``, or −1 if there is none. It is a ``tf.Module``: give it to ``export.saved_model`` among the
        variables, so that its table is saved.
        """
        import tensorflow as tf

        vocabulary = self

        class Lookup(tf.Module):
            def __init__(self):
                pairs = tf.lookup.KeyValueTensorInitializer(vocabulary.tokens, range(len(vocabulary)), tf.string, tf.int32)
                pairs._name = "vocabulary"  # instead of a name that counts what this process made before: exports are the same bytes
                default = -1 if vocabulary.unk_id is None else vocabulary.unk_id
                self.table = tf.lookup.StaticHashTable(pairs, default, experimental_is_anonymous=True)

            def encode(self, tokens):
                return self.table.lookup(tf.convert_to_tensor(tokens))

            def decode(self, ids):
                return tf.gather(tf.constant(vocabulary.tokens), ids)

        return Lookup()
