"""A child is started again whatever kept it from running; played by a process that is no engine."""

import shlex
import sys

import anyio
import pytest

from antiphon.domain.errors import EngineFailed
from antiphon.engines.llamacpp.child import Options
from antiphon.engines.llamacpp.protocol import Cancel
from antiphon.engines.llamacpp.supervisor import Supervisor

CHILD = """
import json, socket, sys
from pathlib import Path
from antiphon.engines.llamacpp.protocol import Ready, Said, frame

lives = Path(sys.argv[1])
life = len(lives.read_text()) if lives.exists() else 0
lives.write_text("x" * (life + 1))
server = socket.socket(socket.AF_UNIX)
if life != 1 or sys.argv[2] != "no socket":
    server.bind(json.loads(sys.argv[3])["socket"])
    server.listen()
print("ready", flush=True)
link, _ = server.accept()
if life != 1 or sys.argv[2] != "no greeting":
    link.sendall(frame(Said([Ready(100, 100, life)])))
if life > 1 or sys.argv[2] == "deaf":
    sys.stdin.read()
"""


@pytest.fixture
def supervisor(tmp_path, monkeypatch, way):
    (tmp_path / "child.py").write_text(CHILD)
    given = shlex.join([sys.executable, str(tmp_path / "child.py"), str(tmp_path / "lives"), way])
    (tmp_path / "python").write_text(f'#!/bin/sh\nexec {given} "$3"\n')
    (tmp_path / "python").chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    return Supervisor(Options("test/model", tmp_path, tmp_path / "run", 1))


async def come(supervisor, life):
    """Wait for a child that is not the first."""
    with anyio.fail_after(10):
        while supervisor.ready is None or supervisor.ready.pid < life:
            await anyio.sleep(0.01)


@pytest.mark.parametrize("way", ["no socket", "no greeting"])
def test_a_child_that_dies_as_it_says_it_is_ready_ends_nothing_and_another_comes(supervisor):
    async def live() -> None:
        async with supervisor.run():
            await come(supervisor, 2)

    anyio.run(live)


@pytest.mark.parametrize("way", ["deaf"])
def test_a_child_that_reads_nothing_any_more_holds_nobody_for_ever_and_another_comes(supervisor, monkeypatch):
    monkeypatch.setattr("antiphon.engines.llamacpp.child.SEND_S", 0.2)

    async def live() -> None:
        async with supervisor.run():
            child = await supervisor.child()
            for _ in range(2):
                with pytest.raises(EngineFailed):
                    await child.send(Cancel(bytes(4_000_000)))
            await come(supervisor, 1)

    anyio.run(live)
