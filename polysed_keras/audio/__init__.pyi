from .digests import audio_digest as audio_digest
from .files import (
    AUDIO_SUFFIXES as AUDIO_SUFFIXES,
    AudioInfo as AudioInfo,
    audio_blocks as audio_blocks,
    audio_info as audio_info,
    check_rate as check_rate,
    check_waveform as check_waveform,
    decode_with_tensorflow_io as decode_with_tensorflow_io,
    find_audio as find_audio,
    is_audio as is_audio,
    load_audio as load_audio,
    load_excerpts as load_excerpts,
    log_passed_over as log_passed_over,
    resample_blocks as resample_blocks,
    search_folder as search_folder,
    visible_audio as visible_audio,
    walk_files as walk_files,
    write_audio as write_audio,
)
from .live import open_microphone as open_microphone, open_pipe as open_pipe, until_interrupted as until_interrupted
from .log_mel import (
    LogMelSpectrogram as LogMelSpectrogram,
    cached_log_mel as cached_log_mel,
    coarse_log_mel as coarse_log_mel,
    compute_log_mel as compute_log_mel,
    decibels as decibels,
    log_of_mels as log_of_mels,
    mel_matrix as mel_matrix,
    read_log_mel as read_log_mel,
    store_log_mel as store_log_mel,
)
