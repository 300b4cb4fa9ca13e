"""What the decoding child does by itself; everything else of it is tested through the door."""

import io

import numpy as np
import soundfile

from antiphon.media.decode import listen
from antiphon.media.jobs import Recording, Refused


def test_a_sound_is_not_decoded_further_than_it_may_last():
    out = io.BytesIO()
    soundfile.write(out, np.zeros(160_000, np.int16), 16_000, format="FLAC")
    assert isinstance(listen(Recording(out.getvalue(), most_s=9.0)), Refused)
    assert len(listen(Recording(out.getvalue(), most_s=11.0)).data) == 320_000
