"""Sound files: any uncompressed wav becomes one channel of floats at the rate a network hears."""

import io
import wave
from pathlib import Path

import numpy as np

from dlbooks import UserError

FORMATS = {"2": "ADPCM", "3": "floating point", "6": "A-law", "7": "µ-law", "17": "ADPCM", "49": "GSM", "85": "MP3", "65534": "extensible"}
LONGEST = 600  # seconds of a file
RATES = (1_000, 192_000)  # samples a second; a filter that resamples is as long as the larger rate


def read_wav(source: Path | str | bytes, wanted: int, least: int) -> np.ndarray:
    """Sound in ±1, float32, mono, ``wanted`` samples a second, of a wav file or its bytes.

    What holds none, or less than ``least`` samples, is a ``UserError``.
    """
    if not isinstance(source, Path | str | bytes):
        raise UserError(f"a sound is the bytes of a wav file, not {type(source).__name__}")
    path = "the sound" if isinstance(source, bytes) else source
    try:
        with wave.open(io.BytesIO(source) if isinstance(source, bytes) else str(source), "rb") as file:
            channels, width, rate, count = file.getnchannels(), file.getsampwidth(), file.getframerate(), file.getnframes()
            if not RATES[0] <= rate <= RATES[1] or width > 4:
                raise UserError(f"{path}: {rate} samples a second of {8 * width} bits; {RATES[0]:,} to {RATES[1]:,} of 8 to 32 bits are read")
            if count > LONGEST * max(rate, 1):
                raise UserError(f"{path}: longer than {LONGEST} seconds; cut it to the word")
            raw = file.readframes(count)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except wave.Error as error:
        code = str(error).removeprefix("unknown format: ")
        if code != str(error):
            raise UserError(f"{path}: {FORMATS.get(code, 'format ' + code)} sound; save it as PCM (uncompressed) wav") from None
        raise UserError(f"{path}: not a wav file ({error})") from None
    except EOFError:
        raise UserError(f"{path}: not a wav file (cut short)") from None
    except RuntimeError:
        raise UserError(f"{path}: damaged wav file") from None
    raw = raw[: len(raw) // (width * channels) * width * channels]
    if width == 3:
        audio = np.zeros((len(raw) // 3, 4), np.uint8)
        audio[:, 1:] = np.frombuffer(raw, np.uint8).reshape(-1, 3)
        audio = audio.view("<i4")[:, 0]
    else:
        audio = np.frombuffer(raw, {1: "u1", 2: "<i2", 4: "<i4"}[width])
    audio = audio.astype(np.float64) / 128 - 1 if width == 1 else audio / 2.0 ** (31 if width > 2 else 15)
    audio = audio.reshape(-1, channels).mean(1)
    if rate != wanted and len(audio):
        from scipy.signal import resample_poly

        shared = int(np.gcd(wanted, rate))
        audio = resample_poly(audio, wanted // shared, rate // shared)
    if len(audio) < least:
        raise UserError(f"{path}: {1000 * len(audio) / wanted:.0f} ms of sound; at least {1000 * least / wanted:.0f} are needed")
    return audio.astype(np.float32)


def loudest(audio: np.ndarray, samples: int) -> np.ndarray:
    """The stretch of ``samples`` samples with the most energy, or all of a shorter recording."""
    if len(audio) <= samples:
        return audio
    energy = np.concatenate([[0.0], np.cumsum(np.square(audio, dtype=np.float64))])
    first = int(np.argmax(energy[samples:] - energy[:-samples]))
    return audio[first : first + samples]
