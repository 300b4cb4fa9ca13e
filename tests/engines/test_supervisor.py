"""A child is started again whatever kept it from running; played by a process that is no engine."""

import shlex
import sys

import anyio
import pytest

from antiphon.engines.llamacpp.child import Options
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
if life > 1:
    sys.stdin.read()
"""


@pytest.mark.parametrize("way", ["no socket", "no greeting"])
def test_a_child_that_dies_as_it_says_it_is_ready_ends_nothing_and_another_comes(tmp_path, monkeypatch, way):
    (tmp_path / "child.py").write_text(CHILD)
    given = shlex.join([sys.executable, str(tmp_path / "child.py"), str(tmp_path / "lives"), way])
    (tmp_path / "python").write_text(f'#!/bin/sh\nexec {given} "$3"\n')
    (tmp_path / "python").chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))

    async def live() -> None:
        supervisor = Supervisor(Options("test/model", tmp_path, tmp_path / "run", 1))
        with anyio.fail_after(10):
            async with supervisor.run():
                while supervisor.ready is None or supervisor.ready.pid < 2:
                    await anyio.sleep(0.01)

    anyio.run(live)
