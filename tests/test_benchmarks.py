"""Benchmarks that cannot be run on every machine, as far as they go on this one."""
import pathlib
import re
import subprocess
import sys

import pytest

BENCHMARKS = pathlib.Path(__file__).parents[1] / "benchmarks"


def run_benchmark(name, *arguments):
    """Run a script and return the cells of the table's rows that it prints, and its result."""
    result = subprocess.run([sys.executable, BENCHMARKS / name, *arguments], capture_output=True, text=True)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in result.stdout.splitlines()]
    return rows[2:], result


@pytest.mark.slow
def test_the_benchmark_of_a_gpu_goes_as_far_as_a_cpu_lets_it():
    rows, result = run_benchmark("gpu.py", "multilabel_small", "--device", "cpu", "--steps", "3", "--batch-size", "4",
                                 "--ways", "float32", "mixed precision")
    assert result.returncode == 0, result.stderr
    assert [row[0] for row in rows] == ["float32", "mixed precision"]
    for _, first, steps, memory, tflops, share, _ in rows:
        assert float(first) > 0 and float(steps) > 0 and float(memory.replace(",", "")) > 500
        # Three times the network's 2 * 7,635,200 operations per second of audio, for 4 segments of 2.56 s.
        assert float(tflops) == pytest.approx(3 * 2 * 7_635_200 * 4 * 2.56 * float(steps) / 1e12, rel=0.1)
        assert 0 <= float(share.rstrip("%")) <= 100
    assert float(rows[0][-1]) < 1e-4 and 1e-5 < float(rows[1][-1]) < 5e-2  # float16 was used, and not in the export


@pytest.mark.slow
def test_the_benchmark_of_a_gpu_asks_for_one():
    import tensorflow as tf
    if tf.config.list_physical_devices("GPU"):
        pytest.skip("there is a GPU")
    rows, result = run_benchmark("gpu.py", "multilabel_small", "--steps", "1")
    assert result.returncode == 1 and rows == [] and "expected a GPU" in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["multilabel_small", "mcmt_2_small", "scene_baseline_small"])
def test_the_estimated_memory_of_a_training_is_near_the_measured_one(preset, tmp_path):
    rows, result = run_benchmark("costs.py", preset, "--keep", tmp_path, "--only", "count", "train")
    assert result.returncode == 0, result.stderr
    estimated, measured = (float(cell.replace(",", "")) for cell in rows[0][3:5])
    assert estimated == pytest.approx(measured, rel=0.3)


@pytest.fixture
def speed(monkeypatch):
    """The module benchmarks/speed.py."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    import speed
    return speed


def section(name, text):
    return f"<!-- {name}: begin -->\n{text}\n<!-- {name}: end -->\n"


def test_tables_that_are_measured_again_leave_the_others(speed, tmp_path, monkeypatch):
    page = tmp_path / "page.md"
    page.write_text("".join(section(name, "of another machine") for name in speed.SCRIPTS))
    monkeypatch.setattr(speed, "PAGE", page)
    monkeypatch.setattr(speed, "machine", lambda: "this machine.")
    monkeypatch.setattr(speed, "commit", lambda: "0123456")
    monkeypatch.setattr(speed.subprocess, "run", lambda command, **_: subprocess.CompletedProcess(
        command, 0, f"| {command[1].name} |"))
    for scripts, again in (["features"], 1), ([], len(speed.SCRIPTS)):
        monkeypatch.setattr(sys, "argv", ["speed.py", "--wait", "0", *scripts])
        with pytest.raises(SystemExit) as ended:
            speed.main()
        text = page.read_text()
        assert ended.value.code == 0 and "| features.py |" in text
        assert text.count("of another machine") == len(speed.SCRIPTS) - again
        assert text.count("commit 0123456, ") == text.count(" minutes; this machine.") == again


def test_each_table_of_the_page_says_what_it_was_measured_with(speed):
    for name in speed.SCRIPTS:
        assert re.search(rf"<!-- {name}: begin -->\n`python benchmarks/{name}\.py.*`, commit \w+\+?, [\d-]+, "
                         r"[\d.]+ minutes; \d+ cores of .*; Python 3", speed.PAGE.read_text())
