"""Commands on more than one core or machine, each run as a command; and `listen`, which runs without TensorFlow."""
import shutil
import subprocess
import sys

import pytest
import soundfile

from polysed_keras.cli.main import main
from polysed_keras.files import write_json

from fixtures import MULTI_LABEL, POWERSET, RATE, run_python, shared_corpus, shared_export

LISTEN = """
import sys
from polysed_keras.cli.main import main
assert main(["listen", "-", "--model", sys.argv[1], "--rate", sys.argv[2]]) == 0
print([name for name in ("tensorflow", "keras", "librosa") if name in sys.modules])
"""
# Without GPUs the strategy has one device, so that it is told which ones.
MIRRORED = """
import functools, sys
import tensorflow as tf
cpu, = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
tf.distribute.MirroredStrategy = lambda: strategy
from polysed_keras.cli.main import main
assert strategy.num_replicas_in_sync == 2
sys.exit(main(["train", sys.argv[1], "--data", sys.argv[2], "--out", sys.argv[3], "--mirrored",
               "--set", "training.epochs=1"]))
"""


def test_listen_imports_no_tensorflow():
    path = sorted((shared_corpus() / "audio").glob("test*.wav"))[0]
    samples, _ = soundfile.read(path, dtype="int16")
    result = subprocess.run([sys.executable, "-c", LISTEN, str(shared_export(POWERSET)), str(RATE)], timeout=120,
                            input=samples.tobytes(), capture_output=True)
    *events, imported = result.stdout.decode().splitlines()
    assert result.returncode == 0, result.stderr.decode()
    assert imported == "[]" and events


@pytest.mark.slow
def test_a_command_on_a_cluster_finds_what_one_machine_finds(tmp_path):
    distributed = pytest.importorskip("distributed",
                                      reason="distributed is not installed: pip install -e '.[cluster]'")
    model, audio = str(shared_export(POWERSET)), str(shutil.copytree(shared_corpus() / "audio", tmp_path / "audio"))
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        result = subprocess.run([sys.executable, "-m", "polysed_keras", "detect", audio, "--model", model, "--out",
                                 str(tmp_path / "cluster"), "--scheduler", cluster.scheduler_address],
                                capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    assert main(["detect", audio, "--model", model, "--out", str(tmp_path / "here")]) == 0
    there, here = ({path.name: path.read_bytes() for path in (tmp_path / name).glob("*.tsv")}
                   for name in ("cluster", "here"))
    assert there == here and len(here) == 9


@pytest.mark.slow
def test_a_mirrored_training_ends_and_its_run_detects(tmp_path):
    write_json(MULTI_LABEL.to_dict(), tmp_path / "tiny.json")
    run = tmp_path / "run"
    assert f"{run}: best epoch 1 of 1" in run_python(MIRRORED, tmp_path / "tiny.json", shared_corpus(), run)
    assert main(["evaluate", str(run), "--data", str(shared_corpus())]) == 0
