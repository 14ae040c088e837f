"""What the notebooks of paper 2 run, as it has it or at demo size, and what it says of each point, to put beside ours."""
import dataclasses
import pathlib
import tempfile

from polysed_keras.export import export_run
from polysed_keras.papers.paper1 import DEMO
from polysed_keras.papers.paper2_points import EVENT, SCENE, SWEEPS, build_study
from polysed_keras.papers.variants import correlation, run_sweep, sweep_table
from polysed_keras.specs import PRESETS, set_fields
from polysed_keras.synthesis import StandinSpec, make_standin, partition_soundbank, read_soundbank, write_soundbank
from polysed_keras.training import run_experiment

# Paper 2 at demo size: 3.6 s clips, so that ten are 0.01 h; the labels are those that are made and told apart quickly.
DEMO_CLIP_SOUNDS = ("bird_singing", "cat_meowing", "crowd_applause", "dog_barking", "footsteps", "gun_shot", "motorcycle",
                    "rain")
DEMO_CLIPS = StandinSpec(scenes=3, locations=(4, 2, 4), scene_hours=(0.036, 0.018, 0.06), event_hours=(0.08, 0.02, 0.04),
                         k=6, scene_labels=5, clip_seconds=3.6, piece_seconds=(0.5, 2.0))
DEMO_CLIP_NETWORK = ("model.filters=[16]", "training.segment_frames=90", "training.epochs=5", "training.batch_size=4",
                     "training.learning_rate=0.003")  # one of ResNet-18's four stages
DEMO_CLIP_EVENTS = ("training.event_batch_size=8", "training.event_hours=0.02")
DEMO_SWEEPS = {"alpha": (0.0, 0.5, 0.95, 1.0), "hours": (0.01, 0.02, 0.04), "k": (2, 3, 6)}

# What paper 2's sections 3.3 and 4.1 to 4.5 say of points (first, last, what); its figures' own numbers are not in its text.
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
SCENE_ACCURACY = 68
PAPER2_RHO = {"hours": 0.89, "k": 0.24}
PAPER2_HOURS = 170.0  # of event clips, in Figures 2 and 3a; in Figure 5, where it says nothing, too


@dataclasses.dataclass(frozen=True)
class SweepRecipe:
    """How one of paper 2's sweeps is run.

    Attributes:
        name: a key of papers.SWEEPS. data: folder of both corpora; made here, if `demo`. out: of runs, table, figure.
        points, seeds: as run_sweep's values and seeds. k, small, settings: as k, small and assignments of papers.Study.
        tagger: what chooses events: a SavedModel's folder, as of papers.load_tagger, or a preset to train on all events of
            the data; None where the points need none.
    """

    name: str
    data: pathlib.Path
    out: pathlib.Path
    demo: bool
    points: tuple
    seeds: int
    k: int
    small: bool
    settings: tuple
    tagger: str | None


def paper2_recipe(name, data, out, *, points=None, seeds=None, settings=None, tagger=None):
    """The recipe of a sweep of paper 2: at demo size, where `data` is "demo", else the paper's.

    Args:
        name: alpha (Figure 2), events (3a), hours (3b), k (4), transfer (5).
        data: folder with tut_urban_acoustic_scenes_2018/ and audioset/, or "demo".
        out: folder of all that is made; sweeps share their runs in it.
        points, seeds: others than the recipe's. settings: more changes of the presets, as `--set` makes them.
        tagger: SavedModel that chooses events; None trains one.

    Returns:
        SweepRecipe. Nothing is made or read yet.
    """
    demo, out = str(data) == DEMO, pathlib.Path(out)
    own = (*DEMO_CLIP_NETWORK, *DEMO_CLIP_EVENTS) if demo else () if name in ("hours", "k") else (f"training.event_hours={PAPER2_HOURS}",)
    values = tuple(points or (demo and DEMO_SWEEPS.get(name)) or SWEEPS[name].values)
    if not {"correlated", "uncorrelated"} & set(values):
        tagger = None
    elif tagger is None:
        tagger = f"{EVENT}_small" if demo else "event_tagger_densenet"
    return SweepRecipe(name, out / "clips" if demo else pathlib.Path(data), out / "sweeps", demo, values,
                       seeds or (2 if demo else 4), 3 if demo else 35, demo, (*own, *(settings or ())), tagger)


def make_demo_clips(folder):
    """A stand-in for paper 2's two corpora, from sounds that the program makes, where it is not there yet."""
    if pathlib.Path(folder).exists():
        return
    with tempfile.TemporaryDirectory() as temporary:
        bank = write_soundbank(pathlib.Path(temporary) / "soundbank", 10, labels=DEMO_CLIP_SOUNDS)
        make_standin(partition_soundbank(read_soundbank(bank)), folder, DEMO_CLIPS, origin={"soundbank": "procedural"})


def run_paper2(recipe):
    """The table of run_sweep, of a SweepRecipe; what is there already is not done again.

    Raises:
        InputError: as build_study and run_sweep.
    """
    if recipe.demo:
        make_demo_clips(recipe.data)
    tagger = _train_tagger(recipe) if recipe.tagger in PRESETS else recipe.tagger
    study = build_study(recipe.data, recipe.points, small=recipe.small, k=recipe.k, tagger=tagger,
                        assignments=recipe.settings, progress=False)
    return run_sweep(recipe.name, study, recipe.points, recipe.data, recipe.out, seeds=recipe.seeds)


def _train_tagger(recipe):
    """The folder of a tagger that is trained on all events and exported."""
    run, saved_model = recipe.out / "runs" / "tagger", recipe.out / "saved_models" / "tagger"
    print(f"training a tagger to choose events by: {recipe.tagger}")
    experiment = set_fields(PRESETS[recipe.tagger], DEMO_CLIP_NETWORK if recipe.demo else ())
    run_experiment(experiment, recipe.data, run, resume=True, progress=False)
    if not saved_model.exists():
        export_run(run, saved_model)
    return saved_model


def beside_paper2(name, table):
    """The lines of papers.sweep_table with what the paper says of their points.

    Args:
        name: of the sweep; table: of run_paper2.

    Returns:
        DataFrame, in per cent, a line a point, and one with Pearson's rho where the paper has it.
    """
    shown = sweep_table(table)
    shown["in the paper"] = [_in_paper(name, point) for point in dict.fromkeys(table.point)]
    if name in PAPER2_RHO:
        rho = correlation(name, table)
        shown.loc[len(shown)] = ["Pearson's rho", "-" if rho is None else f"{rho:.2f}", "-", "-", f"{PAPER2_RHO[name]:.2f}"]
    return shown.set_index("point")


def _in_paper(name, point):
    if point == SCENE:
        return f"accuracy {SCENE_ACCURACY}"
    said = [text for first, last, text in PAPER2.get(name, ())
            if isinstance(first, str) == isinstance(point, str) and first <= point <= last]
    return said[0] if said else "-"
