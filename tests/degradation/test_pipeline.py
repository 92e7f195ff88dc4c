"""The stages: order is kept, queues are bounded, errors come out where they can be handled."""

import threading
import time
from contextlib import closing

import pytest

from degradation.pipeline import in_bursts, in_order, read_ahead

READERS = pytest.mark.parametrize("reader", [read_ahead, in_bursts])


@READERS
def test_results_come_in_order_whatever_thread_is_first(reader):
    def slow_at_first(item):
        time.sleep(0.02 / (item + 1))
        return item * 10, threading.get_ident()

    results = list(reader(slow_at_first, range(8), 4, 8))
    assert [value for value, _ in results] == [item * 10 for item in range(8)]
    assert len({thread for _, thread in results}) > 1
    assert threading.get_ident() not in {thread for _, thread in results}


@READERS
def test_items_are_taken_as_they_are_needed(reader):
    taken = []

    def items():
        for item in range(100):
            taken.append(item)
            yield item

    with closing(reader(str, items(), 2, 5)) as results:
        for expected in range(20):
            assert next(results) == str(expected)
            assert len(taken) <= expected + 5
    assert len(taken) < 30


@READERS
def test_an_error_in_a_reader_comes_out(reader):
    results = reader(lambda item: 1 // (item - 4), range(9), 2, 2)
    assert [next(results) for _ in range(4)] == [-1, -1, -1, -1]
    with pytest.raises(ZeroDivisionError):
        next(results)


@READERS
def test_closing_stops_the_threads(reader):
    before = threading.active_count()
    results = reader(lambda item: item, range(1000), 3, 4)
    assert next(results) == 0
    results.close()
    assert threading.active_count() == before


def test_nothing_is_read_beside_a_burst():
    taken = []
    with closing(in_bursts(taken.append, range(100), 2, 4)) as results:
        for asked in range(12):
            next(results)
            time.sleep(0.002)
            assert len(taken) == 4 * (asked // 4 + 1)


def test_jobs_run_in_order_in_one_other_thread():
    done = []
    with in_order(depth=2) as hand_over:
        for number in range(20):
            hand_over(lambda number=number: done.append((number, threading.get_ident())))
    assert [number for number, _ in done] == list(range(20))
    assert {thread for _, thread in done} != {threading.get_ident()}
    assert len({thread for _, thread in done}) == 1


def test_handing_over_waits_while_the_queue_is_full():
    free, handed = threading.Event(), []

    def hand_all(hand_over):
        for number in range(6):
            hand_over(free.wait)
            handed.append(number)

    with in_order(depth=2) as hand_over:
        other = threading.Thread(target=hand_all, args=(hand_over,))
        other.start()
        other.join(timeout=0.1)
        assert other.is_alive()
        assert len(handed) <= 3  # one at work, two waiting
        free.set()
        other.join()
    assert len(handed) == 6


def test_after_a_failure_nothing_runs_and_the_error_comes_out():
    done = []

    def fail():
        raise OSError("disk full")

    def hand_many():
        with in_order(depth=2) as hand_over:
            hand_over(fail)
            for _ in range(50):
                hand_over(lambda: done.append(1))
                time.sleep(0.001)

    with pytest.raises(OSError, match="disk full"):
        hand_many()
    assert done == []


def test_a_failure_of_the_last_job_is_not_lost():
    def fail_late():
        time.sleep(0.05)
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"), in_order(depth=2) as hand_over:
        hand_over(fail_late)


def test_what_was_handed_over_is_done_although_the_block_fails():
    done = []

    def interrupted():
        with in_order(depth=4) as hand_over:
            for number in range(3):
                hand_over(lambda number=number: (time.sleep(0.01), done.append(number)))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert done == [0, 1, 2]
