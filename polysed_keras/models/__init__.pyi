from .compiling import compile_model as compile_model, task_losses as task_losses, task_weights as task_weights
from .costs import (
    experiment_cost as experiment_cost,
    format_widening as format_widening,
    widen as widen,
    with_example_labels as with_example_labels,
    with_num_labels as with_num_labels,
)
from .network import NORMALIZATION as NORMALIZATION, build_model as build_model, with_labels as with_labels
from .predict import (
    cut_segments as cut_segments,
    decode_activity as decode_activity,
    join_label_posteriors as join_label_posteriors,
    predict_posteriors as predict_posteriors,
    subnet_masks as subnet_masks,
)
from .prior import (
    FIELD_WEIGHT as FIELD_WEIGHT,
    PRIOR_WEIGHTS as PRIOR_WEIGHTS,
    RARE as RARE,
    has_prior as has_prior,
    learning_losses as learning_losses,
    learning_tasks as learning_tasks,
    mix_priors as mix_priors,
    prior_task as prior_task,
    separate_priors as separate_priors,
    set_prior_weight as set_prior_weight,
)
from .yamnet import class_names as class_names, embed as embed
