import gc
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from napari_rvae.device import (
    choose_device,
    describe_device,
    is_out_of_memory,
    limit_threads,
    release_memory,
    side_by_side,
    small_steps,
    thread_count,
    to_device,
)
from napari_rvae.errors import InputError
from threads import torch_threads


@pytest.fixture
def no_accelerator(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


@pytest.fixture
def one_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Big GPU")


def test_auto_is_the_cpu_without_an_accelerator(no_accelerator):
    assert choose_device() == torch.device("cpu")


def test_auto_is_cuda_where_there_is_one(one_gpu):
    assert choose_device("auto").type == "cuda"


def test_auto_passes_over_an_mps_that_cannot_multiply(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)

    def broken(*_args, **_options):
        raise RuntimeError("no bmm")

    monkeypatch.setattr(torch, "bmm", broken)
    assert choose_device("auto").type == "cpu"


def test_a_torch_device_is_taken_as_it_is():
    assert choose_device(torch.device("cpu")) == torch.device("cpu")


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "mps"])
def test_a_missing_device_is_one_clear_line(no_accelerator, name):
    with pytest.raises(InputError, match="choose auto or cpu"):
        choose_device(name)


@pytest.mark.parametrize("name", ["gpu", "", "cpu:x", "meta"])
def test_an_unknown_device_is_an_input_error(name):
    with pytest.raises(InputError, match="auto, cpu, cuda"):
        choose_device(name)


def test_a_gpu_that_is_not_there_is_counted(one_gpu):
    assert choose_device("cuda:0").index == 0
    with pytest.raises(InputError, match=r"no cuda:3.*1 CUDA"):
        choose_device("cuda:3")


def test_a_device_is_named_as_a_user_knows_it(one_gpu):
    assert describe_device(torch.device("cpu")) == "cpu"
    assert describe_device(torch.device("cuda")) == "cuda (Big GPU)"


def test_tensors_stay_on_the_cpu_without_a_copy():
    tensor = torch.ones(3)
    assert to_device(tensor, torch.device("cpu")) is tensor


def test_a_full_memory_is_told_from_other_errors():
    assert is_out_of_memory(torch.OutOfMemoryError("full"))
    assert is_out_of_memory(RuntimeError("MPS backend out of memory"))
    assert not is_out_of_memory(RuntimeError("shapes differ"))
    assert not is_out_of_memory(ValueError("out of memory"))


# --------------------------------------------------------------------------- memory
@pytest.mark.parametrize("name", ["cuda", "cuda:1", "mps"])
def test_memory_in_reserve_is_given_back(monkeypatch, name):
    done = []
    monkeypatch.setattr(gc, "collect", lambda: done.append("collect"))
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: done.append("cuda"))
    monkeypatch.setattr(torch.mps, "empty_cache", lambda: done.append("mps"))
    release_memory(torch.device(name))
    assert done == ["collect", torch.device(name).type]


def test_the_cpu_keeps_nothing_in_reserve(monkeypatch):
    monkeypatch.setattr(gc, "collect", lambda: pytest.fail("that costs time"))
    release_memory(torch.device("cpu"))


# --------------------------------------------------------------------------- threads
@pytest.fixture
def four_threads():
    with torch_threads(4):
        yield


def in_new_thread(function):
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result(timeout=20)


@pytest.mark.parametrize(("count", "within"), [(1, 1), (3, 3), (4, 4), (9, 4), (0, 4), (None, 4)])
def test_threads_are_limited_and_come_back(four_threads, count, within):
    with limit_threads(count):
        assert torch.get_num_threads() == within
    assert torch.get_num_threads() == 4


def test_a_limit_within_a_limit_never_raises_it(four_threads):
    with limit_threads(2):
        with limit_threads(3):
            assert torch.get_num_threads() == 2
        with limit_threads(1):
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
        assert in_new_thread(torch.get_num_threads) == 4
    assert torch.get_num_threads() == 4


def test_threads_come_back_after_an_error(four_threads):
    with pytest.raises(ZeroDivisionError), limit_threads(1):
        raise ZeroDivisionError
    assert torch.get_num_threads() == 4


def test_fewer_than_no_threads(four_threads):
    with pytest.raises(InputError, match="-1 threads are too few"), limit_threads(-1):
        pass
    assert torch.get_num_threads() == 4


def limited_steps():
    with limit_threads(1):
        while True:
            yield torch.get_num_threads()


def test_threads_come_back_when_a_generator_is_closed(four_threads):
    steps = limited_steps()
    assert next(steps) == 1
    steps.close()
    assert torch.get_num_threads() == 4


def test_a_generator_that_another_thread_closes_changes_nothing_there(four_threads):
    steps = limited_steps()
    torch.set_num_threads(3)
    assert in_new_thread(lambda: next(steps)) == 1
    steps.close()
    assert torch.get_num_threads() == 3


def test_the_limit_holds_in_its_own_thread_alone(four_threads):
    limited, done = threading.Event(), threading.Event()

    def work():
        seen = [torch.get_num_threads()]
        with limit_threads(1):
            seen.append(torch.get_num_threads())
            limited.set()
            assert done.wait(20)
        return [*seen, torch.get_num_threads()]

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(work)
        assert limited.wait(20)
        assert torch.get_num_threads() == 4
        with ThreadPoolExecutor(1) as late:  # begun while the other is limited
            begun = late.submit(torch.get_num_threads).result(timeout=20)
            done.set()
            assert future.result(timeout=20) == [4, 1, 4]
            assert begun == late.submit(torch.get_num_threads).result(timeout=20) == 4


def test_many_threads_limit_at_once(four_threads):
    def work(_):
        with limit_threads(2):
            inside = torch.get_num_threads()
        return inside, torch.get_num_threads()

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(work, range(200))) == {(2, 4)}
    assert in_new_thread(torch.get_num_threads) == 4


# --------------------------------------------------------------------------- side by side
def test_several_items_are_worked_on_at_a_time_and_answered_in_order(four_threads):
    together = threading.Barrier(4, timeout=20)  # breaks if fewer than four meet

    def work(number):
        together.wait()
        return number, thread_count()

    assert list(side_by_side(work, range(8))) == [(number, 1) for number in range(8)]
    assert thread_count() == torch.get_num_threads() == 4


@pytest.mark.parametrize(
    ("options", "workers", "each"),
    [({"most": 2}, 2, 2), ({"item_bytes": 2**30}, 2, 2), ({"item_bytes": 2**32}, 0, 4)],
)
def test_few_or_large_items_share_the_threads(four_threads, options, workers, each):
    here = threading.get_ident()
    seen = set(
        side_by_side(lambda _: (threading.get_ident(), thread_count()), range(12), **options)
    )
    assert len({ident for ident, _ in seen} - {here}) <= workers
    assert {count for _, count in seen} == {each}
    assert (here in {ident for ident, _ in seen}) == (workers == 0)


def test_with_one_thread_nothing_but_a_loop_is_left(four_threads):
    with limit_threads(1):
        assert set(side_by_side(lambda _: threading.get_ident(), range(3))) == {
            threading.get_ident()
        }


def test_items_are_taken_only_a_few_before_they_are_needed(four_threads):
    taken = []

    def items():
        for number in range(100):
            taken.append(number)
            yield number

    answers = side_by_side(abs, items())
    assert [next(answers) for _ in range(3)] == [0, 1, 2]
    answers.close()
    assert len(taken) < 10


def test_an_error_comes_in_its_turn_and_ends_it(four_threads):
    begun = []

    def work(number):
        begun.append(number)
        if number == 5:
            raise ValueError("five")
        return number

    answers = side_by_side(work, range(1000))
    got = []
    with pytest.raises(ValueError, match="five"):
        got.extend(answers)
    with pytest.raises(StopIteration):
        next(answers)
    assert len(begun) < 20


@pytest.fixture
def nine_threads():
    with torch_threads(9):
        yield


def test_more_than_four_threads_would_wait_for_each_other(nine_threads):
    seen = set(side_by_side(lambda _: (threading.get_ident(), thread_count()), range(40)))
    assert len({ident for ident, _ in seen}) <= 4
    assert {count for _, count in seen} == {1}


# --------------------------------------------------------------------------- small steps
def threads_of(_number):
    return threading.get_ident(), torch.get_num_threads(), thread_count()


def test_small_steps_are_done_by_one_thread_each(four_threads):
    with small_steps():
        assert torch.get_num_threads() == 1
        assert thread_count() == 4
        seen = [row for _ in range(20) for row in side_by_side(threads_of, range(8))]
    assert {row[1:] for row in seen} == {(1, 1)}
    assert len({row[0] for row in seen}) <= 4  # the same ones every time
    assert torch.get_num_threads() == thread_count() == 4
    assert in_new_thread(torch.get_num_threads) == 4


def test_small_steps_within_small_steps_change_nothing(four_threads):
    with small_steps():
        with small_steps():
            assert thread_count() == 4
        assert thread_count() == 4
        assert torch.get_num_threads() == 1
    with limit_threads(1), small_steps():
        assert {row[0] for row in side_by_side(threads_of, range(3))} == {threading.get_ident()}


def test_small_steps_of_items_side_by_side_share_the_threads(four_threads):
    @small_steps()
    def work(_number):
        return [row[0] for row in side_by_side(threads_of, range(4))]

    rows = list(side_by_side(work, range(2), most=2))
    assert all(len(set(row)) <= 2 for row in rows)
    assert all(len(set(row)) == 1 for row in side_by_side(work, range(4)))


def test_an_error_in_small_steps_waits_for_what_was_begun(four_threads):
    running = set()

    def work(number):
        running.add(number)
        try:
            if number == 3:
                raise ValueError("three")
            return number
        finally:
            running.discard(number)

    with small_steps():
        with pytest.raises(ValueError, match="three"):
            list(side_by_side(work, range(100)))
        assert not running
        assert list(side_by_side(abs, range(9))) == list(range(9))
    assert thread_count() == 4
