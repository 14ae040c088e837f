from .corpus import (
    INSTRUCTIONS as INSTRUCTIONS,
    STATISTICS as STATISTICS,
    mixture_generator as mixture_generator,
    read_instructions as read_instructions,
    synthesize as synthesize,
)
from .cutting import cut_events as cut_events
from .drawing import RECIPES as RECIPES, SoundscapeSpec as SoundscapeSpec, draw_mixture as draw_mixture
from .ingredients import ROLES as ROLES, gather_sounds as gather_sounds
from .negatives import NEGATIVES as NEGATIVES, shipped_negatives as shipped_negatives
from .procedural.procedures import (
    PROCEDURAL_SAMPLE_RATE as PROCEDURAL_SAMPLE_RATE,
    PROCEDURES as PROCEDURES,
    make_instance as make_instance,
    write_soundbank as write_soundbank,
)
from .recipes import (
    MIXTURES as MIXTURES,
    check_mixtures as check_mixtures,
    ensure_mixtures as ensure_mixtures,
    mix_soundbank as mix_soundbank,
    recipe_spec as recipe_spec,
)
from .rendering import render_mixture as render_mixture
from .soundbank import (
    count_recordings as count_recordings,
    partition_soundbank as partition_soundbank,
    read_soundbank as read_soundbank,
)
from .standin.corpora import format_report as format_report, make_standin as make_standin
from .standin.scenes import StandinSpec as StandinSpec
