"""Statistics of a corpus: the share of frames by polyphony, and events and active seconds by label."""
import numpy as np

from polysed_keras.errors import InputError
from polysed_keras.events import event_list_to_event_roll, joint_activity, polyphony

TIME_RESOLUTION = 0.02  # seconds per frame, as the networks have


def count_recording(events, labels, duration):
    """Count frames, events and active seconds of one recording.

    Args:
        events: DataFrame of onset, offset (seconds), event_label.
        labels: labels of the corpus.
        duration: length of the recording in seconds.

    Returns:
        dict of counts that can be added up: recordings, seconds, frames (labels + 1,) by polyphony, events (labels,)
        and active_seconds (labels,).
    """
    roll = event_list_to_event_roll(events, labels, int(np.ceil(round(duration / TIME_RESOLUTION, 6))), TIME_RESOLUTION)
    seconds = (events["offset"] - events["onset"]).groupby(events["event_label"]).sum()
    return {"recordings": 1, "seconds": duration,
            "frames": np.bincount(polyphony(roll), minlength=len(labels) + 1),
            "events": events["event_label"].value_counts().reindex(labels, fill_value=0).to_numpy(),
            "active_seconds": seconds.reindex(labels, fill_value=0.0).to_numpy()}


def joint_frames(dataset, partition):
    """Count the frames (20 ms) of a partition in which two labels sound together, without opening audio.

    Args:
        dataset: Dataset.
        partition: "train", "validate" or "test".

    Returns:
        int64 array (labels, labels), as `events.joint_activity`.

    Raises:
        InputError: no event in the partition, or a broken annotation.
    """
    joint = np.zeros((len(dataset.labels),) * 2, np.int64)
    for recording in dataset.partitions.get(partition, ()):
        events = recording.read_events(dataset.labels)
        num_frames = int(np.ceil(events["offset"].max() / TIME_RESOLUTION)) if len(events) else 0
        joint += joint_activity(event_list_to_event_roll(events, dataset.labels, num_frames, TIME_RESOLUTION))
    if not joint.any():
        raise InputError(f"{dataset.folder}: expected annotated events in partition {partition!r}, to find labels that "
                         "sound together. Received: none. Choose another strategy, or give groups.")
    return joint


def summarize(counts, labels):
    """Pool the counts of several recordings.

    Args:
        counts: list of count_recording's dicts.
        labels: labels of the corpus.

    Returns:
        dict of recordings, minutes, polyphony (dict of the number of active labels, as text, to its share of frames)
        and labels (dict of label to its events and active_seconds).
    """
    total = {key: sum(count[key] for count in counts) for key in counts[0]}
    frames = np.trim_zeros(total["frames"], "b")
    return {"recordings": total["recordings"], "minutes": round(total["seconds"] / 60, 3),
            "polyphony": {str(degree): round(float(share), 4) for degree, share in enumerate(frames / frames.sum())},
            "labels": {label: {"events": int(events), "active_seconds": round(float(seconds), 2)}
                       for label, events, seconds in zip(labels, total["events"], total["active_seconds"])}}


def format_statistics(statistics):
    """Format statistics for a terminal: a table of polyphony and one of labels.

    Args:
        statistics: dict of partition to `summarize`'s dict.

    Returns:
        str of several lines.
    """
    names = list(statistics)
    highest = max(len(part["polyphony"]) for part in statistics.values())
    lines = ["% of frames by polyphony" + "".join(f"{degree:>7}" for degree in range(highest))]
    for name in names:
        shares = statistics[name]["polyphony"]
        lines.append(f"{name:<24}" + "".join(f"{100 * shares.get(str(degree), 0):7.1f}" for degree in range(highest)))
    lines += ["", "events (active seconds) " + "".join(f"{name:>18}" for name in names)]
    for label in statistics[names[0]]["labels"]:
        cells = (statistics[name]["labels"][label] for name in names)
        lines.append(f"{label:<24}" + "".join(f"{cell['events']:>8} ({cell['active_seconds']:7.0f})" for cell in cells))
    totals = (f"{name} {part['recordings']} recordings, {part['minutes']:.1f} min" for name, part in statistics.items())
    return "\n".join(lines + ["", "; ".join(totals)])
