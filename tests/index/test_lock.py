from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mmsearch.index.errors import LibraryBusy
from mmsearch.index.lock import index_lock

HOLD = """
import sys, time
from pathlib import Path
from mmsearch.index.lock import index_lock
with index_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_indexer_hears_who_is_at_work(tmp_path: Path) -> None:
    expected = (
        rf"process {os.getpid()} on {re.escape(socket.gethostname())}, since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d\S+, "
        rf"is indexing into {re.escape(str(tmp_path))}; try again when it has finished\."
    )
    with index_lock(tmp_path), pytest.raises(LibraryBusy, match=f"^{expected}$"), index_lock(tmp_path):
        pass


def test_the_lock_is_free_again_afterwards(tmp_path: Path) -> None:
    for _ in range(2):
        with index_lock(tmp_path):
            pass
    with pytest.raises(ZeroDivisionError), index_lock(tmp_path):
        _ = 1 / 0
    with index_lock(tmp_path):
        pass
    assert [path.name for path in tmp_path.iterdir() if "holder" in path.name] == []


def test_who_can_wait_gets_the_lock_when_it_is_free(tmp_path: Path) -> None:
    entered, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with index_lock(tmp_path):
            entered.set()
            leave.wait()

    holder = threading.Thread(target=hold)
    holder.start()
    entered.wait()
    threading.Timer(0.1, leave.set).start()
    with index_lock(tmp_path, wait_s=30):
        pass
    holder.join()


def test_the_folder_is_made(tmp_path: Path) -> None:
    with index_lock(tmp_path / "new" / "library"):
        assert (tmp_path / "new" / "library").is_dir()


def test_a_holder_that_was_killed_leaves_nothing_locked(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(LibraryBusy, match=f"process {holder.pid} on"), index_lock(tmp_path):
            pass
        holder.send_signal(signal.SIGKILL)
    with index_lock(tmp_path):
        pass


def test_a_holder_that_has_not_signed_yet_is_another_process(tmp_path: Path) -> None:
    with index_lock(tmp_path):
        (tmp_path / "index.holder.json").write_text("{")
        with pytest.raises(LibraryBusy, match=r"^another process is indexing"), index_lock(tmp_path):
            pass
