"""Label Studio's JSON: tasks with an audio file each, whose regions are annotated by people or predicted by models."""
import json
import logging
import os
import urllib.parse

from polysed_keras.audio import AUDIO_SUFFIXES
from polysed_keras.errors import InputError, expect
from polysed_keras.events.formats.source import check_event
from polysed_keras.events.formats.writing import check_named

_LOCAL = "/data/local-files/?d="  # a file below LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT
_log = logging.getLogger(__name__)


def read_label_studio(source, label_column=None):
    """Read an export, JSON or JSON-MIN: {recording: list of (onset, offset, label)}.

    Of several annotations of a task, the one marked as ground truth counts. Tasks without an annotation are left out;
    if no task has one, the predictions are read. `label_column` names one control tag; None for the regions of all.
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
            found[name] = sorted(event for region in regions if label_column in (None, region.get("from_name"))
                                 for event in _events(region, place))
        except InputError:
            raise
        except (AttributeError, TypeError, ValueError, OverflowError) as error:  # other JSON than is exported
            raise InputError(f"{place}: expected a task as Label Studio exports it. Received: {json.dumps(task)[:200]} "
                             f"({error}). Export it again.") from error
    return found


def _tasks(source):
    try:
        tasks = json.loads(source.text or "[]")
    except json.JSONDecodeError as error:
        raise InputError(f"{source.path}, line {error.lineno}: expected an export of Label Studio (JSON). Received: "
                         f"{error.msg}. Export it again.") from error
    tasks = [tasks] if isinstance(tasks, dict) else tasks
    expect(isinstance(tasks, list) and all(isinstance(task, dict) for task in tasks), source.path,
           "an export of Label Studio, a list of tasks", str(tasks)[:80], "Export it again as JSON or JSON-MIN.")
    return [(f"{source.path}, task {number}", task) for number, task in enumerate(tasks, start=1)]


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


def _events(region, place):
    """Return the events of a region: one per label, none of relations and of choices for the whole recording."""
    value = region.get("value", region)
    labels = value.get(region.get("type", "labels")) or value.get("labels") or ()
    if "start" not in value or "end" not in value or not isinstance(labels, list):
        return []
    return [check_event(float(value["start"]), float(value["end"]), str(label), place) for label in labels]


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
