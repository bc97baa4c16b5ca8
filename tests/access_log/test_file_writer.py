"""Log files: what is written when, in what pieces, and what is counted."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from outrider.access_log.file_writer import AccessLogManager, LogFile, pipe_batches
from outrider.event.timer import TimerWheel, WheelClock
from outrider.stats.store import Store


class HandClock(WheelClock):
    def __init__(self) -> None:
        self.now = 1000

    def now_ms(self) -> int:
        return self.now

    def wake_at(self, when_ms: int) -> None:
        pass


class FakeDispatcher:
    def __init__(self) -> None:
        self.clock = HandClock()
        self.wheel = TimerWheel(self.clock)

    def timer(self, owner: object, kind: int) -> object:
        from outrider.event.timer import Timer

        return Timer(self.wheel, owner, kind)  # type: ignore[arg-type]

    def advance(self, milliseconds: int) -> None:
        self.clock.now += milliseconds
        self.wheel.advance()


def wait_for(path: Path, content: bytes) -> None:
    deadline = time.monotonic() + 5
    while path.read_bytes() != content:
        assert time.monotonic() < deadline, path.read_bytes()
        time.sleep(0.002)


def counts(store: Store) -> dict[str, int]:
    names = ("write_buffered", "write_completed", "write_failed", "flushed_by_timer", "reopen_failed", "write_dropped")
    found = {name: store.counter(f"filesystem.{name}").value for name in names}
    found["write_total_buffered"] = store.gauge("filesystem.write_total_buffered").value
    return found


def test_first_line_at_once_then_by_size_and_at_the_end(tmp_path: Path) -> None:
    store = Store()
    manager = AccessLogManager(store, min_flush_bytes=10)
    path = tmp_path / "log"
    file = manager.file(str(path))
    assert path.read_bytes() == b""
    file.write(b"one\n")
    wait_for(path, b"one\n")
    file.write(b"two\n")
    file.write(b"three\n")
    assert path.read_bytes() == b"one\n"
    file.write(b"four\n")
    wait_for(path, b"one\ntwo\nthree\nfour\n")
    file.write(b"five\n")
    manager.close()
    assert path.read_bytes() == b"one\ntwo\nthree\nfour\nfive\n"
    found = counts(store)
    assert found["write_buffered"] == 5
    assert found["write_completed"] == 3
    assert found["write_total_buffered"] == 0
    assert found["write_failed"] == 0


def test_flush_by_time(tmp_path: Path) -> None:
    store = Store()
    manager = AccessLogManager(store, flush_interval_ms=500)
    dispatcher = FakeDispatcher()
    manager.start(dispatcher)  # type: ignore[arg-type]
    path = tmp_path / "log"
    file = manager.file(str(path))
    file.write(b"first\n")
    wait_for(path, b"first\n")
    file.write(b"second\n")
    dispatcher.advance(400)
    time.sleep(0.02)
    assert path.read_bytes() == b"first\n"
    dispatcher.advance(200)
    wait_for(path, b"first\nsecond\n")
    assert counts(store)["flushed_by_timer"] == 1
    dispatcher.advance(600)
    assert counts(store)["flushed_by_timer"] == 2
    manager.close()


def test_loggers_share_a_file(tmp_path: Path) -> None:
    manager = AccessLogManager(Store())
    path = str(tmp_path / "log")
    assert manager.file(path) is manager.file(path)
    assert manager.file(path) is not manager.file(path + "2")
    manager.close()


def test_reopen_after_rotation(tmp_path: Path) -> None:
    store = Store()
    manager = AccessLogManager(store)
    path = tmp_path / "log"
    file = manager.file(str(path))
    file.write(b"one\n")
    wait_for(path, b"one\n")
    file.write(b"two\n")
    path.rename(tmp_path / "old")
    manager.reopen()
    wait_for(tmp_path / "old", b"one\ntwo\n")
    file.write(b"three\n")
    manager.close()
    assert path.read_bytes() == b"three\n"
    assert (tmp_path / "old").read_bytes() == b"one\ntwo\n"


def test_failed_reopen_keeps_the_old_file(tmp_path: Path) -> None:
    store = Store()
    manager = AccessLogManager(store)
    folder = tmp_path / "folder"
    folder.mkdir()
    file = manager.file(str(folder / "log"))
    file.write(b"one\n")
    folder.rename(tmp_path / "moved")
    manager.reopen()
    file.write(b"two\n")
    manager.close()
    assert (tmp_path / "moved" / "log").read_bytes() == b"one\ntwo\n"
    assert counts(store)["reopen_failed"] == 1


def test_file_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        AccessLogManager(Store()).file(str(tmp_path / "no" / "log"))


def test_failed_writes_are_counted() -> None:
    store = Store()
    manager = AccessLogManager(store)
    file = manager.file("/dev/full")
    file.write(b"line\n")
    manager.close()
    assert counts(store)["write_failed"] == 1
    assert counts(store)["write_completed"] == 0
    assert counts(store)["write_total_buffered"] == 0


def test_nothing_is_written_for_an_empty_line(tmp_path: Path) -> None:
    store = Store()
    manager = AccessLogManager(store)
    manager.file(str(tmp_path / "log")).write(b"")
    manager.close()
    assert counts(store)["write_buffered"] == 0


def test_blocked_pipe_blocks_nobody_and_drops_beyond_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    store = Store()
    manager = AccessLogManager(store, min_flush_bytes=1)
    file = manager.file(str(path))
    line = b"x" * 1_000_000 + b"\n"
    begin = time.monotonic()
    for _ in range(70):
        file.write(line)
    assert time.monotonic() - begin < 2
    assert counts(store)["write_dropped"] > 0
    begin = time.monotonic()
    manager.close(0.05)
    assert time.monotonic() - begin < 1
    # The reader goes away: the thread gets EPIPE for the rest and ends.
    os.close(reader)


def test_pipes_get_whole_lines_in_small_batches() -> None:
    lines = [b"a" * 2000 + b"\n", b"b" * 2000 + b"\n", b"c" * 2000 + b"\n", b"d" * 9000 + b"\n", b"e\n"]
    batches = pipe_batches(lines)
    assert b"".join(batches) == b"".join(lines)
    assert [len(batch) for batch in batches] == [4002, 2001, 9001, 2]
    assert all(batch.endswith(b"\n") for batch in batches)


def test_standard_output_is_not_opened_by_name(capfd: pytest.CaptureFixture[str]) -> None:
    manager = AccessLogManager(Store())
    manager.file("/dev/stdout").write(b"to stdout\n")
    manager.file("/dev/stderr").write(b"to stderr\n")
    manager.close()
    captured = capfd.readouterr()
    assert captured.out == "to stdout\n"
    assert captured.err == "to stderr\n"


def test_processes_append_whole_batches_to_one_file(tmp_path: Path) -> None:
    path = tmp_path / "log"
    children = []
    for number in range(3):
        child = os.fork()
        if child == 0:
            manager = AccessLogManager(Store(), min_flush_bytes=500)
            file = manager.file(str(path))
            for index in range(300):
                file.write(b"%d %d %s\n" % (number, index, b"x" * 40))
            manager.close()
            os._exit(0)
        children.append(child)
    for child in children:
        _, status = os.waitpid(child, 0)
        assert status == 0
    lines = path.read_bytes().split(b"\n")[:-1]
    assert len(lines) == 900
    for number in range(3):
        mine = [line for line in lines if line.startswith(b"%d " % number)]
        assert [int(line.split()[1]) for line in mine] == list(range(300))


def test_thread_starts_with_the_first_line_only(tmp_path: Path) -> None:
    import threading

    before = threading.active_count()
    manager = AccessLogManager(Store())
    file = manager.file(str(tmp_path / "log"))
    assert isinstance(file, LogFile)
    assert threading.active_count() == before
    manager.close()
