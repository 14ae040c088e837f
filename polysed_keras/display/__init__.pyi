from .overview import plot_recording as plot_recording
from .recordings import (
    ESTIMATED as ESTIMATED,
    NEUTRAL as NEUTRAL,
    REFERENCE as REFERENCE,
    plot_attention as plot_attention,
    plot_detections as plot_detections,
    plot_events as plot_events,
    plot_posteriors as plot_posteriors,
    plot_soundscape as plot_soundscape,
    save_figure as save_figure,
)
from .results import (
    MEASURE_NAMES as MEASURE_NAMES,
    plot_f_scores as plot_f_scores,
    plot_polyphony as plot_polyphony,
    plot_polyphony_scores as plot_polyphony_scores,
    plot_psd_roc as plot_psd_roc,
    plot_roc as plot_roc,
    plot_sweep as plot_sweep,
    plot_training as plot_training,
)
from .review import (
    ORDERS as ORDERS,
    Question as Question,
    build_review as build_review,
    choose_questions as choose_questions,
    find_disagreements as find_disagreements,
    find_questions as find_questions,
    read_questions as read_questions,
    write_review as write_review,
)
from .viewer import build_page as build_page, frame_page as frame_page, write_page as write_page
