from .alarms import alarm_tables as alarm_tables, warn_without_background as warn_without_background
from .calibration import (
    DEFAULT_ALARMS as DEFAULT_ALARMS,
    calibrate_run as calibrate_run,
    check_alarms_per_hour as check_alarms_per_hour,
    expect_alarms as expect_alarms,
    format_expectation as format_expectation,
)
from .correcting import format_learnt as format_learnt, learn_corrections as learn_corrections
from .event_lists import EventLists as EventLists, load_event_lists as load_event_lists
from .reports import report_tables as report_tables, write_report as write_report
from .runs import (
    evaluate_run as evaluate_run,
    evaluate_runs as evaluate_runs,
    find_groups as find_groups,
    load_seen_combinations as load_seen_combinations,
    name_runs as name_runs,
)
from .score_files import (
    calibration_table as calibration_table,
    can_score_files as can_score_files,
    psd_roc_curves as psd_roc_curves,
    roc_curves as roc_curves,
    score_file_tables as score_file_tables,
)
from .scoring import (
    Matching as Matching,
    score_tables as score_tables,
    summarize_tables as summarize_tables,
    write_scores as write_scores,
)
from .tables import (
    class_wise_table as class_wise_table,
    format_tables as format_tables,
    percent_cells as percent_cells,
    polyphony_table as polyphony_table,
    write_table as write_table,
)
from .unseen import unseen_tables as unseen_tables
