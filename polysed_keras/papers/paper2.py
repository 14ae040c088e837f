"""Paper 2's sweeps: recipes at the paper's or at demo size, and what it says of each point, to put beside ours."""
import dataclasses
import pathlib

from polysed_keras.export import export_run
from polysed_keras.files import temporary_folder
from polysed_keras.papers.demo import is_demo
from polysed_keras.papers.paper2_points import BY_TAGGER, EVENT, SCENE, SWEEPS, build_study
from polysed_keras.papers.variants import correlation, run_sweep, sweep_table
from polysed_keras.specs import PRESETS, set_fields
from polysed_keras.synthesis import StandinSpec, make_standin, write_soundbank
from polysed_keras.training import run_experiment

# Paper 2 at demo size: 3.6 s clips, so that ten are 0.01 h; the labels are those that are made and told apart quickly.
DEMO_CLIP_SOUNDS = ("bird_singing", "cat_meowing", "crowd_applause", "dog_barking", "footsteps", "gun_shot",
                    "motorcycle", "rain")
DEMO_CLIPS = StandinSpec(scenes=3, locations=(4, 2, 4), scene_hours=(0.036, 0.018, 0.06),
                         event_hours=(0.08, 0.02, 0.04), k=6, scene_labels=5, clip_seconds=3.6,
                         piece_seconds=(0.5, 2.0))
DEMO_CLIP_NETWORK = ("model.filters=[16]", "training.segment_frames=90", "training.epochs=5", "training.batch_size=4",
                     "training.learning_rate=0.003")  # one of ResNet-18's four stages
DEMO_CLIP_EVENTS = ("training.event_batch_size=8", "training.event_hours=0.02")
DEMO_SWEEPS = {"alpha": (0.0, 0.5, 0.95, 1.0), "hours": (0.01, 0.02, 0.04), "k": (2, 3, 6)}

# What paper 2's sections 3.3 and 4.1 to 4.5 say of points (first, last, text). Its text has no numbers of its figures.
ABOVE = "above the scene baseline"
PAPER2 = {
    "alpha": ((0, 0, "accuracy of the scene baseline; lwlrap 10, chance"),
              (0.5, 0.5, "accuracy not above the baseline; lwlrap about 76"),
              (0.8, 0.99, "accuracy above the scene baseline, up to +5"),
              (1, 1, "accuracy at chance; lwlrap of the event baseline")),
    "events": tuple((choice, choice, f"{ABOVE}, as the other two") for choice in SWEEPS["events"].values),
    "hours": ((11, 360, f"{ABOVE}, more with more hours"),),
    "k": ((2, 35, ABOVE), (36, 115, "hardly more than with 35")),
    "transfer": (("pre-training", "pre-training", ABOVE), ("joint", "joint", f"{ABOVE}, marginally the best")),
}
PAPER2_RHO = {"hours": 0.89, "k": 0.24}
PAPER2_HOURS = 170.0  # of event clips, in Figures 2 and 3a, and here in Figure 5, of which the paper does not say them


@dataclasses.dataclass(frozen=True)
class SweepRecipe:
    """One of paper 2's sweeps as the paper has it, or at demo size."""

    name: str  # a key of SWEEPS
    data: pathlib.Path  # folder of both corpora
    out: pathlib.Path  # folder of runs, table and figure
    demo: bool  # whether the program makes the data
    small: bool  # whether the `_small` presets are taken
    points: tuple  # the values of papers.run_sweep
    seeds: tuple
    k: int  # number of events of a point
    settings: tuple  # changes of the presets, as `--set` takes them
    tagger: str | None  # SavedModel that chooses events, or a preset to train on all events; None if none is needed


def paper2_recipe(name, data, out, *, points=None, seeds=None, settings=None, tagger=None, small=False, k=None):
    """Return the SweepRecipe of a sweep of paper 2; nothing is made or read yet.

    Args:
        name: alpha (Figure 2), events (3a), hours (3b), k (4), transfer (5).
        data: folder with tut_urban_acoustic_scenes_2018/ and audioset/; or "demo", which makes a stand-in for both and
            narrows the networks.
        out: folder of all that is made; sweeps share their runs in it.
        points: tuple of values; None for the paper's.
        seeds: tuple of int; None for the paper's four (demo: two).
        settings: more changes of the presets, as `--set` takes them.
        tagger: SavedModel that chooses events; None trains one.
        small: bool, whether the `_small` presets are taken, with all hours of event clips; the demo always takes them.
        k: int, events of a point; None for the paper's 35 (demo: 3).
    """
    demo, out, sweep = is_demo(data), pathlib.Path(out), SWEEPS[name]
    small = small or demo
    own = (*DEMO_CLIP_NETWORK, *DEMO_CLIP_EVENTS) if demo else ()
    if not small and name not in ("hours", "k"):
        own = (f"training.event_hours={PAPER2_HOURS}",)
    points = tuple(points or (demo and DEMO_SWEEPS.get(name)) or sweep.values)
    if not BY_TAGGER & set(points):
        tagger = None
    elif tagger is None:
        tagger = f"{EVENT}_small" if demo else "event_tagger_densenet" + "_small" * small
    return SweepRecipe(name, out / "clips" if demo else pathlib.Path(data), out / "sweeps", demo, small, points,
                       tuple(seeds or range(2 if demo else 4)), k or (3 if demo else 35),
                       (*own, *(settings or ())), tagger)


def make_demo_clips(folder):
    """Make a stand-in for paper 2's two corpora from sounds that the program makes, unless it is there."""
    if pathlib.Path(folder).exists():
        return
    with temporary_folder() as temporary:
        bank = write_soundbank(temporary / "soundbank", 10, labels=DEMO_CLIP_SOUNDS)
        make_standin(bank, folder, DEMO_CLIPS, origin={"soundbank": "procedural"})


def run_paper2(recipe):
    """Run a sweep, with data and tagger before it if the recipe says so; what is there already is not done again.

    Args:
        recipe: SweepRecipe.

    Returns:
        DataFrame of papers.run_sweep.

    Raises:
        InputError: as build_study and run_sweep.
    """
    if recipe.demo:
        make_demo_clips(recipe.data)
    tagger = recipe.tagger
    if tagger in PRESETS and PRESETS[tagger].clip_level:
        print(f"training a tagger to choose events by: {tagger}")
        experiment = set_fields(PRESETS[tagger], DEMO_CLIP_NETWORK if recipe.demo else ())
        run, tagger = recipe.out / "runs" / "tagger", recipe.out / "saved_models" / "tagger"
        run_experiment(experiment, recipe.data, run, resume=True, progress=False)
        if not tagger.exists():
            export_run(run, tagger)
    study = build_study(recipe.data, recipe.points, small=recipe.small, k=recipe.k, tagger=tagger,
                        assignments=recipe.settings, progress=False)
    return run_sweep(recipe.name, study, recipe.points, recipe.data, recipe.out, seeds=recipe.seeds)


def beside_paper2(name, table):
    """Put the lines of sweep_table beside what the paper says of their points.

    Args:
        name: str, a key of SWEEPS.
        table: DataFrame of run_paper2.

    Returns:
        DataFrame of text, in per cent: a row per point, and one of Pearson's rho if the paper has it.
    """
    def said(point):
        texts = [text for first, last, text in PAPER2.get(name, ())
                 if isinstance(first, str) == isinstance(point, str) and first <= point <= last]
        return texts[0] if texts else "-"

    shown = sweep_table(table)
    shown["in the paper"] = ["accuracy 68" if point == SCENE else said(point) for point in dict.fromkeys(table.point)]
    if name in PAPER2_RHO:
        rho = correlation(name, table)
        here = "-" if rho is None else f"{rho:.2f}"
        shown.loc[len(shown)] = ["Pearson's rho", here, "-", "-", f"{PAPER2_RHO[name]:.2f}"]
    return shown.set_index("point")
