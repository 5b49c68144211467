import asyncio
import threading

import pytest

from infra.database.sqlite_thread import CallingThread


async def test_calls_are_done_in_their_order_in_one_thread_that_ends_when_told() -> None:
    thread, done = CallingThread("one"), list[int]()
    names = [
        thread.call(lambda number: (done.append(number), threading.current_thread().name)[1], (n,)) for n in range(5)
    ]
    assert set(await asyncio.gather(*names)) == {"one"}
    assert done == [0, 1, 2, 3, 4]
    thread.stop()
    assert "one" not in {other.name for other in threading.enumerate()}


async def test_an_error_is_whoevers_waits_and_the_thread_goes_on() -> None:
    thread = CallingThread("failing")
    with pytest.raises(ZeroDivisionError):
        await thread.call(lambda: 1 // 0, ())
    assert await thread.call(lambda: 1, ()) == 1
    thread.stop()


async def test_a_call_that_is_canceled_is_left_out_unless_it_has_begun() -> None:
    thread, begun, go_on, done = CallingThread("canceled"), threading.Event(), threading.Event(), list[str]()

    def wait() -> None:
        begun.set()
        go_on.wait()
        done.append("begun")

    running, waiting = thread.call(wait, ()), thread.call(done.append, ("waiting",))
    await asyncio.to_thread(begun.wait)
    assert running.cancel()
    assert waiting.cancel()
    go_on.set()
    await thread.call(done.append, ("next",))
    assert done == ["begun", "next"]
    thread.stop()


def test_a_result_that_comes_after_the_end_of_the_loop_is_nobodys() -> None:
    thread, go_on = CallingThread("late"), threading.Event()

    async def leave() -> None:
        thread.call(go_on.wait, ())

    asyncio.run(leave())
    go_on.set()

    async def come_again() -> int:
        return await thread.call(lambda: 2, ())

    assert asyncio.run(come_again()) == 2
    thread.stop()
