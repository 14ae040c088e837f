"""Training on a GPU: steps per second, memory and share of the peak in float32, in mixed precision and by XLA.

    python benchmarks/gpu.py [PRESET] [--steps 200] [--batch-size 32] [--device cpu]

Every way of training is run in a process of its own: some steps to warm up, of which the first one traces and compiles,
then the steps that are timed, on one batch of random segments. The share of the peak is what these steps compute, three
times the network's multiply-adds, beside what products of large matrices of the same type reach in the same process.
The network is exported after its training, and a process without a GPU detects with the export.

Fails if there is no GPU, unless --device is cpu; if a loss is not finite; or if the export's answers on a CPU differ
from the trained network's by more than its precision allows.
"""
import argparse
import json
import os
import pathlib
import sys
import tempfile
import time

import numpy as np
from costs import in_process, peak_memory, print_header  # it makes the package importable

WAYS = {"float32": ("float32", False), "mixed precision": ("mixed_float16", False), "XLA": ("float32", True),
        "mixed precision, XLA": ("mixed_float16", True)}
WARM_UP, LABELS = 10, 16
PRECISION = {"float32": 1e-3, "mixed_float16": 5e-2}  # of posteriors: a GPU multiplies float32 in TF32


def peak_flops(dtype, size):
    """Measure the operations per second of products of square matrices."""
    import tensorflow as tf
    matrix = tf.cast(tf.random.normal((size, size), stddev=size ** -0.5), dtype)

    @tf.function
    def multiply(x):
        for _ in range(10):
            x = tf.matmul(x, matrix)
        return tf.reduce_sum(tf.cast(x, tf.float32))

    times = []
    for _ in range(4):
        begun = time.perf_counter()
        multiply(matrix).numpy()
        times.append(time.perf_counter() - begun)
    return 10 * 2 * size ** 3 / min(times[1:])


def train(preset, policy, xla, steps, batch_size, on_gpu, out):
    """Train, export to `out`, and return what was measured, a dict; for a process of its own."""
    import keras
    import tensorflow as tf

    from polysed_keras.export.saved_model import export_saved_model
    from polysed_keras.models import build_model, compile_model, task_weights, with_labels
    from polysed_keras.models.costs import multiply_adds
    from polysed_keras.specs import get_preset
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy(policy)
    experiment = with_labels(get_preset(preset), [f"label_{index}" for index in range(LABELS)])
    model = build_model(experiment.model, experiment.tasks, experiment.input_shape)
    compile_model(model, experiment.tasks, learning_rate=experiment.training.learning_rate,
                  loss_weights=task_weights(experiment), jit_compile=xla)

    rng = np.random.default_rng(0)
    log_mel = rng.normal(0, 1, (batch_size, *experiment.input_shape)).astype(np.float32)
    targets = {task.name: task.encode(rng.integers(0, 2, (*model.output[task.name].shape[1:-1], len(task.labels))))
               for task in experiment.tasks}
    targets = {name: np.stack([target] * batch_size) for name, target in targets.items()}
    batches = tf.data.Dataset.from_tensors((log_mel, targets)).cache().repeat().prefetch(2)

    def fit(number):
        begun = time.perf_counter()
        history = model.fit(batches, steps_per_epoch=number, verbose=0, shuffle=False)
        return time.perf_counter() - begun, history.history["loss"][-1]

    first, _ = fit(1)
    fit(WARM_UP)
    seconds, loss = fit(steps)
    memory = tf.config.experimental.get_memory_info("GPU:0")["peak"] / 1e6 if on_gpu else peak_memory()
    flops = 3 * 2 * multiply_adds(model) * batch_size * steps / seconds
    dtype = "float16" if policy == "mixed_float16" else "float32"
    peak = peak_flops(dtype, 8192 if on_gpu else 512)
    export_saved_model(model, experiment, pathlib.Path(out) / "model")
    posteriors = model(log_mel[:1], training=False)
    np.save(pathlib.Path(out) / "log_mel.npy", log_mel[:1])
    np.save(pathlib.Path(out) / "posteriors.npy", np.concatenate(
        [task.label_posteriors(posteriors[task.name].numpy()) for task in experiment.tasks], axis=-1))
    return {"first": first, "steps": steps / seconds, "memory": memory, "tflops": flops / 1e12,
            "share": flops / peak, "loss": loss}


def detect(out):
    """Return the greatest difference of the export's posteriors to the trained network's; for a process on a CPU."""
    import tensorflow as tf

    from polysed_keras.export import load_saved_model
    assert not tf.config.list_physical_devices("GPU")
    out = pathlib.Path(out)
    detector = load_saved_model(out / "model")
    detector.detect(np.random.default_rng(0).normal(0, 0.1, 5 * detector.sample_rate).astype(np.float32))
    answer = detector.saved_model.signatures["log_mel"](log_mel=tf.constant(np.load(out / "log_mel.npy")))
    return {"difference": float(np.abs(answer["posteriors"].numpy() - np.load(out / "posteriors.npy")).max())}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("preset", nargs="?", default="mcmt_8", help="of recordings, not pretrained; default: mcmt_8")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--device", choices=("gpu", "cpu"), default="gpu")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--one", nargs=2, metavar=("WAY", "OUT"), help=argparse.SUPPRESS)
    parser.add_argument("--detect", metavar="OUT", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.detect:
        print(json.dumps(detect(arguments.detect)))
        return
    if arguments.one:
        import tensorflow as tf
        on_gpu = arguments.device == "gpu"
        if on_gpu and not tf.config.list_physical_devices("GPU"):
            sys.exit("gpu.py: expected a GPU that TensorFlow can use. Received: none. Install tensorflow[and-cuda], or "
                     "give --device cpu to try the script without one.")
        way, out = arguments.one
        print(json.dumps(train(arguments.preset, *WAYS[way], arguments.steps, arguments.batch_size, on_gpu, out)))
        return

    on_cpu = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    print_header("way", "first step in s", "steps per second", "memory in MB", "TFLOP/s", "share of the peak",
                 "differs on a CPU by")
    for way in arguments.ways:
        with tempfile.TemporaryDirectory() as out:
            measured = in_process(__file__, arguments.preset, "--steps", arguments.steps, "--batch-size",
                                  arguments.batch_size, "--device", arguments.device, "--one", way, out,
                                  environment=None if arguments.device == "gpu" else on_cpu)
            difference = in_process(__file__, "--detect", out, environment=on_cpu)["difference"]
        print(f"| {way} | {measured['first']:.1f} | {measured['steps']:.2f} | {measured['memory']:,.0f} | "
              f"{measured['tflops']:.3g} | {measured['share']:.1%} | {difference:.1g} |", flush=True)
        if not np.isfinite(measured["loss"]) or not difference < PRECISION[WAYS[way][0]]:
            sys.exit(f"gpu.py: {way}: expected a finite loss, and the same posteriors on a CPU within "
                     f"{PRECISION[WAYS[way][0]]}. Received: {measured['loss']} and {difference:.2g}.")


if __name__ == "__main__":
    main()
