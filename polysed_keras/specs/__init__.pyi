from .encodings import Encoding as Encoding, likeliest as likeliest
from .experiment import (
    CLASS_SCORES as CLASS_SCORES,
    DATA_DIGEST as DATA_DIGEST,
    EXPERIMENT as EXPERIMENT,
    PLUGINS as PLUGINS,
    RUN_KEYS as RUN_KEYS,
    SILENCE_DB as SILENCE_DB,
    YAMNET_FEATURES as YAMNET_FEATURES,
    AugmentSpec as AugmentSpec,
    Experiment as Experiment,
    LogMelSpec as LogMelSpec,
    ModelSpec as ModelSpec,
    TrainSpec as TrainSpec,
)
from .grouping import confusion as confusion, cooccurrence as cooccurrence
from .overrides import set_fields as set_fields, set_spec_fields as set_spec_fields
from .plugins import (
    find as find,
    frame_backbones as frame_backbones,
    is_clip_head as is_clip_head,
    is_pretrained as is_pretrained,
    load_plugin as load_plugin,
    register as register,
    registered as registered,
)
from .presets import PRESETS as PRESETS, get_preset as get_preset, list_presets as list_presets
from .tasks import (
    Decomposition as Decomposition,
    Task as Task,
    decompose as decompose,
    resolve_tasks as resolve_tasks,
    task_activity as task_activity,
    task_labels as task_labels,
)
