from .experiment import (
    DATA_DIGEST as DATA_DIGEST,
    AugmentSpec as AugmentSpec,
    Experiment as Experiment,
    LogMelSpec as LogMelSpec,
)
from .grouping import confusion as confusion, cooccurrence as cooccurrence
from .overrides import set_fields as set_fields, set_spec_fields as set_spec_fields
from .presets import PRESETS as PRESETS, get_preset as get_preset
from .tasks import (
    Decomposition as Decomposition,
    Task as Task,
    decompose as decompose,
    resolve_tasks as resolve_tasks,
    task_activity as task_activity,
    task_labels as task_labels,
)
