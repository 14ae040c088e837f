from .compiling import compile_model as compile_model, task_losses as task_losses, task_weights as task_weights
from .costs import (
    experiment_cost as experiment_cost,
    format_widening as format_widening,
    widen as widen,
    with_num_labels as with_num_labels,
)
from .network import NORMALIZATION as NORMALIZATION, build_model as build_model
from .predict import (
    cut_segments as cut_segments,
    decode_activity as decode_activity,
    predict_posteriors as predict_posteriors,
    subnet_masks as subnet_masks,
)
