"""The configuration: a TOML file and eight environment variables, read once, checked whole, then frozen.

Numbers are named with their units. Every option stands, with its default, in examples/antiphon.toml.
"""

from antiphon.settings.reading import DEFAULT_MODEL, SettingsError, read_settings
from antiphon.settings.tables import (
    LimitSettings,
    MediaSettings,
    ModelSettings,
    ServerSettings,
    Settings,
    SpeechServerSettings,
    SpeechSettings,
    StoreSettings,
    TraceSettings,
    VoiceServerSettings,
)
from antiphon.settings.versions import LlamaCppVersion, ScriptedVersion, UpstreamVersion, VersionSettings

__all__ = (
    "DEFAULT_MODEL",
    "LimitSettings",
    "LlamaCppVersion",
    "MediaSettings",
    "ModelSettings",
    "ScriptedVersion",
    "ServerSettings",
    "Settings",
    "SettingsError",
    "SpeechServerSettings",
    "SpeechSettings",
    "StoreSettings",
    "TraceSettings",
    "UpstreamVersion",
    "VersionSettings",
    "VoiceServerSettings",
    "read_settings",
)
