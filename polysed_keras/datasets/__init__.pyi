from .audioset import CLASS_LABELS as CLASS_LABELS, LISTS as LISTS, read_class_labels as read_class_labels
from .checking import check_corpus as check_corpus, format_check as format_check
from .importing.pairs import (
    by_name as by_name,
    match_annotations as match_annotations,
    read_by_name as read_by_name,
    recording_key as recording_key,
)
from .importing.recordings import import_recordings as import_recordings
from .loading import (
    CLIP_CORPORA as CLIP_CORPORA,
    CORPORA as CORPORA,
    PARTITIONS as PARTITIONS,
    Dataset as Dataset,
    Recording as Recording,
    content_digest as content_digest,
    index_audio as index_audio,
    load_clips as load_clips,
    load_dataset as load_dataset,
    table_rows as table_rows,
    take_present as take_present,
)
from .statistics import (
    count_recording as count_recording,
    format_statistics as format_statistics,
    joint_frames as joint_frames,
    summarize as summarize,
)
from .tut_sed_synthetic_2016 import (
    ANNOTATION_NAME as ANNOTATION_NAME,
    MIXTURE_NAME as MIXTURE_NAME,
    write_file_lists as write_file_lists,
)
