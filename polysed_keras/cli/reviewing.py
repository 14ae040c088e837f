"""Commands to look at what a detector finds and to correct it."""
from polysed_keras.cli.parsers import MODEL, REVIEW_ORDERS, RUNTIME, command, one_of, option


@command("review",
    option("audio", nargs="+", metavar="AUDIO", help="files and folders"),
    one_of(MODEL,
           option("--events", metavar="DIR", help="ask about these events, a file or a folder in any format that "
                  "`polysed import` reads, in place of those that a model finds")),
    option("--out", required=True, metavar="PAGE", help="the page, such as page.html"),
    option("--number", type=int, default=50, metavar="N", help="how many events at most; default: %(default)s"),
    option("--order", choices=REVIEW_ORDERS, default="informative",
           help="which come first. informative: labels take turns, each with the event whose confidence is nearest to "
           "its threshold; confident: the surest; time: as in the recordings; default: %(default)s"),
    option("--labels", nargs="+", help="only events of these labels"),
    option("--alarms-per-hour", type=float, metavar="N", help="take the thresholds for so many false events per hour; "
           "default: the number that the model was calibrated for"),
    RUNTIME)
def review(arguments):
    """Write an HTML page on which one says which events are there."""
    import pathlib

    from polysed_keras.audio import find_audio
    from polysed_keras.display import choose_questions, find_questions, read_questions, write_review
    from polysed_keras.errors import InputError, expect
    from polysed_keras.files import check_writable
    from polysed_keras.specs import LogMelSpec
    paths, out = find_audio(arguments.audio), pathlib.Path(arguments.out)
    expect(arguments.number >= 1, "--number", "at least 1", arguments.number)
    if out.is_dir():
        raise InputError(f"--out: expected a file, such as {out / 'page.html'}. Received: a folder.")
    check_writable(out.parent)
    options = {"labels": []}
    if arguments.events:
        expect(arguments.alarms_per_hour is None, "--alarms-per-hour", "none with --events", arguments.alarms_per_hour)
        questions = read_questions(arguments.events, paths, labels=arguments.labels)
    else:
        from polysed_keras.serving import load_detector
        detector = load_detector(arguments.model, runtime=arguments.runtime)
        options = {"labels": detector.labels, "model": str(detector.description["name"]),
                   "features": LogMelSpec(**detector.description["experiment"]["features"])}
        questions = _progress(find_questions(paths, detector, labels=arguments.labels,
                                             alarms_per_hour=arguments.alarms_per_hour))
    questions = choose_questions(questions, arguments.number, arguments.order)
    write_review(questions, out, **options)
    print(f"{len(questions)} events of {len({question.path for question in questions})} recordings -> {out} "
          f"({out.stat().st_size / 1e6:.1f} MB); open it in a browser, and save the corrections there")


def _progress(questions):
    from tqdm import tqdm
    return tqdm(questions, desc="events", unit="event", disable=None, leave=False)
