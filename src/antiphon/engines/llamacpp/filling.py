"""What was chosen for the next batch, written where the context reads it."""

from collections.abc import Sequence

import numpy as np

from antiphon.engines.llamacpp.layout import Placed
from antiphon.engines.llamacpp.model import Context
from antiphon.engines.llamacpp.schedule import Chunk, Line


def fill(context: Context, chunks: Sequence[Chunk]) -> int:
    """Write a batch; give how many rows it has. A chunk of a picture or a sound is a batch of its own."""
    end = 0
    for chunk in chunks:
        line, begin, end = chunk.line, end, end + chunk.rows
        if line.ahead:
            _fill_rows(context, line, line.ahead, chunk.count)
        else:
            context.tokens[begin : begin + chunk.count] = line.tokens[line.read : line.read + chunk.count]
            context.tokens[begin + chunk.count : end] = chunk.draft
            position = line.layout.position(line.read)
            context.positions[begin:end] = np.arange(position, position + chunk.rows)
        context.sequences[begin:end] = line.id
        context.outputs[begin:end] = 0
        context.outputs[begin + chunk.count - 1 : end] = chunk.is_last
    return end


def _fill_rows(context: Context, line: Line, placed: Placed, count: int) -> None:
    first, piece = line.read - placed.start, placed.piece
    positions = piece.at(placed.position, first, count)
    context.rows[:count] = piece.rows[first : first + count]
    context.axes[: positions.size] = positions
