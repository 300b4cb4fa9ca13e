"""A GGUF file with another chat template: the same model, made to look as if it had been trained on other manners.

Control tokens that the model has and never writes can be given other names as well.

Source of the format: ggml's docs/gguf.md, version 3.
"""

import struct
from pathlib import Path

ALIGNMENT = 32
TEMPLATE, TOKENS = b"tokenizer.chat_template", b"tokenizer.ggml.tokens"
SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
STRING, ARRAY = 8, 9


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def number(self, form):
        (value,) = struct.unpack_from(form, self.data, self.at)
        self.at += struct.calcsize(form)
        return value

    def string(self):
        length = self.number("<Q")
        self.at += length
        return self.data[self.at - length : self.at]

    def skip(self, kind):
        if kind == STRING:
            self.string()
        elif kind == ARRAY:
            inner, count = self.number("<I"), self.number("<Q")
            for _ in range(count):
                self.skip(inner)
        else:
            self.at += SIZES[kind]


def written(text: bytes) -> bytes:
    return struct.pack("<Q", len(text)) + text


def with_template(source: Path, target: Path, template: str, names: dict[str, str] | None = None) -> Path:
    """Copy a GGUF file, with another chat template in it and some tokens under other `names`."""
    named = {old.encode(): new.encode() for old, new in (names or {}).items()}
    data = source.read_bytes()
    reader = Reader(data)
    reader.at = 8
    tensors, pairs = reader.number("<Q"), reader.number("<Q")
    head, copied = b"", 0
    for _ in range(pairs):
        key, kind, begin = reader.string(), reader.number("<I"), reader.at
        if key == TOKENS:
            reader.at += 4
            count = reader.number("<Q")
            new = data[begin : reader.at] + b"".join(
                written(named.get(name, name)) for name in (reader.string() for _ in range(count))
            )
        else:
            reader.skip(kind)
            new = written(template.encode()) if key == TEMPLATE else data[begin : reader.at]
        head += data[copied:begin] + new
        copied = reader.at
    for _ in range(tensors):
        reader.string()
        dimensions = reader.number("<I")
        reader.at += 8 * dimensions + 4 + 8
    head += data[copied : reader.at]
    body = data[-(-reader.at // ALIGNMENT) * ALIGNMENT :]
    target.write_bytes(head + b"\0" * (-len(head) % ALIGNMENT) + body)
    return target
