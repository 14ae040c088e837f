from .checkpoints import (
    BEST_WEIGHTS as BEST_WEIGHTS,
    CALIBRATION as CALIBRATION,
    Checkpoints as Checkpoints,
    best_epoch as best_epoch,
    read_calibration as read_calibration,
    read_history as read_history,
    reset_random_states as reset_random_states,
)
from .clips import (
    HOUR_SECONDS as HOUR_SECONDS,
    ClipFeatures as ClipFeatures,
    joint_dataset as joint_dataset,
    predict_clips as predict_clips,
)
from .correcting import (
    Corrector as Corrector,
    add_labels as add_labels,
    check_learnable as check_learnable,
    load_reviewed as load_reviewed,
)
from .fit import load_best_model as load_best_model, new_model as new_model
from .fresh_mixtures import resolve_mixing as resolve_mixing
from .recordings import load_negatives as load_negatives, load_recordings as load_recordings
from .runs import (
    copy_plugins as copy_plugins,
    load_run as load_run,
    plugin_digests as plugin_digests,
    run_experiment as run_experiment,
    run_plugins as run_plugins,
)
from .seen import (
    COMBINATIONS as COMBINATIONS,
    frame_combinations as frame_combinations,
    powersets as powersets,
    read_seen as read_seen,
)
from .sources import (
    ClipSource as ClipSource,
    RecordingSource as RecordingSource,
    label_affinity as label_affinity,
    source_class as source_class,
)
