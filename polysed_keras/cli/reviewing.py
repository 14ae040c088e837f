"""Commands to look at what a detector finds, to correct it, and to find more of a sound."""
import pathlib

from polysed_keras.cli.detection import check_page
from polysed_keras.cli.parsers import (
    CORRECT,
    MODEL,
    REVIEW_ORDERS,
    RUNTIME,
    command,
    option,
)
from polysed_keras.errors import expect

PAGE = option("--out", required=True, metavar="PAGE", help="the page, such as page.html")
NUMBER = option("--number", type=int, default=50, metavar="N", help="how many events at most")


@command("review",
    option("audio", nargs="+", metavar="AUDIO", help="files and folders"),
    MODEL,
    option("--events", metavar="DIR", help="ask about these events, a file or a folder in any format that `polysed "
           "import` reads, in place of those that a model finds; with --model as well: about the events that one of "
           "the two has and the other has not"),
    PAGE,
    NUMBER,
    option("--order", choices=REVIEW_ORDERS, default="informative",
           help="which come first. informative: labels take turns, each with the event whose confidence is nearest to "
           "its threshold; confident: the surest; loudest: the highest level; time: as in the recordings"),
    option("--labels", nargs="+", help="only events of these labels"),
    option("--alarms-per-hour", type=float, metavar="N", help="take the thresholds for so many false events per hour; "
           "default: the number that the model was calibrated for"),
    RUNTIME,
    group=CORRECT,
    examples=("review recordings/ --out review.html",
              "review recordings/ --model runs/mine --labels dog cat --number 100 --out review.html"))
def review(arguments):
    """Write an HTML page on which one says which events are there."""
    from polysed_keras.audio import find_audio
    from polysed_keras.display import choose_questions, find_disagreements, find_questions, read_questions
    from polysed_keras.specs import LogMelSpec
    paths, options = find_audio(arguments.audio), {"labels": []}
    _check_questions(arguments)
    alone = arguments.events and not arguments.model
    expect(not alone or arguments.alarms_per_hour is None, "--alarms-per-hour", "none with --events alone",
           arguments.alarms_per_hour)
    questions = events = read_questions(arguments.events, paths, labels=arguments.labels) if arguments.events else []
    if not alone:
        from polysed_keras.serving import load_detector
        detector = load_detector(arguments.model, runtime=arguments.runtime)
        options = {"labels": detector.labels, "model": str(detector.description["name"]),
                   "features": LogMelSpec(**detector.description["experiment"]["features"])}
        questions = list(_progress(find_questions(paths, detector, labels=arguments.labels,
                                                  alarms_per_hour=arguments.alarms_per_hour)))
        if arguments.events:
            questions = find_disagreements([question for question in questions if question.is_reported], events)
    _write_page(choose_questions(questions, arguments.number, arguments.order), arguments, **options)


def _check_questions(arguments):
    expect(arguments.number >= 1, "--number", "at least 1", arguments.number)
    check_page(pathlib.Path(arguments.out))


def _write_page(questions, arguments, **options):
    from polysed_keras.display import write_review
    write_review(questions, arguments.out, **options)
    print(f"{len(questions)} events of {len({question.path for question in questions})} recordings -> {arguments.out} "
          f"({pathlib.Path(arguments.out).stat().st_size / 1e6:.1f} MB); open it in a browser, answer, and save")


def _progress(questions):
    from polysed_keras.progress import progress_bar
    return progress_bar(questions, "events", unit="event", leave=False)


@command("find",
    option("example", metavar="EXAMPLE", help="a short recording of the sound"),
    option("audio", nargs="+", metavar="AUDIO", help="files and folders to look in"),
    option("--label", metavar="NAME", help="of the sound; default: the example's file name"),
    PAGE,
    NUMBER,
    group=CORRECT,
    examples=("find bark.wav recordings/ --label dog --out dogs.html",
              "find bark.wav recordings/ --number 20 --out dogs.html"))
def find(arguments):
    """Find the sounds that are nearest to an example, and write a page on which one says which are right."""
    from polysed_keras.audio import find_audio
    from polysed_keras.detection import embed_recordings, find_nearest
    from polysed_keras.display import Question
    from polysed_keras.files import check_label
    from polysed_keras.specs import YAMNET_FEATURES
    _check_questions(arguments)
    example, paths = find_audio([arguments.example]), find_audio(arguments.audio)
    expect(len(example) == 1, "EXAMPLE", "one recording", len(example))
    label = arguments.label or example[0].stem
    check_label(label, "--label")
    nearest = find_nearest(embed_recordings(example, progress=False), embed_recordings(paths), arguments.number)
    questions = [Question(row.recording, label, row.onset, row.offset, row.similarity) for row in nearest.itertuples()]
    _write_page(questions, arguments, labels=[label], model=f"sounds like {example[0].name}", features=YAMNET_FEATURES)


@command("embed",
    option("audio", nargs="+", metavar="AUDIO", help="files and folders"),
    option("--out", required=True, metavar="FILE", help="file.npz, or file.parquet, for which pyarrow must be there"),
    group=CORRECT,
    examples=("embed recordings/ --out embeddings.npz",
              "embed recordings/ --out embeddings.parquet"))
def embed(arguments):
    """Write the embeddings of recordings by YAMNet, one for 0.96 s every 0.48 s."""
    from polysed_keras.audio import find_audio
    from polysed_keras.detection import EMBEDDING_SUFFIXES, embed_recordings, write_embeddings
    from polysed_keras.files import check_writable
    paths, out = find_audio(arguments.audio), pathlib.Path(arguments.out)
    expect(out.suffix in EMBEDDING_SUFFIXES, "--out", f"a file with the suffix {' or '.join(EMBEDDING_SUFFIXES)}",
           out.name)
    check_writable(out.parent)
    embeddings = embed_recordings(paths)
    write_embeddings(embeddings, out)
    print(f"{len(embeddings.onsets)} embeddings of {len(paths)} recordings -> {out}")


@command("cut",
    option("corrections", nargs="+", metavar="CORRECTIONS", help="files that pages of `review` and `find` have saved"),
    option("--audio", required=True, metavar="DIR", help="folder of the recordings"),
    option("--out", required=True, metavar="SOUNDBANK", help="folder with a folder per label, which may exist"),
    group=CORRECT,
    examples=("cut dogs.corrections.json --audio recordings/ --out sounds/",
              "cut ann.json bob.json --audio recordings/ --out sounds/"),
    interrupted="sounds that were cut stay: the same command cuts all")
def cut(arguments):
    """Cut the events that are there into a soundbank, from which detectors learn."""
    from polysed_keras.synthesis import cut_events
    numbers = cut_events(*_read_answers(arguments), arguments.out)
    for label, number in numbers.items():
        print(f"{label}: {number} recordings -> {pathlib.Path(arguments.out) / label}")


@command("learn",
    option("model", metavar="MODEL", help="an export (saved_models/NAME) or a run, whose events were reviewed"),
    option("--corrections", nargs="+", required=True, metavar="FILE",
           help="files that pages of `review` and `find` have saved, also of several people"),
    option("--audio", required=True, metavar="DIR", help="folder of the recordings"),
    option("--out", required=True, metavar="RUN", help="folder of the new run, which is exported like others"),
    group=CORRECT,
    examples=("learn saved_models/mine --corrections review.corrections.json --audio recordings/ --out runs/corrected",
              "learn runs/mine --corrections ann.json bob.json --audio recordings/ --out runs/corrected"))
def learn(arguments):
    """Fit the last layers of a model to corrections, and choose its thresholds anew."""
    from polysed_keras.evaluation import format_learnt, learn_corrections
    from polysed_keras.files import check_new_directory
    check_new_directory(arguments.out)
    answers, recordings = _read_answers(arguments)
    from polysed_keras.export import load_trained
    from polysed_keras.training import run_plugins
    experiment, network, calibration, origin = load_trained(arguments.model)
    learnt = learn_corrections(experiment, network, answers, recordings, arguments.out, calibration=calibration,
                               extra=origin, plugins=run_plugins(arguments.model))
    if learnt.new_labels:
        print(f"new labels: {' '.join(learnt.new_labels)}")
    print(format_learnt(learnt), f"{arguments.out}: polysed export {arguments.out} --out saved_models/NAME", sep="\n")


def _read_answers(arguments):
    """Return the merged answers of files of corrections, and their recordings; tell where people disagree."""
    from polysed_keras.events import find_recordings, merge_corrections, read_corrections
    answers, disagreements = merge_corrections([read_corrections(path) for path in arguments.corrections])
    if len(disagreements):
        print("people disagree; what most say counts:", disagreements.to_string(index=False), sep="\n")
    return answers, find_recordings(answers, arguments.audio)
