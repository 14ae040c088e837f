from .decompositions import (
    best_strategies as best_strategies,
    capacity_controls as capacity_controls,
    grouping_strategies as grouping_strategies,
    overall_scores as overall_scores,
    run_costs as run_costs,
    study_recipe as study_recipe,
)
from .demo import (
    find_example_sounds as find_example_sounds,
    find_sounds as find_sounds,
    make_example as make_example,
    make_mixtures as make_mixtures,
    plot_beginning as plot_beginning,
    run_demo as run_demo,
    sized_preset as sized_preset,
)
from .own_classes import Detector as Detector
from .paper1 import (
    PAPER1_TABLE_1 as PAPER1_TABLE_1,
    PAPER1_TABLE_2 as PAPER1_TABLE_2,
    PAPER1_TABLE_3 as PAPER1_TABLE_3,
    attention_example as attention_example,
    beside_paper1 as beside_paper1,
    differences_beside_paper1 as differences_beside_paper1,
    figure2_recipe as figure2_recipe,
    mask_differences as mask_differences,
    paper1_costs as paper1_costs,
    paper1_labels as paper1_labels,
    paper1_recipe as paper1_recipe,
    paper1_table_1 as paper1_table_1,
    score_table as score_table,
)
from .paper2 import beside_paper2 as beside_paper2, paper2_recipe as paper2_recipe, run_paper2 as run_paper2
from .paper2_points import build_study as build_study, parse_values as parse_values
from .variants import (
    Recipe as Recipe,
    draw_sweep as draw_sweep,
    format_sweep as format_sweep,
    run_folder as run_folder,
    run_recipe as run_recipe,
    run_sweep as run_sweep,
    sweep_alpha as sweep_alpha,
)
