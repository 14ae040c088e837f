"""The lists of a stand-in's clips, in the layouts of TUT Urban Acoustic Scenes 2018 and of AudioSet."""
import urllib.parse

from polysed_keras.datasets import CLASS_LABELS, LISTS, PARTITIONS

# AudioSet's classes for labels of ESC-10 and of the procedural soundbank.
MIDS = {
    "chainsaw": "/m/01j4z9", "clock_tick": "/m/07qjznt", "crackling_fire": "/m/07pzfmf", "crying_baby": "/t/dd00002",
    "dog": "/m/0bt9lr", "helicopter": "/m/09ct_", "rain": "/m/06mb1", "rooster": "/m/09b5t", "sea_waves": "/m/034srq",
    "sneezing": "/m/01hsr_",
    "alarms_and_sirens": "/m/03kmc9", "baby_crying": "/t/dd00002", "bird_singing": "/m/020bb7", "bus": "/m/01bjv",
    "cat_meowing": "/m/07qrkrw", "crowd_applause": "/m/028ght", "crowd_cheering": "/m/053hz1",
    "dog_barking": "/m/05tny_", "footsteps": "/m/07pbtc8", "glass_smash": "/m/07rn7sz", "gun_shot": "/m/032s66",
    "horsewalk": "/m/07rv9rh", "mixer": "/m/02pjr4", "motorcycle": "/m/04_sv", "thunder": "/m/0ngt1",
}


def write_scene_lists(folder, clips):
    """Write the lists of TUT Urban Acoustic Scenes 2018 for a dict of partition to ClipInstructions."""
    files = {partition: [(f"audio/{clip.name}.wav", clip.labels[0], clip.source) for clip in clips[partition]]
             for partition in PARTITIONS}
    listed = {"train": files["train"] + files["validate"], "validate": files["validate"], "evaluate": files["test"]}
    meta = [(file, scene, source.partition("-")[2], "a") for part in files.values() for file, scene, source in part]
    _write_rows(folder / "meta.csv", [("filename", "scene_label", "identifier", "source_label"), *meta])
    (folder / "evaluation_setup").mkdir()
    for name, rows in listed.items():
        _write_rows(folder / "evaluation_setup" / f"fold1_{name}.txt", [row[:2] for row in rows])
    _write_rows(folder / "evaluation_setup" / "fold1_test.txt", [row[:1] for row in files["test"]])


def _write_rows(path, rows):
    path.write_text("".join("\t".join(row) + "\n" for row in rows), encoding="utf-8")


def class_mids(labels):
    """Mids of MIDS for labels: a dict. Other labels, and a second one of a class, have /standin/ and the label."""
    mids = {}
    for label in labels:
        mid = MIDS.get(label)
        mids[label] = mid if mid and mid not in mids.values() else f"/standin/{urllib.parse.quote(label, safe='')}"
    return mids


def write_event_lists(folder, clips, labels, clip_seconds):
    """Write AudioSet's lists for a dict of partition to ClipInstructions of these labels."""
    mids = class_mids(labels)
    names = (label.replace('"', '""') for label in labels)
    rows = [f'{index},{mids[label]},"{name}"\n' for index, (label, name) in enumerate(zip(labels, names))]
    (folder / CLASS_LABELS).write_text("index,mid,display_name\n" + "".join(rows), encoding="utf-8")
    for partition in PARTITIONS:
        part = clips[partition]
        heard = [label for clip in part for label in clip.labels]
        head = ("# Segments csv created by polysed standin\n"
                f"# num_ytids={len(part)}, num_segs={len(part)}, num_unique_labels={len(set(heard))}, "
                f"num_positive_labels={len(heard)}\n# YTID, start_seconds, end_seconds, positive_labels\n")
        lines = [f'{clip.name}, 0.000, {clip_seconds:.3f}, "{",".join(mids[label] for label in clip.labels)}"\n'
                 for clip in part]
        (folder / LISTS[partition][0]).write_text(head + "".join(lines), encoding="utf-8")
