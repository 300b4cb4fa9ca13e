"""What the tests of several workers share: who they are, and a door to each of them."""

import contextlib
import signal
import threading

import httpx
import psutil

from tests.conftest import until

CONFIG = """
[server]
workers = 2
drain_s = 10
[models."test/hello"]
[[models."test/hello".versions]]
number = 1
engine = "scripted"
[models."test/slow"]
slots = 64
[[models."test/slow".versions]]
number = 1
engine = "scripted"
script = { repeat = 100, token_s = 0.05 }
"""
SLOW = {"model": "test/slow", "messages": [{"role": "user", "content": "x"}], "stream": True}


def workers(server):
    """The process ids of a server's workers."""
    found = set()
    for child in psutil.Process(server.process.pid).children():
        with contextlib.suppress(psutil.NoSuchProcess):
            if "antiphon.worker" in child.cmdline():
                found.add(child.pid)
    return found


def worker_at(server, port):
    """The worker at the other end of a connection from `port`."""
    for pid in workers(server):
        with contextlib.suppress(psutil.NoSuchProcess):
            if any(link.raddr and link.raddr.port == port for link in psutil.Process(pid).net_connections("tcp")):
                return pid
    return None


@contextlib.contextmanager
def doors(server):
    """A client with a connection to each worker, by process id, for the body."""
    found, wanted = {}, len(workers(server))
    with contextlib.ExitStack() as stack:
        while len(found) < wanted:
            client = httpx.Client(base_url=server.url, headers=server.headers, timeout=20, verify=False)
            stack.enter_context(client)
            answer = client.get("/healthz")
            port = answer.extensions["network_stream"].get_extra_info("client_addr")[1]
            if (pid := worker_at(server, port)) is not None:
                found.setdefault(pid, client)
        yield found


def begin_to_drain(server, each, sent=signal.SIGTERM):
    """Ask a server to stop, and wait until each of its workers takes nothing new: a signal may reach one later.

    What is asked is no prediction, so that those are as many as a test makes.
    """
    server.process.send_signal(sent)
    until(lambda: all(map(takes_nothing, each.values())))


def takes_nothing(client):
    try:
        return client.get("/readyz").status_code == 503
    except httpx.TransportError:
        return True  # Nothing ran there any more, so it has ended.


def is_gone(process):
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def kill(pid):
    """Kill a worker, and wait until its parent has it: then its last thread has ended, and its sockets are closed."""
    process = psutil.Process(pid)
    process.kill()
    until(lambda: not process.is_running())


def streaming(client, max_tokens=40):
    """Begin a stream on a client's connection; give the lines of it and where the rest of them will be.

    A token takes 0.05 s.
    """
    told, began = [], threading.Event()

    def read():
        with (
            contextlib.suppress(httpx.HTTPError),
            client.stream("POST", "/v1/chat/completions", json=SLOW | {"max_tokens": max_tokens}) as answer,
        ):
            told.append(answer.headers["x-request-id"])
            for line in answer.iter_lines():
                told.append(line)
                began.set()

    thread = threading.Thread(target=read)
    thread.start()
    assert began.wait(10)
    return told, thread
