"""How many batches of 32 windows (128 frames, 64 mels) a second: here, per window, by PyTorch's DataLoader, by copying.

    python benchmarks/input_pipeline.py [--rounds 5]

Windows of ten recordings of three minutes, shuffled, with the targets of 16 labels. from_generator yields a window at a
time, as tutorials do. The DataLoader fetches its windows one by one and stacks them, or gathers a whole batch at once
(`__getitems__`), whichever of its ways is faster being the peer; with worker processes it would copy more. A copy is
that of a batch that lies in memory already. tf.data's service has two workers in the same process, which hand out
whole batches of `here` over the machine's own network.
"""
import argparse
import itertools

import numpy as np
from timing import by_turns, in_words, ratios, table, verdict

RECORDINGS, FRAMES, BATCHES = 10, 9000, 200
SERVERS = []  # of tf.data's service: they end when they are collected
AT_LEAST = {"from_generator per window": 30.0, "a memory copy": 0.25}


def through_service(dataset, workers):
    """Return a tf.data.Dataset whose batches are made by workers of tf.data's service, which run until Python ends."""
    import tensorflow as tf

    from polysed_keras.training.recordings import from_service
    service, dispatcher = tf.data.experimental.service, tf.data.experimental.service.DispatchServer()
    address = dispatcher.target.partition("://")[2]
    SERVERS.extend([dispatcher, *(service.WorkerServer(service.WorkerConfig(address)) for _ in range(workers))])
    return from_service(dataset, address)


def pipelines(recordings, experiment):
    """Return functions of a number of batches, which go through so many."""
    import tensorflow as tf
    import torch

    from polysed_keras.training.recordings import segment_dataset
    size, segment = experiment.training.batch_size, experiment.training.segment_frames
    features = np.concatenate([recording.log_mel for recording in recordings])
    targets = np.concatenate([recording.event_roll for recording in recordings])
    starts = np.concatenate([begin + np.arange(FRAMES - segment + 1) for begin in range(0, len(features), FRAMES)])

    def windows():
        for start in np.random.default_rng(0).permutation(starts):
            yield features[start:start + segment], targets[start:start + segment]

    class Windows(torch.utils.data.Dataset):
        tensors = torch.tensor(features), torch.tensor(targets)

        def __len__(self):
            return len(starts)

        def __getitem__(self, index):
            return tuple(tensor[starts[index]:starts[index] + segment] for tensor in self.tensors)

    class Gathered(Windows):
        def __getitems__(self, indices):
            frames = torch.tensor(starts[indices])[:, None] + torch.arange(segment)
            return tuple(tensor[frames] for tensor in self.tensors)

    shapes = (segment, features.shape[1]), (segment, targets.shape[1])
    generator = tf.data.Dataset.from_generator(windows, output_signature=tuple(
        tf.TensorSpec(shape, dtype) for shape, dtype in zip(shapes, (tf.float32, tf.uint8)))).batch(size).prefetch(4)
    batch = np.ascontiguousarray(features[:size * segment]), np.ascontiguousarray(targets[:size * segment])
    places = tuple(np.empty_like(array) for array in batch)

    def through(dataset, number):
        taken = sum(1 for _ in itertools.islice(iter(dataset), number))
        assert taken == number

    def copy(number):
        for _ in range(number):
            for place, array in zip(places, batch):
                np.copyto(place, array)

    # One iterator for all turns: the service takes seconds to begin another.
    served = iter(through_service(segment_dataset(recordings, experiment), workers=2))
    loader = torch.utils.data.DataLoader
    sets = {"here": segment_dataset(recordings, experiment), "here, through tf.data's service": served,
            "from_generator per window": generator,
            "DataLoader, window by window": loader(Windows(), size, shuffle=True),
            "DataLoader, gathered": loader(Gathered(), size, shuffle=True, collate_fn=lambda fetched: fetched)}
    return {name: lambda number, dataset=dataset: through(dataset, number) for name, dataset in sets.items()} | {
        "a memory copy": copy}


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    import polysed_keras as ps
    from polysed_keras.models import with_labels
    from polysed_keras.training.recordings import RecordingFeatures
    rng, labels = np.random.default_rng(0), [f"label {number:02d}" for number in range(16)]
    experiment = with_labels(ps.get_preset("multilabel"), labels)
    recordings = [RecordingFeatures(str(number), rng.standard_normal((FRAMES, 64)).astype(np.float32),
                                    rng.integers(0, 2, (FRAMES, 16)).astype(np.uint8)) for number in range(RECORDINGS)]
    numbers = {"from_generator per window": BATCHES // 10, "a memory copy": 10 * BATCHES}
    functions = {name: lambda name=name, function=function: function(numbers.get(name, BATCHES))
                 for name, function in pipelines(recordings, experiment).items()}
    seconds = {name: [value / numbers.get(name, BATCHES) for value in times]
               for name, times in by_turns(functions, rounds, calls=2).items()}
    rows = []
    for name, times in seconds.items():
        gain = ratios(times, seconds["here"])
        rows.append((name, in_words([1 / value for value in times]), "" if name == "here" else in_words(gain),
                     verdict(gain, AT_LEAST[name]) if name in AT_LEAST else ""))
    print(table(("batches of", "a second", "ratio of here to it", "at least"), rows))


if __name__ == "__main__":
    main()
