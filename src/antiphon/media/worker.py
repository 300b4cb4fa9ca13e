"""The decoding child: other people's bytes meet C code here, in a process that may take little and die."""

import msgspec

from antiphon.media.decode import draw, listen, press, print_png, read_paper
from antiphon.media.inside import CPU_S, Bounds, grant, serve
from antiphon.media.jobs import Job, Paper, Picture, Pressing, Print, Recording, Refused, Result

MEMORY_BYTES = 1 << 30
FILES = 32

_decoder: msgspec.msgpack.Decoder[Job] = msgspec.msgpack.Decoder(Job)


def work(body: bytes) -> Result:
    """Do one job. Whatever goes wrong in a library is told in a sentence of ours."""
    job = _decoder.decode(body)
    try:
        return _done(job)
    except MemoryError:
        return Refused("It takes too much memory.")
    except Exception:  # noqa: BLE001 - decoders raise what they like, and their texts hold addresses and paths
        return Refused(_DAMAGED[type(job)])


def _done(job: Job) -> Result:
    match job:
        case Picture():
            return draw(job)
        case Recording():
            return listen(job)
        case Paper():
            return read_paper(job)
        case Pressing():
            grant(job.cpu_s)
            return press(job)
        case Print():
            return print_png(job)


_DAMAGED: dict[type[Job], str] = {
    Picture: "The image is cut off or damaged.",
    Recording: "The sound is cut off or damaged.",
    Paper: "The file is damaged or encrypted.",
    Pressing: "The speech could not be encoded.",
    Print: "The image could not be encoded.",
}

if __name__ == "__main__":
    serve(lambda: work, Bounds(MEMORY_BYTES, FILES, CPU_S), lambda: None)
