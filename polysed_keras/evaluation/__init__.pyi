from .clip_tables import write_clip_report as write_clip_report
from .runs import (
    evaluate_run as evaluate_run,
    find_groups as find_groups,
    load_seen_combinations as load_seen_combinations,
)
from .tables import (
    class_wise_table as class_wise_table,
    format_tables as format_tables,
    polyphony_table as polyphony_table,
    write_report as write_report,
)
from .unseen import unseen_tables as unseen_tables, write_unseen_report as write_unseen_report
