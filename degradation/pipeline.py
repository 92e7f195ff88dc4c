"""Stages of an extraction: threads that read, ahead or in bursts, one thread that finishes up.

All queues are bounded, so what is held at any moment does not depend on how much there is to do.
An error in a thread is raised where the items are asked for or handed over.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from queue import Queue
from threading import Thread
from typing import TypeVar

__all__ = ["in_bursts", "in_order", "read_ahead"]

Item = TypeVar("Item")
Result = TypeVar("Result")


def read_ahead(
    read: Callable[[Item], Result], items: Iterable[Item], workers: int, window: int
) -> Generator[Result, None, None]:
    """The results in the order of the items, at most `window` of them read ahead by threads.

    Close it to stop the threads early.

    Args:
        read: Called with each item, in a thread.
        items: Taken one by one, as they are needed.
        workers: Number of threads.
        window: Results under way or waiting at any moment.
    """
    pool = ThreadPoolExecutor(workers, thread_name_prefix="read-ahead")
    waiting: deque[Future[Result]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(read, item))
            if len(waiting) >= window:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def in_bursts(
    read: Callable[[Item], Result], items: Iterable[Item], workers: int, size: int
) -> Generator[Result, None, None]:
    """The results in the order of the items, `size` of them read by threads when one is asked for.

    Nothing is read while the results are used. Where that takes all cores, as an encoder on a CPU
    does, reading beside it costs more than it saves: threads that share a matrix product wait for
    the one whose core reads.

    Args:
        read: Called with each item, in a thread.
        items: Taken as they are needed.
        workers: Number of threads.
        size: Results in one burst.
    """
    items = iter(items)
    with ThreadPoolExecutor(workers, thread_name_prefix="in-bursts") as pool:
        while burst := list(islice(items, size)):
            yield from list(pool.map(read, burst))


@contextmanager
def in_order(depth: int) -> Iterator[Callable[[Callable[[], None]], None]]:
    """A function that hands jobs to one thread, which runs them in order.

    The function waits while `depth` jobs are waiting. After a job has failed no other one runs,
    and its error is raised by the next hand-over or at the end of the block. All jobs handed over
    are done when the block is left, also by an exception.

    Args:
        depth: Jobs that may wait.
    """
    jobs: Queue[Callable[[], None] | None] = Queue(depth)
    failed: list[BaseException] = []

    def work() -> None:
        while (job := jobs.get()) is not None:
            if failed:
                continue  # keep taking, so that nobody waits for room
            try:
                job()
            except BaseException as error:
                failed.append(error)

    def hand_over(job: Callable[[], None]) -> None:
        if failed:
            raise failed[0]
        jobs.put(job)

    thread = Thread(target=work, name="in-order", daemon=True)
    thread.start()
    try:
        yield hand_over
    finally:
        jobs.put(None)
        thread.join()
    if failed:
        raise failed[0]
