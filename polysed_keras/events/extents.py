"""Onsets and offsets in the values of one label: at a share of a peak's height, or at steep rises and falls."""
import numpy as np

EDGE = 0.5  # the share of its height at which an event ends
WHOLE = 2 ** 24  # Values are rounded to whole numbers of its parts, whose sums are exact wherever they begin.


def find_peaks(values, lowest=0.0, edge=EDGE):
    """Find the peaks of a list of numbers, each with the frames around it at or above a share of its height.

    Of a rise that never falls below the share of its highest value, the highest value is the peak, and the first of
    equal ones. A peak is found once a value below the share follows.

    Args:
        values: numbers, 0 or more.
        lowest: lowest number since the last peak, before the first of `values`.
        edge: the share, above 0 and at most 1.

    Returns:
        List of (first frame, frame after the last one); and how many values are done with, because no later peak can
        reach back to them, and the lowest number since the last peak among these: for a call that goes on from there.
    """
    peaks, done, highest, place = [], 0, 0.0, 0
    for frame, value in enumerate(values):
        if highest and value < edge * highest:
            onset = place
            while onset > done and values[onset - 1] >= edge * highest:
                onset -= 1
            peaks.append((onset, frame))
            highest, lowest, done = 0.0, value, frame + 1
        elif highest:
            if value > highest:
                highest, place = value, frame
        elif value <= lowest:
            lowest, done = value, frame + 1
        elif edge * value > lowest:
            highest, place = value, frame
    return peaks, done, lowest


def find_boxes(values, changes, edge=EDGE):
    """Find events by the change of a list of numbers: sound event bounding boxes, after Ebbers et al. (2024).

    A box begins where a rise is steepest and ends where the fall after it is: a rise is a stretch of changes above 0, a
    fall one below 0. A fall is over, too, at the first value below a share of the highest one since the onset.
    From left to right, a box is joined to the one before unless the values between them sink below the same share of
    the higher one's height, the highest value of a box. The paper (arXiv 2406.04212) has every local maximum of the
    change begin a box, and joins by a relative or an absolute rule; the share is the relative one.

    Args:
        values: numbers, 0 or more.
        changes: number per value, the change from before it to it and what follows (step_changes).
        edge: the share, above 0 and at most 1.

    Returns:
        List of (first frame, frame after the last one) of the boxes to which none can be joined any more; and how many
        values are done with, because no other box can reach back to them: for a call that goes on from there.
    """
    boxes, done = _steepest(values, changes, edge)
    joined = []
    for onset, offset in boxes:
        height = max(values[onset:offset])
        if joined and min(values[joined[-1][1]:onset]) >= edge * max(height, joined[-1][2]):
            onset, _, before = joined.pop()
            height = max(height, before)
        joined.append((onset, offset, height))
    if joined and min(values[joined[-1][1]:done]) >= edge * joined[-1][2]:
        done = joined.pop()[0]
    return [(onset, offset) for onset, offset, _ in joined], done


def _steepest(values, changes, edge):
    """Return the boxes of find_boxes before they are joined, and the onset of the one that is open, or the end.

    Of equal changes the last one is the onset and the first one the offset, so that boxes are short.
    """
    boxes, onset, offset, best, highest = [], None, None, 0, 0.0
    for frame, (value, change) in enumerate(zip(values, changes)):
        if offset is not None and change > 0:
            boxes.append((onset, offset))
            onset, offset, best = None, None, 0
        if change > 0 and change >= best:
            onset, best, highest = frame, change, 0.0
        elif change < 0 and onset is not None and (offset is None or change < best):
            offset, best = frame, change
        if offset is not None and value < edge * highest:
            boxes.append((onset, offset))
            onset, offset, best = None, None, 0
        highest = max(highest, value)
    return boxes, len(values) if onset is None else onset


def step_changes(values, half):
    """Return how much values (frames,), 0 to 1, change: the sum of `half` frames from each on, less that before it.

    Returns:
        int64 array (frames + 1,), in parts of WHOLE, the last one of the end. Outside there are zeros.
    """
    sums = np.cumsum(np.pad(np.rint(values * float(WHOLE)).astype(np.int64), (half + 1, half)))
    return sums[2 * half:] - 2 * sums[half:-half] + sums[:-2 * half]
