"""Runs one server as a child and makes sure that it never outlives whoever asked for it.

`python -I -S server_guard.py DIRECTORY LOG_FILE STOP_SIGNAL UID GID COMMAND…` prints the server's process id, then
waits for its standard input: the word `stop` ends the server, and a closed pipe (however the parent died) also removes
DIRECTORY.

It is a process of its own because a parent killed with SIGKILL cannot clean up, and because a parent-death signal set
in a program with threads fires when the *thread* that started the server ends.
"""

import ctypes
import os
import selectors
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

GRACE_SECONDS = 10
PR_SET_PDEATHSIG = 1


def die_with_the_guard(signal_number: int) -> Callable[[], None] | None:
    """On Linux even a guard killed with SIGKILL takes its server along."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl
    return lambda: prctl(PR_SET_PDEATHSIG, signal_number)


def serve(directory: Path, log_file: Path, stop_signal: int, uid: int, gid: int, command: list[str]) -> int:
    """Run `command` until it ends or the parent says or shows that it is no longer needed."""
    # A write into a pipe that the signal handler also holds wakes the selector: no polling, no race.
    wake_reader, wake_writer = os.pipe()
    os.set_blocking(wake_writer, False)
    signal.set_wakeup_fd(wake_writer)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)

    is_root = os.geteuid() == 0
    with log_file.open("ab") as log:
        server = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            # Its own group: a signal meant for the guard must not reach the server a second way.
            process_group=0,
            preexec_fn=die_with_the_guard(stop_signal),
            user=uid if is_root else None,
            group=gid if is_root else None,
            extra_groups=[] if is_root else None,
        )
    print(server.pid, flush=True)
    threading.Thread(target=lambda: (server.wait(), os.write(wake_writer, b"\0")), daemon=True).start()

    selector = selectors.DefaultSelector()
    parent = sys.stdin.fileno()
    selector.register(parent, selectors.EVENT_READ)
    selector.register(wake_reader, selectors.EVENT_READ)
    ready = {key.fd for key, _ in selector.select()}
    told_to_stop = parent in ready and os.read(parent, 5).startswith(b"stop")
    ended_by_itself = server.poll() is not None

    end(server, stop_signal)
    if not told_to_stop and not ended_by_itself:
        shutil.rmtree(directory, ignore_errors=True)
    status: int = server.returncode
    return status if status >= 0 else 128 - status


def end(server: subprocess.Popen[bytes], stop_signal: int) -> None:
    """Ask, wait, insist."""
    if server.poll() is not None:
        return
    server.send_signal(stop_signal)
    try:
        server.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


if __name__ == "__main__":
    directory, log_file, stop_signal, uid, gid, *command = sys.argv[1:]
    sys.exit(serve(Path(directory), Path(log_file), int(stop_signal), int(uid), int(gid), command))
