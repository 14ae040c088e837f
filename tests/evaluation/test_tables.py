"""Tables from counts: by hand, against a naive bootstrap loop, and with classes and seeds that are missing."""
import dataclasses
import importlib
import inspect
import json
import pkgutil

import numpy as np
import pandas as pd
import pytest

from polysed_keras import evaluation
from polysed_keras.errors import InputError
from polysed_keras.evaluation.reports import report_tables, write_report
from polysed_keras.evaluation.tables import RunResult, class_wise_table, compare_scores, format_tables, polyphony_table
from polysed_keras.events.metrics import f_score, frame_counts

CAT_DOG = ("cat", "dog")
HAND_REFERENCE = [[[1, 0], [1, 1], [0, 0], [0, 1]], [[1, 0], [1, 0]]]  # two mixtures of four and two frames
HAND_ESTIMATED = [[[1, 0], [1, 0], [0, 1], [0, 1]], [[0, 0], [0, 1]]]


def result_of(references, estimates, name="multi_label", seed=0, labels=CAT_DOG):
    counts = np.stack([frame_counts(*pair) for pair in zip(references, estimates)])
    return RunResult(name, seed, labels, tuple(f"mix-{index}" for index in range(len(counts))), counts)


def random_reference(rng, num_mixtures=8, num_labels=4):
    return [rng.random((rng.integers(30, 120), num_labels)) < 0.35 for _ in range(num_mixtures)]


def detector(rng, references, hit_rate):
    return [np.where(rng.random(reference.shape) < hit_rate + rng.normal(0, 0.1), reference, ~reference)
            for reference in references]


def column(table, name, run=None):
    return table[table["run"] == (run or table["run"].iloc[0])].set_index("row")[name]


@pytest.fixture
def compared():
    """Two seeds of one preset and one run of another on eight mixtures: (references, estimates by run, results)."""
    rng = np.random.default_rng(0)
    references, labels = random_reference(rng), ("bird", "cat", "dog", "rain")
    runs = {("multi_label", 0): 0.8, ("multi_label", 1): 0.83, ("2_tasks", 0): 0.9}
    estimates = {run: detector(rng, references, hit_rate) for run, hit_rate in runs.items()}
    return references, estimates, [result_of(references, estimates[run], *run, labels) for run in runs]


MODULES = [importlib.import_module(f"{evaluation.__name__}.{module.name}")
           for module in pkgutil.iter_modules(evaluation.__path__)]


def defined(kind):
    """The functions or classes that the modules of the room define."""
    return [value for module in MODULES for _, value in inspect.getmembers(module, kind)
            if value.__module__ == module.__name__]


def test_settings_have_the_same_meaning_and_default_in_all_functions():
    """Intervals are of a thousand resamples, of a hundred where one takes seconds, and the same ones each time."""
    names = set()
    for function in defined(inspect.isfunction):
        parameters = inspect.signature(function).parameters
        kinds = {parameter.kind for parameter in parameters.values()}
        assert inspect.Parameter.POSITIONAL_ONLY not in kinds, function
        defaults = {name: each.default for name, each in parameters.items() if each.default is not each.empty}
        expected = {"resamples": 100 if function is evaluation.score_file_tables else 1000, "seed": 0, "progress": True,
                    "negatives": None}
        for name in set(defaults) & set(expected):
            assert defaults[name] == expected[name], function
            assert parameters[name].kind is inspect.Parameter.KEYWORD_ONLY or function is evaluation.format_learnt
            names.add((function.__name__, name))
    assert {name for _, name in names} == {"resamples", "seed", "progress", "negatives"} and len(names) > 20


def test_results_cannot_be_changed_and_those_with_arrays_equal_themselves_only():
    kinds = [kind for kind in defined(inspect.isclass) if dataclasses.is_dataclass(kind)]
    assert {RunResult, evaluation.EventLists, evaluation.Matching} < set(kinds)
    for kind in kinds:
        one, other = kind.__new__(kind), kind.__new__(kind)
        with pytest.raises(dataclasses.FrozenInstanceError):
            one.name = "another"
        if kind.__name__ not in ("Matching", "SeenCombinations"):
            assert one != other
    assert RunResult("a", 0).silent_share == 0


def test_tables_by_hand():
    """cat: tp 2 fn 2; dog: tp 1 fp 2 fn 1; polyphony 1: tp 2 fp 1 fn 2; 2: tp 1 fn 1; a false positive in silence."""
    results = [result_of(HAND_REFERENCE, HAND_ESTIMATED)]
    class_wise = class_wise_table(results)
    assert class_wise.columns.tolist() == ["table", "row", "run", "seeds", "value", "low", "high", "spread", "seed_min",
                                           "seed_max", "difference", "difference_low", "difference_high"]
    assert column(class_wise, "value").to_dict() == pytest.approx(
        {"cat": 4 / 6, "dog": 2 / 5, "average": (4 / 6 + 2 / 5) / 2, "overall": 6 / 11})
    assert column(polyphony_table(results), "value").to_dict() == pytest.approx({1: 4 / 7, 2: 2 / 3})
    assert column(class_wise_table(results, measure="precision"), "value")["overall"] == pytest.approx(3 / 5)
    assert column(polyphony_table(results, measure="recall"), "value").to_dict() == pytest.approx({1: 2 / 4, 2: 1 / 2})


def test_interval_of_two_mixtures_by_hand():
    """Overall is 0.75 for the first mixture twice, 6/11 for both, 0 for the second twice: in 1/4, 1/2, 1/4 of draws."""
    overall = class_wise_table([result_of(HAND_REFERENCE, HAND_ESTIMATED)]).set_index("row").loc["overall"]
    assert (overall["low"], overall["high"]) == (0, 0.75)


def test_a_single_mixture_has_no_interval():
    table = class_wise_table([result_of(HAND_REFERENCE[:1], HAND_ESTIMATED[:1])])
    assert column(table, "value")["overall"] == 0.75
    assert table[["low", "high", "spread", "seed_min", "seed_max", "difference"]].isna().all().all()


def naive_scores(references, estimates, picks):
    """Class-wise, average, overall, polyphony 1, 2: the frames of the picked mixtures joined, scored in plain loops."""
    reference, estimated = (np.concatenate([rolls[pick] for pick in picks]).astype(int)
                            for rolls in (references, estimates))

    def f1(frames, columns):
        hits = wrong = 0
        for reference_frame, estimated_frame in zip(reference[frames][:, columns], estimated[frames][:, columns]):
            hits += np.sum(reference_frame * estimated_frame)
            wrong += np.sum(reference_frame != estimated_frame)
        return 2 * hits / (2 * hits + wrong)

    everything, labels = np.full(len(reference), True), list(range(reference.shape[1]))
    class_wise = [f1(everything, [label]) for label in labels]
    degrees = [f1(reference.sum(axis=1) == degree, labels) for degree in (1, 2)]
    return [*class_wise, np.mean(class_wise), f1(everything, labels), *degrees]


def test_bootstrap_equals_a_naive_loop_over_the_same_resamples(compared):
    references, estimates, results = compared
    weights = np.random.default_rng(3).multinomial(8, np.full(8, 1 / 8), size=15)
    scores = {run: np.array([naive_scores(references, rolls, np.repeat(np.arange(8), row)) for row in weights])
              for run, rolls in estimates.items()}
    first = (scores["multi_label", 0] + scores["multi_label", 1]) / 2  # seeds are averaged, then the percentiles taken
    other = scores["2_tasks", 0]
    class_wise = class_wise_table(results, resamples=15, seed=3)
    polyphony = polyphony_table(results, resamples=15, seed=3)
    both = pd.concat([class_wise, polyphony[polyphony["row"] <= 2]])
    for run, resampled, names in [("multi_label", first, ("low", "high")), ("2_tasks", other, ("low", "high")),
                                  ("2_tasks", other - first, ("difference_low", "difference_high"))]:
        for name, percentile in zip(names, (2.5, 97.5)):
            expected = np.percentile(resampled, percentile, axis=0)
            np.testing.assert_allclose(column(both, name, run), expected, atol=1e-12)


def test_resamples_depend_on_the_seed_only(compared):
    results = compared[2]
    pd.testing.assert_frame_equal(class_wise_table(results), class_wise_table(results))
    alone = class_wise_table(results[2:])
    np.testing.assert_array_equal(alone["low"], column(class_wise_table(results), "low", "2_tasks"))
    assert (class_wise_table(results, seed=1)["low"] != class_wise_table(results)["low"]).any()


def test_seeds_are_averaged_and_their_spread_is_given_apart(compared):
    references, estimates, results = compared
    first, second = (np.array(naive_scores(references, estimates["multi_label", seed], range(8)))[:6]
                     for seed in (0, 1))
    table = class_wise_table(results)
    assert column(table, "seeds").unique() == [2] and column(table, "seeds", "2_tasks").unique() == [1]
    np.testing.assert_allclose(column(table, "value"), (first + second) / 2)
    np.testing.assert_allclose(column(table, "spread"), np.abs(first - second) / np.sqrt(2))
    np.testing.assert_allclose(column(table, "seed_min"), np.minimum(first, second))
    np.testing.assert_allclose(column(table, "seed_max"), np.maximum(first, second))
    assert table.loc[table["run"] == "2_tasks", ["spread", "seed_min", "seed_max"]].isna().all().all()


def test_difference_to_the_first_run_is_paired(compared):
    table = class_wise_table(compared[2])
    assert column(table, "difference").isna().all()
    difference = column(table, "difference", "2_tasks")
    np.testing.assert_allclose(difference, column(table, "value", "2_tasks") - column(table, "value"))
    overall = table[(table["run"] == "2_tasks") & (table["row"] == "overall")].iloc[0]
    assert overall["difference_low"] < overall["difference"] < overall["difference_high"]

    same = dataclasses.replace(compared[2][2], name="copy")
    copy = class_wise_table([compared[2][2], same])
    assert (copy.loc[copy["run"] == "copy", ["difference", "difference_low", "difference_high"]] == 0).all().all()


def test_differences_of_a_third_run_are_to_the_first_too():
    scores = {name: [(np.array([value]), np.full((4, 1), value))] for name, value in zip("abc", (0.25, 0.5, 1.0))}
    table = compare_scores(scores, "f", ["dog"], unit="clips")
    np.testing.assert_array_equal(table[["difference", "difference_low", "difference_high"]],
                                  [[np.nan] * 3, [0.25] * 3, [0.75] * 3])
    assert table.index.tolist() == [0, 1, 2]


def test_runs_keep_their_order(compared):
    first, second, other = compared[2]
    assert class_wise_table([other, first, second])["run"].unique().tolist() == ["2_tasks", "multi_label"]
    interleaved = class_wise_table([first, other, second])
    pd.testing.assert_frame_equal(interleaved, class_wise_table(compared[2]))


def test_absent_classes():
    """cow is in neither (left out of the average), dog only estimated (0); run b is silent about dog (left out)."""
    labels = ("cat", "cow", "dog")
    reference = [[[1, 0, 0], [1, 0, 0], [0, 0, 0]]] * 3
    wrong, silent = [[[1, 0, 1], [0, 0, 0], [0, 0, 0]]] * 3, [[[1, 0, 0], [0, 0, 0], [0, 0, 0]]] * 3
    results = [result_of(reference, wrong, "a", 0, labels), result_of(reference, silent, "b", 0, labels)]
    table = class_wise_table(results)
    np.testing.assert_allclose(column(table, "value", "a"), [2 / 3, np.nan, 0, 1 / 3, 1 / 2])
    np.testing.assert_allclose(column(table, "value", "b"), [2 / 3, np.nan, np.nan, 2 / 3, 2 / 3])
    np.testing.assert_allclose(column(table, "low", "b"), [2 / 3, np.nan, np.nan, 2 / 3, 2 / 3])
    assert np.isnan(column(table, "difference", "b")["dog"])
    seeds = class_wise_table([results[0], dataclasses.replace(results[1], name="a", seed=1)])
    np.testing.assert_allclose(column(seeds, "value")[:4], [2 / 3, np.nan, 0, (1 / 3 + 2 / 3) / 2])
    assert [line.split()[:3] for line in format_tables(table).splitlines()[2:5]] == [
        ["cat", "66.7", "[66.7,"], ["cow", "-", "-"], ["dog", "0.0", "[0.0,"]]


def test_rows_of_polyphony_reach_the_highest_degree_there_is():
    reference = [np.array([[1, 1, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0]])] * 2
    table = polyphony_table([result_of(reference, reference, labels=tuple("abcd"))])
    np.testing.assert_array_equal(table["row"], [1, 2, 3])
    np.testing.assert_array_equal(table["value"], [1, np.nan, 1])


def test_silence_only():
    silence = [np.zeros((5, 2), int)] * 2
    results = [result_of(silence, silence)]
    assert len(polyphony_table(results)) == 0 and class_wise_table(results)["value"].isna().all()
    assert "overall" in format_tables(class_wise_table(results), polyphony_table(results))


def test_scores_are_in_per_cent_unless_it_is_said():
    scores = {"a": [(np.array([0.5]), np.full((3, 1), 0.5))]}
    for options, scale in (({}, 100), ({"per_cent": False}, 1)):
        assert compare_scores(scores, "f", ["dog"], unit="clips", **options).attrs == {"unit": "clips", "scale": scale}


def test_formatted_table_by_hand():
    lines = {"table": "class_wise_f_score", "row": ["cat", "overall"], "seeds": 1, "low": [0.551, np.nan],
             "high": [0.612, np.nan], "spread": np.nan, "seed_min": np.nan, "seed_max": np.nan}
    first = pd.DataFrame({**lines, "run": "a", "value": [0.583, np.nan], "difference": np.nan, "difference_low": np.nan,
                          "difference_high": np.nan})
    second = pd.DataFrame({**lines, "run": "b", "seeds": 3, "value": [0.6, 0.5], "difference": [0.017, -0.1],
                           "difference_low": [-0.01, np.nan], "difference_high": [0.04, np.nan],
                           "spread": [0.012, 0.02], "seed_min": [0.58, 0.4], "seed_max": [1, 0.6]})
    assert format_tables(pd.concat([first, second])).splitlines() == [
        "class_wise_f_score in % [95 % interval over mixtures]; difference: to a, paired",
        "                         a                  b         difference",
        "cat      58.3 [55.1, 61.2]  60.0 [55.1, 61.2]  +1.7 [-1.0, +4.0]",
        "overall                  -               50.0              -10.0",
        "",
        "spread over seeds in %: standard deviation (lowest to highest)",
        "                  b, 3 seeds",
        "cat      1.2 (58.0 to 100.0)",
        "overall   2.0 (40.0 to 60.0)",
    ]


def test_three_runs_fit_into_120_columns():
    rng = np.random.default_rng(2)
    labels = ("alarms_and_sirens", "crowd_applause", "crowd_cheering", "cat_meowing")
    references = random_reference(rng)
    hit_rates = {"multilabel_small": 0.9, "mcmt_16_small": 0.8, "mcmt_5_small": 0.7}
    results = [result_of(references, detector(rng, references, rate), name, seed, labels)
               for name, rate in hit_rates.items() for seed in (0, 1)]
    lines = format_tables(class_wise_table(results), polyphony_table(results)).splitlines()
    assert max(map(len, lines)) <= 120 and lines[1].split()[0] == "multilabel_small"  # in the order of the runs
    assert not any("\\" in line for line in lines)  # pandas' sign of a folded table


def test_a_table_of_more_than_120_columns_is_folded():
    """Beside the row's name there are two runs of 20 characters and a difference of 17, and pandas ends in a space."""
    scores = {name * 20: [(np.array([0.5]), np.full((4, 1), 0.5))] for name in "ab"}
    for width, folded in ((120, False), (121, True)):
        name = "x" * (width - 1 - 2 * 21 - 19 - 1)
        text = format_tables(compare_scores(scores, "f", [name], unit="clips"))
        assert ("\\" in text) == folded
        assert folded or text.splitlines()[1].split() == [*scores, "difference"]


@pytest.mark.parametrize("change, complaint", [
    ({"labels": ("cat", "cow")}, "runs a and b: expected the same labels, received dog only in a and cow only in b"),
    ({"labels": ("dog", "cat")}, "the same labels, received another order"),
    ({"mixtures": ("mix-0", "mix-7")}, "the same mixtures, received mix-1 only in a and mix-7 only in b"),
    ({"mixtures": ("mix-0",), "counts": np.zeros((1, 3, 2, 3), int)}, "received mix-1 only in a and nothing only in b"),
    ({"mixtures": ("mix-0", "mix-1", "mix-2"), "counts": np.zeros((3, 3, 2, 3), int)},
     "received nothing only in a and mix-2 only in b"),
    ({"counts": np.zeros((2, 3, 2, 3), int)}, "runs a and b: the reference of mixture mix-0 differs"),
    ({"counts": np.stack([frame_counts(HAND_REFERENCE[0], HAND_REFERENCE[0]), np.zeros((3, 2, 3), int)])},
     "the reference of mixture mix-1 differs"),
    ({"name": "a"}, "a with seed 0 is there twice"),
])
@pytest.mark.parametrize("make", [class_wise_table, polyphony_table])
def test_runs_that_cannot_be_compared_are_refused(make, change, complaint):
    first = result_of(HAND_REFERENCE, HAND_ESTIMATED, "a")
    with pytest.raises(InputError) as error:
        make([first, dataclasses.replace(first, **{"name": "b", **change})])
    assert complaint in str(error.value)


def test_other_mistakes_are_refused(tmp_path):
    result = result_of(HAND_REFERENCE, HAND_ESTIMATED)
    for make in (class_wise_table, report_tables):
        with pytest.raises(InputError, match="at least one"):
            make([])
    with pytest.raises(InputError, match="measure: .*'accuracy'"):
        polyphony_table([result], measure="accuracy")
    with pytest.raises(InputError, match=r"counts of multi_label: expected shape \(2, 3, 2, 3\), received \(2, 2, 3\)"):
        dataclasses.replace(result, counts=result.counts[0, :2])


def test_report_files(tmp_path, compared):
    references, estimates, results = compared
    tables = write_report(results, tmp_path / "report")
    names = sorted(path.name for path in (tmp_path / "report").iterdir())
    assert names == ["class_wise.csv", "polyphony.csv", "report.json"]
    for table, name in zip(tables, ("class_wise.csv", "polyphony.csv")):
        written = pd.read_csv(tmp_path / "report" / name)
        pd.testing.assert_frame_equal(written, table.reset_index(drop=True), atol=1e-6, check_dtype=False)
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert report["labels"] == ["bird", "cat", "dog", "rain"] and len(report["mixtures"]) == 8
    runs = [(run["name"], run["seed"]) for run in report["runs"]]
    assert runs == [("multi_label", 0), ("multi_label", 1), ("2_tasks", 0)]
    scores = naive_scores(references, estimates["2_tasks", 0], range(8))
    run = report["runs"][2]
    np.testing.assert_allclose([run["class_wise"][label]["f_score"] for label in report["labels"]], scores[:4])
    np.testing.assert_allclose([run["average"]["f_score"], run["overall"]["f_score"]], scores[4:6])
    np.testing.assert_allclose([run["polyphony"]["1"]["f_score"], run["polyphony"]["2"]["f_score"]], scores[6:])
    overall = run["overall"]
    assert overall["tp"] + overall["fn"] == sum(reference.sum() for reference in references)
    assert overall["precision"] == overall["tp"] / (overall["tp"] + overall["fp"])
    assert overall["recall"] == overall["tp"] / (overall["tp"] + overall["fn"])
    assert sum(row["fp"] for row in run["polyphony"].values()) == overall["fp"]  # silent frames are row "0"


def test_report_is_valid_json_and_whole_or_absent(tmp_path):
    results = [result_of(HAND_REFERENCE, [np.zeros_like(roll) for roll in HAND_REFERENCE])]
    write_report(results, tmp_path / "report")
    text = (tmp_path / "report" / "report.json").read_text()
    assert "NaN" not in text and json.loads(text)["runs"][0]["overall"]["precision"] is None
    write_report(results, tmp_path / "report")  # a report is made anew
    broken = [dataclasses.replace(results[0], mixtures=("a", object()))]  # cannot become JSON
    with pytest.raises(TypeError):
        write_report(broken, tmp_path / "other")
    assert not list(tmp_path.glob("other/*"))


def test_overall_pools_what_class_wise_tables_pool(compared):
    result = compared[2][0]
    assert column(class_wise_table([result]), "value")["overall"] == f_score(result.counts.sum(axis=(0, 1)))
