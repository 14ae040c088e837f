from .description import (
    default_model as default_model,
    describe as describe,
    version_directory as version_directory,
)
from .parity import export_runtimes as export_runtimes, format_parity as format_parity
from .runs import export_run as export_run, load_run_detector as load_run_detector, load_trained as load_trained
from .runtimes import load_export as load_export
from .saved_model import load_graph as load_graph, load_saved_model as load_saved_model
from .wav_bytes import encode_wav as encode_wav
