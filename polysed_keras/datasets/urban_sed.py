"""URBAN-SED: synthetic soundscapes of 10 s with urban sounds over a hum.

Facts: 10,000 soundscapes (27.8 h; 44.1 kHz, 16 bit, mono) with one to nine events each of 10 event labels, which are
those of UrbanSound8K, whose clips they were mixed of; 6,000 are for training (of its folds 1-6), 2,000 for validation
(7-8) and 2,000 for test (9-10). Layout of version 2.0.0, whose audio is that of 1.0::

    audio/{train,validate,test}/soundscape_{partition}_{kind}{number}.wav       or the same names as flac, ogg, ...
    annotations/{train,validate,test}/soundscape_{partition}_{kind}{number}.txt     onset, offset (seconds), event_label
    annotations/{train,validate,test}/soundscape_{partition}_{kind}{number}.jams    the same and more; not read

Licence: CC BY 4.0, https://zenodo.org/record/1324404.
Citation: J. Salamon, D. MacConnell, M. Cartwright, P. Li, J. P. Bello, "Scaper: a library for soundscape synthesis and
augmentation", WASPAA 2017.
"""
from polysed_keras.datasets.loading import PARTITIONS, Dataset, Recording, check_folder, index_audio, take_present
from polysed_keras.errors import InputError

LABELS = ("air_conditioner", "car_horn", "children_playing", "dog_bark", "drilling", "engine_idling", "gun_shot",
          "jackhammer", "siren", "street_music")
SAMPLE_RATE, SECONDS = 44100, 10.0


def load_dataset(folder):
    """Read the layout above into a Dataset, without opening audio or annotations.

    Raises InputError if the folder, annotations/ or audio/ is missing, or no annotation has audio. Audio without an
    annotation is not of the corpus and is passed over.
    """
    check_folder(folder, "URBAN-SED's folder, with audio/ and annotations/")
    for part in ("annotations", "audio"):
        check_folder(folder / part, f"the folder {part} of URBAN-SED, with {', '.join(PARTITIONS)}")
    listed = {}
    for partition in PARTITIONS:
        audio = index_audio(folder / "audio" / partition)
        listed[partition] = [Recording(path.stem, audio.get(path.stem), path)
                             for path in sorted((folder / "annotations" / partition).glob("*.txt"))]
    if not any(listed.values()):
        raise InputError(f"{folder / 'annotations'}: expected annotations, such as train/soundscape_train_bimodal0.txt."
                         " Received: none. Check --data.")
    return Dataset(folder, LABELS, *take_present(folder / "audio", listed, "as the annotations are, with .wav"))
