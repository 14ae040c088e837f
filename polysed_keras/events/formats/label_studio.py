"""Label Studio's exports: tasks with an audio file each, whose regions people annotated or models predicted."""
import json
import logging
import os
import re
import urllib.parse

from polysed_keras.audio import AUDIO_SUFFIXES
from polysed_keras.errors import InputError, expect
from polysed_keras.events.formats.source import check_event
from polysed_keras.events.formats.writing import check_named

_LOCAL = "/data/local-files/?d="  # a file below LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT
_log = logging.getLogger(__name__)


def read_label_studio(source, label_column=None):
    """Read an export, JSON, JSON-MIN or CSV: {recording: list of (onset, offset, label)}.

    Of several annotations of a task, the one marked as ground truth counts. Tasks without an annotation are left out;
    if no task has one, the predictions are read. `label_column` names one control tag; None for the regions of all,
    where choices that a region has beside its labels are no labels.
    """
    tasks = _tasks(source)
    found = _read_tasks(tasks, _annotation, label_column)
    if tasks and not found:
        _log.warning("%s: no task is annotated; the predictions are read.", source.path)
        found = _read_tasks(tasks, _prediction, label_column)
    return found


def _read_tasks(tasks, choose, label_column):
    """Return {recording: events} of the tasks in which `choose` finds regions."""
    found = {}
    for place, task in tasks:
        try:
            regions = choose(task, place)
            if regions is None:
                continue
            name = _recording(task, place)
            expect(name not in found, place, "one task per recording", name, "Remove one of its tasks.")
            found[name] = _events([region for region in regions if label_column in (None, region.get("from_name"))],
                                  place)
        except InputError:
            raise
        except (AttributeError, TypeError, ValueError, OverflowError) as error:  # other JSON than is exported
            raise InputError(f"{place}: expected a task as Label Studio exports it. Received: {json.dumps(task)[:200]} "
                             f"({error}). Export it again.") from error
    return found


def is_label_studio(source):
    """Say whether a Source is JSON, or a table with regions of Label Studio in it as JSON."""
    return re.match(r'\s*(\[\s*{|{\s*"|\[\s*\])', source.text) is not None or _is_table(source)


def _is_table(source):
    return '""start""' in source.text and re.search(r'"\[\{""\w+"":', source.text) is not None


def _tasks(source):
    if _is_table(source):  # as JSON-MIN, of which every field is a cell
        (_, names), *rows = source.rows
        return [(place, {name: _cell(field, place) for name, field in zip(names, fields)}) for place, fields in rows]
    try:
        tasks = json.loads(source.text or "[]")
    except json.JSONDecodeError as error:
        raise InputError(f"{source.path}, line {error.lineno}: expected an export of Label Studio (JSON). Received: "
                         f"{error.msg}. Export it again.") from error
    tasks = [tasks] if isinstance(tasks, dict) else tasks
    expect(isinstance(tasks, list) and all(isinstance(task, dict) for task in tasks), source.path,
           "an export of Label Studio, a list of tasks", str(tasks)[:80], "Export it again as JSON or JSON-MIN.")
    return [(f"{source.path}, task {number}", task) for number, task in enumerate(tasks, start=1)]


def _cell(field, place):
    if not field.startswith("[{"):
        return field
    try:
        return json.loads(field)
    except json.JSONDecodeError as error:
        raise InputError(f"{place}: expected regions of Label Studio as JSON. Received: {field[:80]} ({error}). Export "
                         "it again.") from error


def _annotation(task, place):
    """Return the list of regions that people marked in a task, None if nobody has done it yet."""
    if "data" not in task:  # JSON-MIN
        return [dict(region, from_name=name) for name, regions in task.items() if isinstance(regions, list)
                for region in regions if isinstance(region, dict) and "start" in region]
    done = [annotation for annotation in task.get("annotations") or task.get("completions") or ()
            if not annotation.get("was_cancelled")]
    chosen = [annotation for annotation in done if annotation.get("ground_truth")] or done
    expect(len(chosen) < 2, place, "one annotation, or one that is marked as ground truth", len(chosen),
           "Mark one as ground truth in Label Studio.")
    return chosen[0].get("result") or [] if chosen else None


def _prediction(task, place):
    """Return the regions of all predictions of a task."""
    return [region for prediction in task.get("predictions") or () for region in prediction.get("result") or ()]


def _events(regions, place):
    """Return the sorted events of regions: one per label, none of relations and of what is said of the whole recording.

    A region may come several times: with its labels, and then with choices, a text or a rating.
    """
    events, labelled = [], set()
    for region in sorted(regions, key=lambda region: not _is_of_labels(region)):
        value = region.get("value", region)
        labels = value.get(region.get("type", "labels")) or value.get("labels")
        if not {"start", "end"} <= set(value):
            expect(not (labels and _is_of_labels(region)), place, "regions with start and end in seconds",
                   region.get("type"), "Choose the tag of the sounds' labels by --label-column.")
            continue
        key = region.get("id", (value["start"], value["end"]))
        if key in labelled and not _is_of_labels(region):
            continue
        expect(labels and isinstance(labels, list), place, f"a label of the region from {value['start']} s", value,
               "Label it, or remove it.")
        events += [check_event(float(value["start"]), float(value["end"]), str(label), place) for label in labels]
        labelled.add(key)
    return sorted(events)


def _is_of_labels(region):
    """Say whether a region holds labels: of sounds, or of parts of pictures and videos."""
    kind = region.get("type", "labels")
    return kind.endswith("labels") or kind == "videorectangle"


def _recording(task, place):
    """Return the path of a task's audio file, without the address of the server."""
    texts = [text for text in task.get("data", task).values() if isinstance(text, str)]
    paths = [path for text in texts for path in (
        urllib.parse.unquote(text.partition("?d=")[2] or urllib.parse.urlsplit(text).path), text)]
    path = next((path for path in paths if path.lower().endswith(AUDIO_SUFFIXES)), None)
    expect(path is not None, place, "data with the address of an audio file", texts)
    return path


def write_label_studio(found):
    """Return the text of tasks to import into Label Studio, with the events of each Detected as predictions."""
    check_named(found)
    tasks = []
    for detected in found:
        regions = [{"id": f"event{number}", "from_name": "label", "to_name": "audio", "type": "labels",
                    "value": {"start": round(onset, 6), "end": round(offset, 6), "channel": 0, "labels": [label]},
                    "score": round(confidence, 6)}
                   for number, (onset, offset, label, confidence) in enumerate(detected.rows(), start=1)]
        audio = _LOCAL + urllib.parse.quote(os.fsencode(detected.audio.lstrip("/")))
        tasks.append({"data": {"audio": audio}, "predictions": [{"model_version": "polysed_keras", "result": regions}]})
    return json.dumps(tasks, indent=2, ensure_ascii=False) + "\n"
