"""Benchmarks that cannot be run on every machine, as far as they go on this one."""
import pathlib
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
