"""How fast log-mel features are made here, by librosa and by torchaudio, with the same transform.

    python benchmarks/features.py [--rounds 7]

Five minutes of noise at 44.1 kHz: windows of 1764 samples, a transform of 2048, 64 mels. The features are equal to
0.01 dB, or the script fails. A process of its own has one core or two.
"""
import argparse
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
from timing import by_turns, in_words, ratios, table, use_cores, verdict

SECONDS, AT_LEAST, TOLERANCE = 300, 1.9, 0.01


def functions(waveform, spec, folder):
    """Return functions from the waveform to log-mel, (frames, n_mels) in dB."""
    import librosa
    import tensorflow as tf
    import torch
    import torchaudio

    from polysed_keras.audio import compute_log_mel
    from polysed_keras.export.runtimes import FILES, PREFERRED, open_runtime
    front_end, frames = open_runtime(folder / FILES[PREFERRED][0]), spec.num_frames(len(waveform))
    of_segment = 128 * spec.hop_length
    samples = of_segment + spec.win_length - spec.hop_length
    segments = -(-len(waveform) // of_segment)
    padded = np.pad(waveform, (0, segments * of_segment + samples - of_segment - len(waveform)))[None]
    # Theirs centre the window in the transform: the same samples are heard if it begins earlier.
    before, after = (spec.n_fft - spec.win_length) // 2, (frames - 1) * spec.hop_length + spec.n_fft - len(waveform)
    shifted = np.pad(waveform, (before, after - before))
    tensor = torch.tensor(shifted)
    sizes = {"n_fft": spec.n_fft, "win_length": spec.win_length, "hop_length": spec.hop_length, "n_mels": spec.n_mels,
             "center": False}
    mel = torchaudio.transforms.MelSpectrogram(spec.sample_rate, f_min=spec.fmin, f_max=spec.fmax, norm="slaney",
                                               mel_scale="slaney", **sizes)
    decibels = torchaudio.transforms.AmplitudeToDB("power")

    def by_librosa():
        power = librosa.feature.melspectrogram(y=shifted, sr=spec.sample_rate, fmin=spec.fmin, fmax=spec.fmax, **sizes)
        return librosa.power_to_db(power, amin=1e-10, top_db=None).T

    def by_torchaudio():
        with torch.inference_mode():
            return decibels(mel(tensor)).T.numpy()

    def by_litert():
        return np.concatenate([front_end(waveform=padded[:, begin:begin + samples])["log_mel"][0] for begin in
                               range(0, segments * of_segment, of_segment)])[:frames]

    assert tf.executing_eagerly()
    return {"TensorFlow": lambda: compute_log_mel(waveform, spec), "LiteRT": by_litert, "librosa": by_librosa,
            "torchaudio": by_torchaudio}


def measure(cores, folder, rounds):
    """Print rows of the table; for a process of its own."""
    use_cores(cores)
    import torch
    torch.set_num_threads(cores)

    from polysed_keras.specs import LogMelSpec
    spec = LogMelSpec()
    waveform = (0.1 * np.random.default_rng(0).standard_normal(SECONDS * spec.sample_rate)).astype(np.float32)
    makers = functions(waveform, spec, folder)
    outputs = {name: function() for name, function in makers.items()}
    for output in outputs.values():
        np.testing.assert_allclose(output, outputs["librosa"], atol=TOLERANCE)
    seconds = by_turns(makers, rounds, calls=2)
    speeds = {name: in_words([SECONDS / value for value in times]) for name, times in seconds.items()}
    rows = []
    for ours in ("TensorFlow", "LiteRT"):
        for peer in ("librosa", "torchaudio"):
            gain = ratios(seconds[peer], seconds[ours])
            least = verdict(gain, AT_LEAST) if (ours, peer) == ("TensorFlow", "librosa") else ""
            rows.append((cores, ours, speeds[ours], peer, speeds[peer], in_words(gain), least))
    print("\n".join("| " + " | ".join(map(str, row)) + " |" for row in rows), flush=True)


def export(folder):
    """Write the front end for LiteRT; for a process of its own."""
    import polysed_keras as ps
    from polysed_keras.export.conversion import convert_runtimes
    from polysed_keras.models import with_labels
    experiment = with_labels(ps.get_preset("multilabel_small"), ["rain"])
    convert_runtimes(ps.build_model(experiment, use_cudnn=False), experiment, folder, ["litert_float32"])


def main():
    """Write the front end, and measure with one core and with two, in processes of their own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--part", nargs=2, help=argparse.SUPPRESS)  # a number of cores, and the folder of the front end
    arguments = parser.parse_args()
    if arguments.part:
        cores, folder = int(arguments.part[0]), pathlib.Path(arguments.part[1])
        measure(cores, folder, arguments.rounds) if cores else export(folder)
        return
    print(table(("cores", "here", "x real time", "peer", "x real time", "ratio", "at least"), []), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for cores in (0, 1, min(2, os.cpu_count())):
            subprocess.run([sys.executable, __file__, "--rounds", str(arguments.rounds), "--part", str(cores), folder],
                           check=True)


if __name__ == "__main__":
    main()
