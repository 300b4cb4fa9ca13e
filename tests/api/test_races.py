"""Ends that meet: a cancel or a departure against the last token, many at once, over both stores. LIFE-08..10.

"Never stuck" is read in the records afterwards: each has exactly one end, and says what its clients were told.
"""

import random
import socket
import struct
from collections import Counter

import anyio
import psutil
import pytest

from tests.lives import MESSAGES, Line, assert_told, create, crowd, line, listed, records_of, said

RACES = 1_000
AT_ONCE = 64
BRIEF_S = 0.04
"""How long test/brief takes: four tokens of 10 ms."""
RESET = (socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def assert_one_end(records, *reasons):
    """Every record has ended in one of two ways, and both were met."""
    ends = Counter((record["status"], (record["error"] or {"detail": {}})["detail"].get("reason")) for record in records)
    assert len(records) == RACES
    assert set(ends) == {("succeeded", None), *(("cancelled", reason) for reason in reasons)}, ends
    assert min(ends.values()) > RACES / 50, f"the race was no race: {ends}"
    for record in records:
        assert_told(record, record["status"], (record["error"] or {"detail": {}})["detail"].get("reason"))
        assert (said(record) == "Hello, world!") or record["status"] == "cancelled"


async def assert_none_is_left(server):
    assert {one["status"] for one in await listed(server)} <= {"succeeded", "cancelled", "failed"}


@pytest.mark.parametrize("elsewhere", [False, True], ids=["same", "other"])
def test_a_cancel_that_races_the_end_leaves_one_end_and_can_be_sent_again(pair, elsewhere):
    """LIFE-08. Of two cancels sent together, both say the same; and what they say is what the record says."""
    kept, asked = pair[0], pair[elsewhere]
    answers: dict[str, list] = {}

    async def race(_):
        made, *both = lines.pop()
        key = (await made.ask("POST", "/v1/predictions", {"model": "test/brief", "input": {"messages": MESSAGES}})).json()
        # A cancel in another process is found within half a second, so the prediction has ended before most are.
        await anyio.sleep(random.uniform(0, 1.2 * BRIEF_S))
        path, heard = f"/v1/predictions/{key['id']}/cancel", []

        async def cancel(one):
            heard.append((await one.ask("POST", path)).status)

        async with anyio.create_task_group() as group:
            for one in both:
                group.start_soon(cancel, one)
        answers[key["id"]] = heard
        lines.append((made, *both))

    async def again(key, lines=()):
        return (await lines[0].ask("POST", f"/v1/predictions/{key}/cancel")).status

    async def everything():
        async with anyio.create_task_group():
            for _ in range(AT_ONCE):
                lines.append([Line(server, await anyio.connect_tcp("127.0.0.1", server.port)) for server in (kept, asked, asked)])
            await crowd(RACES, AT_ONCE, race)
            records = await records_of(kept, answers)
            late = {key: await again(key, lines[0][1:]) for key in answers}
            for each in lines:
                for one in each:
                    await one.close()
            await assert_none_is_left(kept)
        return records, late

    lines: list = []
    records, late = anyio.run(everything)
    for record in records:
        heard, status = answers[record["id"]], record["status"]
        assert late[record["id"]] == (200 if status == "cancelled" else 409)
        if status == "cancelled":
            assert heard == [200, 200], "a cancel that was carried out was refused to one who asked"
    assert_one_end(records, "requested") if not elsewhere else None
