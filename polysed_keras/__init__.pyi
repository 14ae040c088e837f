from .datasets import load_dataset as load_dataset
from .errors import InputError as InputError
from .evaluation import evaluate_run as evaluate_run
from .export import export_run as export_run
from .models import build_model as build_model
from .papers import Detector as Detector
from .serving import load_detector as load_detector
from .specs import (
    Experiment as Experiment,
    Task as Task,
    decompose as decompose,
    get_preset as get_preset,
    list_presets as list_presets,
    load_plugin as load_plugin,
    register as register,
)
from .training import run_experiment as run_experiment

__version__: str
