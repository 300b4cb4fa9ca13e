"""What keys have under way in several processes: counted together, exactly, and never for a process that is dead."""

import errno
import multiprocessing
import os
import signal
from functools import partial

import anyio
import pytest

from antiphon.domain.errors import StorageUnavailable
from antiphon.store import rooms as module
from antiphon.store.rooms import open_rooms
from antiphon.store.unfit import StoreUnfit
from tests.conftest import until

SPAWN = multiprocessing.get_context("spawn")


def running(room):
    return room.running


def enter(rooms, key_id="k1", use=running):
    """Count one more; give what ran before."""
    return anyio.run(rooms.enter, key_id, use)


def hold(folder, count, pipe):
    """Another process: have some under way for as long as the pipe is open."""
    with open_rooms(folder) as rooms:
        for _ in range(count):
            enter(rooms)
        pipe.send("held")
        while pipe.recv() == "leave":
            rooms.leave("k1")
            pipe.send("left")


@pytest.fixture
def other(tmp_path):
    """Another process that has two under way, and the pipe to it."""
    mine, its = SPAWN.Pipe()
    process = SPAWN.Process(target=hold, args=(tmp_path, 2, its))
    process.start()
    its.close()
    try:
        assert mine.recv() == "held"
        yield process, mine
    finally:
        process.kill()
        process.join()


def test_what_runs_in_another_process_is_counted_until_it_has_ended(tmp_path, other):
    _, pipe = other
    with open_rooms(tmp_path) as rooms:
        assert enter(rooms) == 2
        assert enter(rooms) == 3
        pipe.send("leave")
        assert pipe.recv() == "left"
        rooms.leave("k1")
        assert enter(rooms) == 2


def test_what_a_killed_process_ran_is_counted_no_more(tmp_path, other):
    process, _ = other
    with open_rooms(tmp_path) as rooms:
        assert enter(rooms) == 2
        process.kill()
        process.join()
        assert enter(rooms) == 1


def test_who_takes_the_place_of_a_killed_process_takes_nothing_over(tmp_path, other):
    process, _ = other
    process.kill()
    process.join()
    with open_rooms(tmp_path) as rooms:
        assert [enter(rooms), enter(rooms)] == [0, 1]


def test_what_is_refused_is_not_counted(tmp_path):
    def refuse(room):
        room.credit = 99.0
        raise KeyError(room.running)

    with open_rooms(tmp_path) as rooms:
        assert enter(rooms, "k1", lambda room: setattr(room, "credit", 5.0)) is None
        with pytest.raises(KeyError):
            enter(rooms, "k1", refuse)
        assert enter(rooms, "k1", lambda room: (room.running, room.credit)) == (1, 5.0)


def full_disk(*_):
    raise OSError(errno.ENOSPC, "no space")


def test_what_could_not_be_written_is_neither_counted_nor_forgotten(tmp_path, monkeypatch):
    with open_rooms(tmp_path) as rooms:
        for _ in range(2):
            enter(rooms)
        with monkeypatch.context() as patch:
            patch.setattr(rooms, "_write", full_disk)
            with pytest.raises(StorageUnavailable):
                enter(rooms)
            rooms.leave("k1")
        assert enter(rooms) == 1
        with monkeypatch.context() as patch:
            patch.setattr(rooms, "_write", full_disk)
            for _ in range(2):
                rooms.leave("k1")
        assert enter(rooms) == 0


class Seen(Exception):
    """Raised to look and not to come in."""


def look(room):
    raise Seen(room.running)


def come(most, room):
    if room.running >= most:
        raise Seen(room.running)


async def hammer_in(rooms, most):
    """Come and go as fast as it can; give the most that were in at once."""
    seen = 0
    for _ in range(3000):
        try:
            await rooms.enter("k1", partial(come, most))
            try:
                await rooms.enter("k1", look)
            finally:
                rooms.leave("k1")
        except Seen as error:
            seen = max(seen, *error.args)
    return seen


def hammer(folder, most, wins):
    with open_rooms(folder) as rooms:
        wins.put(anyio.run(hammer_in, rooms, most))


def test_processes_that_come_and_go_at_once_lose_and_gain_nothing(tmp_path):
    wins = SPAWN.Queue()
    processes = [SPAWN.Process(target=hammer, args=(tmp_path, 2, wins)) for _ in range(3)]
    with open_rooms(tmp_path) as rooms:
        assert enter(rooms) == 0  # one that stays: the record is written all the time, and its count must last
        for process in processes:
            process.start()
        seen = [wins.get(timeout=60) for _ in processes]
        for process in processes:
            process.join()
        assert set(seen) == {2}
        assert enter(rooms) == 1


def test_a_bucket_that_is_full_gives_the_place_of_the_key_that_was_idle_longest(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "BUCKETS", 1)

    def at(moment):
        def use(room):
            room.credit, room.credited_at = 0.5, moment

        return use

    def credit(room):
        return room.credit

    with open_rooms(tmp_path) as rooms:
        for number in range(module.WAYS):
            enter(rooms, f"k{number}", at(100.0 - number))
        with pytest.raises(StorageUnavailable):
            enter(rooms, "more")  # All of them run.
        for number in (2, 5):
            rooms.leave(f"k{number}")
        assert enter(rooms, "more", credit) == 0.0
        assert enter(rooms, "k2", credit) == 0.5
        with pytest.raises(StorageUnavailable):
            enter(rooms, "k5", credit)


def test_a_process_that_is_stopped_with_a_lock_holds_nobody_up(tmp_path, other):
    bucket = module.zlib.crc32(b"k1") % module.BUCKETS
    stuck = SPAWN.Process(target=keep_locked, args=(next(tmp_path.glob("limits-*")), bucket))
    stuck.start()
    with open_rooms(tmp_path) as rooms:
        try:
            until(lambda: is_locked(rooms, bucket), 20)
            with pytest.raises(StorageUnavailable):
                enter(rooms)
            assert enter(rooms, "k2") == 0, "another key feels it"
        finally:
            stuck.kill()
            stuck.join()
        assert enter(rooms) == 2


def keep_locked(path, bucket):
    file = os.open(path, os.O_RDWR)
    assert module._take(file, bucket)
    os.kill(os.getpid(), signal.SIGSTOP)


def is_locked(rooms, bucket):
    if module._take(rooms._file, bucket):
        module._let_go(rooms._file, bucket)
        return False
    return True


def test_more_processes_than_there_are_columns_are_refused_in_one_line(tmp_path, other, monkeypatch):
    monkeypatch.setattr(module, "PROCESSES", 1)
    with pytest.raises(StoreUnfit, match="is shared by 1 processes already"), open_rooms(tmp_path):
        pass


def test_a_file_that_cannot_be_opened_is_told_in_one_line(tmp_path):
    (tmp_path / module._FILE).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreUnfit, match="cannot be opened"), open_rooms(tmp_path):
        pass
    assert not (tmp_path / "elsewhere").exists()
