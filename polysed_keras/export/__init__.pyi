from .parity import export_runtimes as export_runtimes, format_parity as format_parity
from .runs import export_run as export_run, load_run_detector as load_run_detector
from .runtimes import check_runtimes as check_runtimes
from .saved_model import (
    default_model as default_model,
    load_graph as load_graph,
    load_saved_model as load_saved_model,
    version_directory as version_directory,
)
from .signatures import describe as describe
from .wav_bytes import encode_wav as encode_wav
