"""Clocks, memory and processes of the measurements measure what they say."""

from __future__ import annotations

import json
import mmap
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
import torch

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
from measurements import (  # noqa: E402
    Rounds,
    answered_in_child,
    append_json,
    arguments,
    in_child,
    in_turns,
    must_agree,
    peak_bytes,
    record,
    timed,
    with_growth,
)


def test_waiting_costs_time_and_no_processor() -> None:
    taken = timed(lambda: time.sleep(0.1) or "done")
    assert taken.value == "done"
    assert taken.wall_s[0] >= 0.1
    assert taken.cpu_s[0] < taken.wall_s[0] / 2


def test_works_take_turns() -> None:
    order: list[str] = []
    works = {name: (lambda name=name: order.append(name) or len(order)) for name in "ab"}
    taken = in_turns(works, rounds=3)
    assert order == list("ababab")
    assert [len(one.wall_s) for one in taken.values()] == [3, 3]
    assert {name: one.value for name, one in taken.items()} == {"a": 5, "b": 6}


@pytest.mark.parametrize(("least", "budget_s", "expected"), [(1, 0.0, 1), (3, 0.0, 3), (1, 60, 5)])
def test_a_budget_ends_the_rounds_once_there_are_enough(
    least: int, budget_s: float, expected: int
) -> None:
    taken = in_turns({"a": int}, rounds=5, least=least, budget_s=budget_s)["a"]
    assert len(taken.wall_s) == len(taken.cpu_s) == expected


def test_speeds_by_hand() -> None:
    assert Rounds([2.0, 1.0, 4.0], [0.5, 0.8, 1.0], None).images_per_second(8) == {
        "best_images_per_s": 8.0,
        "median_images_per_s": 4.0,
        "best_images_per_cpu_s": 16.0,
    }


def test_growth_is_what_was_held_at_once() -> None:
    def work() -> int:
        total = 0
        for _ in range(3):  # pages of their own: an allocator may have free ones that are resident
            pages = np.frombuffer(mmap.mmap(-1, 32 << 20), np.uint8)
            pages[:] = 1
            total += int(pages.sum())
        return total

    total, growth_mb = with_growth(work)
    assert total == 3 << 25
    assert 30 < growth_mb < 90  # two pages, where one takes the place of the other


def test_peak_counts_tensors_held_at_once() -> None:
    def work() -> None:
        for _ in range(3):
            torch.zeros(1000)

    assert 4000 <= peak_bytes(work) < 8000


def test_a_cell_runs_in_a_process_of_its_own(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(f"""
        import os, sys
        sys.path.insert(0, {str(BENCHMARKS)!r})
        from measurements import answered_in_child

        def work(side, count):
            print("chatter")
            threads = [os.environ.get(n) for n in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")]
            return {{"side": side, "count": count + 1, "pid": os.getpid(), "threads": threads,
                    "wait": os.environ.get("OMP_WAIT_POLICY")}}

        if not answered_in_child(work):
            raise SystemExit("asked for no cell")
        """)
    )
    passive = {"OMP_WAIT_POLICY": "PASSIVE"}
    found = in_child(str(script), {"side": "ours", "count": 2}, threads=3, environment=passive)
    assert (found["side"], found["count"], found["wait"]) == ("ours", 3, "PASSIVE")
    assert found["threads"] == ["3", "3"]
    assert not answered_in_child(dict)  # this process is nobody's child


def test_numbers_that_differ_stop_a_measurement() -> None:
    must_agree({"map": 0.5, "more": 1.0}, {"map": 0.5000001}, 1e-5, "here")
    for other in (0.51, float("nan")):
        with pytest.raises(SystemExit, match=r"map differs by .* at here"):
            must_agree({"map": 0.5}, {"map": other}, 1e-5, "here")


def test_the_record_says_what_must_be_known_to_repeat_it(tmp_path: Path) -> None:
    found = record(7, threads=2, packages=["pytest"])
    assert (found["seed"], found["threads"], found["data_hash"]) == (7, 2, "generated")
    assert found["versions"]["pytest"] == pytest.__version__
    assert {"created", "git_commit", "hardware", "load_average_at_start"} <= set(found)
    for number in (1, 2):
        append_json(tmp_path / "out.json", {"number": number})
    kept = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert kept == [{"number": 1}, {"number": 2}]


def test_options_have_their_defaults() -> None:
    parser = arguments("What it measures.\n\nMore.", "tiny", seed=0, rounds=5)
    chosen = parser.parse_args(["--rounds", "9"])
    assert (chosen.seed, chosen.rounds, chosen.out.name) == (0, 9, "tiny.json")
    assert parser.description == "What it measures."
