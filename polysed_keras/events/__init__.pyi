from .alarms import (
    ALARMS_PER_HOUR as ALARMS_PER_HOUR,
    Alarms as Alarms,
    choose_thresholds as choose_thresholds,
    find_alarms as find_alarms,
    find_posterior_alarms as find_posterior_alarms,
    join_alarms as join_alarms,
    recall_at_alarms as recall_at_alarms,
)
from .corrections import (
    FAINTEST_ASKED as FAINTEST_ASKED,
    KIND as KIND,
    Answer as Answer,
    Corrections as Corrections,
    confirmed_events as confirmed_events,
    find_recordings as find_recordings,
    known_activity as known_activity,
    logit_distance as logit_distance,
    merge_corrections as merge_corrections,
    read_corrections as read_corrections,
)
from .decoding import (
    CALIBRATED as CALIBRATED,
    calibrated_rule as calibrated_rule,
    closed_events as closed_events,
    event_finders as event_finders,
    find_events as find_events,
    posteriors_to_events as posteriors_to_events,
    posteriors_to_tags as posteriors_to_tags,
    tags_to_events as tags_to_events,
    write_tags as write_tags,
)
from .event_lists import (
    COLUMNS as COLUMNS,
    PRECISION as PRECISION,
    active_runs as active_runs,
    clip_events as clip_events,
    event_list_to_event_roll as event_list_to_event_roll,
    event_roll_to_event_list as event_roll_to_event_list,
    joint_activity as joint_activity,
    make_events as make_events,
    merge_events as merge_events,
    polyphony as polyphony,
    read_events as read_events,
    write_events as write_events,
)
from .formats.catalogue import (
    ANNOTATION_FORMATS as ANNOTATION_FORMATS,
    DETECTION_FORMATS as DETECTION_FORMATS,
    LENGTH_FORMATS as LENGTH_FORMATS,
    TABLE_FORMATS as TABLE_FORMATS,
    Annotation as Annotation,
    read_annotations as read_annotations,
    write_detections as write_detections,
    write_table as write_table,
)
from .formats.source import clean as clean, read_source as read_source
from .formats.writing import Detected as Detected
from .matching import event_counts as event_counts, intersection_counts as intersection_counts
from .metrics import (
    alarm_counts as alarm_counts,
    calibration_error as calibration_error,
    confidence_counts as confidence_counts,
    error_counts as error_counts,
    error_rate as error_rate,
    error_rates as error_rates,
    f_score as f_score,
    frame_counts as frame_counts,
    lwlrap as lwlrap,
    macro_accuracy as macro_accuracy,
    merged_runs as merged_runs,
    precision as precision,
    recall as recall,
    recognised as recognised,
    retrieved as retrieved,
    share as share,
    substitutions as substitutions,
    unseen_frames as unseen_frames,
)
from .score_files import (
    is_score_file as is_score_file,
    read_score_file as read_score_file,
    scores_to_events as scores_to_events,
    write_score_file as write_score_file,
)
