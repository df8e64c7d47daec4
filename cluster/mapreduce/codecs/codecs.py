"""Chooses codecs by type hints: keys as bytes that sort like the keys, values as msgpack.

Pure.  The hints of map's output choose both.  Keys take int, float, str, bytes, bool, None, tuples, frozen
dataclasses and options of these; values also lists and dicts.  A value's type is checked when it is
packed, so that the task with a wrong hint fails itself.

Rules and byte layouts: docs/formats/run.md.
"""

from __future__ import annotations

from ringmill.cluster.mapreduce.codecs.key_codecs import KeyCodec, KeyPrefix, key_codec, key_prefix
from ringmill.cluster.mapreduce.codecs.value_codecs import ValueCodec, value_codec

__all__ = ["KeyCodec", "KeyPrefix", "ValueCodec", "key_codec", "key_prefix", "value_codec"]
