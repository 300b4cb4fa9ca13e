"""The documentation is true for the code."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from docs.generate import DOCS, PAGES

from antiphon import settings
from antiphon.engines.upstream.dialects import DIALECTS
from antiphon.engines.upstream.engine import UpstreamEngine
from antiphon.engines.upstream.options import read_options
from antiphon.wire.chat_schema import FIELDS

ROOT = DOCS.parent
EXAMPLE = ROOT / "examples" / "antiphon.toml"


@pytest.mark.parametrize("page", sorted(PAGES))
def test_a_generated_page_is_what_the_code_says_now(page):
    assert (DOCS / page).read_text() == PAGES[page](), "run: make docs"


def test_the_example_configuration_is_valid(tmp_path):
    read = settings.read_settings({"ANTIPHON_HOME": str(tmp_path)}, EXAMPLE)
    assert len(read.models) == 4


@pytest.mark.parametrize("kind", ["vllm", "sglang", "ollama", "llama-server", "openai"])
def test_the_example_of_each_kind_of_server_makes_an_engine(tmp_path, kind):
    read = settings.read_settings({"ANTIPHON_HOME": str(tmp_path)}, EXAMPLE.with_name(f"{kind}.toml"))
    ((name, model),) = read.models.items()
    (version,) = model.versions
    options = read_options(f"{name}:1", version.options, {"OPENAI_API_KEY": "sk-x"})
    assert UpstreamEngine(options).features.items() >= DIALECTS[kind].items()


@pytest.mark.parametrize(
    "table",
    [
        settings.ServerSettings,
        settings.StoreSettings,
        settings.LimitSettings,
        settings.MediaSettings,
        settings.TraceSettings,
        settings.SpeechServerSettings,
        settings.VoiceServerSettings,
        settings.ModelSettings,
        settings.LlamaCppVersion,
        settings.ScriptedVersion,
        settings.UpstreamVersion,
    ],
    ids=lambda table: table.__name__,
)
def test_the_example_shows_every_option(table):
    shown = set(re.findall(r"^(\w+) =", EXAMPLE.read_text(), re.MULTILINE)) | {"versions"}
    assert set(table.model_fields) <= shown


def test_the_example_shows_the_defaults():
    tree = tomllib.loads(EXAMPLE.read_text())
    for name, table in (
        ("server", settings.ServerSettings),
        ("limits", settings.LimitSettings),
        ("store", settings.StoreSettings),
    ):
        assert table(**tree[name]) == table()


def test_the_python_example_of_the_readme_compiles_and_the_commands_are_there():
    readme = (ROOT / "README.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    compile(example, "README.md", "exec")
    assert "make serve" in readme
    assert "make test" in readme


def test_the_python_example_of_the_readme_runs(house):
    readme = (ROOT / "README.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    example = example.replace("http://127.0.0.1:8000", house.url).replace("sk-antiphon-…", house.key)
    done = subprocess.run([sys.executable, "-c", example], capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_the_curl_line_of_the_banner_works_when_pasted(house, tmp_path):
    line = next(line for line in house.banner.splitlines() if line.startswith("curl "))
    environment = {"ANTIPHON_API_KEY": house.key, "PATH": "/usr/bin:/bin:/usr/local/bin"}
    done = subprocess.run(
        ["bash", "-c", f"{line} -s"], env=environment, capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert '"object":"chat.completion"' in done.stdout


def test_no_field_is_ignored():
    table = [line for line in (DOCS / "parameters.md").read_text().splitlines() if line.startswith("| `")]
    cells = [cell.strip() for line in table for cell in line.split("|")[2:-1]]
    assert len(table) == len(FIELDS)
    assert all(cell.startswith(("honoured", "adapted", "refused", "kept", "accepted")) for cell in cells)


def test_no_page_names_a_file_that_is_not_there():
    for page in [ROOT / "README.md", *DOCS.rglob("*.md")]:
        for named in re.findall(r"`((?:src|docs|tests|bench|examples)/[\w./-]+)`", page.read_text()):
            assert (ROOT / named).exists(), f"{page.name}: {named}"
        for named in re.findall(r"\]\(((?!http)[\w./-]+)\)", page.read_text()):
            assert (page.parent / Path(named)).exists(), f"{page.name}: {named}"
