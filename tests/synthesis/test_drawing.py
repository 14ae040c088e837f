"""What is drawn: tracks and pieces as in TUT-SED Synthetic 2016, and everything that may be added to them."""
import dataclasses
import json

import numpy as np
import pytest

from polysed_keras.errors import InputError
from polysed_keras.files import as_type
from polysed_keras.synthesis.acoustics import Room
from polysed_keras.synthesis.drawing import Mixture, SoundscapeSpec, draw_mixture
from polysed_keras.synthesis.ingredients import gather_sounds
from polysed_keras.synthesis.soundbank import partition_soundbank, read_soundbank

from fixtures import RATE, write_bank

SPEC = SoundscapeSpec(sample_rate=RATE, duration_seconds=20.0, piece_seconds=(0.5, 3.0), silence_seconds=(0.2, 4.0))


@pytest.fixture(scope="module")
def partitions(tmp_path_factory):
    return partition_soundbank(read_soundbank(write_bank(tmp_path_factory.mktemp("bank"))))


@pytest.fixture(scope="module")
def sounds(partitions):
    return gather_sounds(partitions, ["train"], SPEC, 0)[0]["train"]


def draw(sounds, seed=0, **changes):
    return draw_mixture(np.random.default_rng(seed), sounds, dataclasses.replace(SPEC, **changes))


def labels_of(mixture):
    return list(dict.fromkeys(piece.event_label for piece in mixture.pieces))


# The recipe of the paper

def test_draws_keep_their_ranges(sounds):
    bank = sounds.soundbank
    by_path = {instance.path.relative_to(bank.folder).as_posix(): instance for instance in bank.instances}
    spec, numbers, gains = SPEC, set(), []
    for seed in range(40):
        pieces = draw(sounds, seed, labels_per_mixture=(2, 4)).pieces
        tracks = {label: [p for p in pieces if p.event_label == label] for label in {p.event_label for p in pieces}}
        numbers.add(len(tracks))
        for track in tracks.values():
            for piece in track:
                instance = by_path[piece.recording]
                assert piece.event_label == instance.event_label
                end = instance.onset + instance.duration
                assert instance.onset <= piece.start and piece.start + piece.duration <= end + 1e-9  # never looped
                assert piece.duration <= 3.0 and piece.onset + piece.duration <= spec.duration_seconds + 1e-9
                gains.append(piece.gain_db + instance.level_dbfs - spec.level_dbfs)
            # A piece is min(recording, U(0.5, 3)) seconds but for the last, which the mixture's end may cut.
            assert all(p.duration >= min(0.5, by_path[p.recording].duration) for p in track[:-1])
            ends = [p.onset + p.duration for p in track]
            assert all(0.2 <= p.onset - end <= 4.0 for p, end in zip(track[1:], ends))
            assert track[0].onset <= 4.0 and ends[-1] + 4.0 >= spec.duration_seconds
    assert numbers == {2, 3, 4}
    assert -10 <= min(gains) < -9 and -1 < max(gains) <= 0


def test_as_many_labels_as_there_are(sounds):
    few = tuple(i for i in sounds.soundbank.instances if i.event_label in ("hum", "ring"))
    bank = dataclasses.replace(sounds.soundbank, instances=few)
    assert set(labels_of(draw(dataclasses.replace(sounds, soundbank=bank)))) == {"hum", "ring"}


def test_all_labels_and_recordings_are_drawn(sounds):
    drawn = {piece.recording for seed in range(30) for piece in draw(sounds, seed).pieces}
    assert drawn == {instance.recording for instance in sounds.soundbank.instances}


def test_nothing_is_added_by_default(sounds):
    mixture = draw(sounds)
    assert mixture.noise_seed is None and mixture.beds == ()
    assert {(piece.event_to_background_db, piece.gain_change_db, piece.impulse_response)
            for piece in mixture.pieces} == {(None, 0.0, None)}


# Levels, rooms, distractors, backgrounds

def test_ratios_and_gain_changes_keep_their_ranges(sounds):
    pieces = [piece for seed in range(20) for piece in draw(sounds, seed, background="pink", gain_change_db=(-6, 3),
                                                            event_to_background_db=(5, 25)).pieces]
    for values, low, high in (([piece.event_to_background_db for piece in pieces], 5, 25),
                              ([piece.gain_change_db for piece in pieces], -6, 3)):
        assert low <= min(values) < low + 1 and high - 1 < max(values) <= high
    assert {piece.gain_db for piece in pieces} == {0.0}


def test_speeds_keep_their_range_and_stay_in_the_recording(sounds):
    by_path = {instance.recording: instance for instance in sounds.soundbank.instances}
    mixtures = [draw(sounds, seed, speed=(0.8, 1.25)) for seed in range(20)]
    pieces = [piece for mixture in mixtures for piece in mixture.pieces]
    assert {piece.speed for piece in pieces} == {0.8, 0.8944, 1.0, 1.118, 1.25}  # each 1.118 times the one before
    for piece in pieces:
        end = by_path[piece.recording].onset + by_path[piece.recording].duration
        assert piece.start + piece.speed * piece.duration <= end + 1e-9 and piece.duration <= 3.0


def test_a_mixture_is_in_one_room_with_a_place_a_track(sounds):
    rooms = tuple(tuple(Room((5, 4, 3), 0.3, (1, 1, place), (number, 2, 1)) for place in range(4))
                  for number in range(3))
    used = set()
    for seed in range(20):
        mixture = draw(dataclasses.replace(sounds, rooms=rooms), seed)
        microphones = {piece.impulse_response.microphone for piece in mixture.pieces}
        assert len(microphones) == 1
        used |= microphones
        for label in labels_of(mixture):
            assert len({piece.impulse_response for piece in mixture.pieces if piece.event_label == label}) == 1
    assert len(used) == 3


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_a_share_of_the_mixtures_is_in_a_room(share, sounds):
    with_rooms = dataclasses.replace(sounds, rooms=((Room((5, 4, 3), 0.3, (1, 1, 1), (2, 2, 1)),),))
    mixtures = [draw(with_rooms, seed, room_share=share) for seed in range(200)]
    in_room = [{piece.impulse_response is not None for piece in mixture.pieces} for mixture in mixtures]
    assert all(len(each) == 1 for each in in_room)  # all of a mixture or nothing of it
    assert np.mean([each == {True} for each in in_room]) == pytest.approx(share, abs=0.1)


@pytest.mark.parametrize("fewest, most", [(1, 6), (2, 4)])
def test_few_labels_are_more_frequent_than_many(fewest, most, sounds):
    """With an even logarithm of a number from `fewest` to `most` + 1, n has the share log((n + 1) / n)."""
    changes = {"labels_per_mixture": (fewest, most), "silence_seconds": (1.0, 1.0)}
    counts = {few: np.bincount([len(labels_of(draw(sounds, seed, few_labels=few, **changes))) for seed in range(1500)],
                               minlength=most + 1) / 1500 for few in (True, False)}
    numbers = np.arange(fewest, most + 1)
    expected = np.log((numbers + 1) / numbers) / np.log((most + 1) / fewest)
    np.testing.assert_allclose(counts[True][numbers], expected, atol=0.05)
    np.testing.assert_allclose(counts[False][numbers], 1 / len(numbers), atol=0.05)
    assert counts[True].sum() == pytest.approx(counts[True][numbers].sum())


def test_distractors_are_tracks_without_a_label(sounds):
    distractors = tuple(dataclasses.replace(instance, event_label="") for instance in sounds.soundbank.instances[:4])
    numbers = set()
    for seed in range(30):
        mixture = draw(dataclasses.replace(sounds, distractors=distractors), seed, distractor_tracks=(0, 2),
                       silence_seconds=(0.2, 0.2), labels_per_mixture=(0, 0))
        assert all(piece.event_label == "" for piece in mixture.pieces)
        ends = sorted(round(piece.onset + piece.duration, 3) for piece in mixture.pieces)
        numbers.add(sum(abs(piece.onset) <= 0.2 for piece in mixture.pieces))
        assert ends == [] or ends[-1] <= 20.0
    assert numbers == {0, 1, 2}


def test_beds_follow_each_other_to_the_end(sounds):
    mixture = draw(dataclasses.replace(sounds, beds=sounds.soundbank.instances), background="somewhere")
    for bed, following in zip(mixture.beds, mixture.beds[1:]):
        assert bed.onset < following.onset <= bed.onset + max(bed.duration, 1.0)
    assert mixture.beds[0].onset == 0.0 and mixture.beds[-1].onset + mixture.beds[-1].duration >= 20.0 - 1.0


# Polyphony and rules

@pytest.mark.parametrize("low, high", [(0.5, 1.0), (2.0, 2.5), (3.0, 3.5)])
def test_mean_polyphony_is_what_was_asked(low, high, sounds):
    spans = {instance.recording: instance.spans for instance in sounds.soundbank.instances}
    means = []
    for seed in range(20):
        mixture = draw(sounds, seed, mean_polyphony=(low, high), duration_seconds=120.0, speed=(0.8, 1.25))
        active = np.zeros(120000)  # milliseconds
        for piece in mixture.pieces:
            for begin, end in spans[piece.recording]:
                begin, end = (np.clip((edge - piece.start) / piece.speed, 0, piece.duration) for edge in (begin, end))
                active[round(1000 * (piece.onset + begin)):round(1000 * (piece.onset + end))] += 1
        means.append(active.mean())
    assert low - 0.1 <= min(means) and max(means) <= high + 0.1
    assert np.ptp(means) > 0.1  # a target of its own for each mixture


def test_labels_join_and_exclude_each_other(sounds):
    together, apart = (("beep", "hum", 1.0), ("hiss", "wail", 0.5)), (("ring", "knock"),)
    mixtures = [labels_of(draw(sounds, seed, together=together, apart=apart, labels_per_mixture=(2, 3)))
                for seed in range(60)]
    assert all("hum" in labels for labels in mixtures if "beep" in labels)
    assert all(not {"ring", "knock"} <= set(labels) for labels in mixtures)
    assert {"ring", "knock"} <= {label for labels in mixtures for label in labels}
    joined = np.mean(["wail" in labels for labels in mixtures if "hiss" in labels])
    assert 0.5 < joined < 0.9  # half of the mixtures that would not have it


def test_instructions_survive_json(sounds):
    room = (Room((5.0, 4.0, 3.0), 0.3, (1.0, 1.0, 1.0), (2.0, 2.0, 1.5)),)
    richer = dataclasses.replace(sounds, rooms=(room,), beds=sounds.soundbank.instances)
    mixture = draw(richer, background="somewhere", event_to_background_db=(0, 10))
    assert as_type(json.loads(json.dumps(dataclasses.asdict(mixture))), Mixture, "") == mixture


@pytest.mark.parametrize("change, message", [
    ({"duration_seconds": 0}, "duration_seconds"), ({"duration_seconds": float("nan")}, "duration_seconds"),
    ({"piece_seconds": (0.0, 3.0)}, "piece_seconds"), ({"piece_seconds": (5.0, 3.0)}, "piece_seconds"),
    ({"silence_seconds": (-1.0, 3.0)}, "silence_seconds"), ({"labels_per_mixture": (-1, 3)}, "labels_per_mixture"),
    ({"sample_rate": -1}, "sample_rate"), ({"bit_depth": 8}, "bit_depth"), ({"gain_db": (1.0,)}, "gain_db"),
    ({"gain_db": ()}, "gain_db"), ({"mean_polyphony": (2.0, 1.0)}, "mean_polyphony"),
    ({"together": (("a", "b"),)}, "together"), ({"together": (("a", "b", 2.0),)}, "together"),
    ({"event_to_background_db": (0, 10)}, "a background too"),
    ({"rt60_seconds": (0.2, 0.4), "impulse_responses": "rooms"}, "impulse_responses")])
def test_bad_specs(change, message):
    with pytest.raises(InputError, match=message):
        dataclasses.replace(SPEC, **change)
