"""Audio as the bytes of a file, by libsndfile."""
import io

import soundfile

RATE = 16000


def encoded(samples, format, rate=RATE, **options):
    """The bytes of a file with these samples."""
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=format, **options)
    return buffer.getvalue()


def decoded(content):
    """What libsndfile makes of a file that it reads to its end."""
    return soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)[0].mean(axis=1)
