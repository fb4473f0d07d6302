"""Speech for training, by espeak-ng's library (a system package; nothing but the making of training data needs it).

Samples are float32 mono at 16 kHz in -1..1; word starts are in seconds.
"""

from __future__ import annotations

import ctypes
import ctypes.util
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

RATE = 16000
VOICES = ("en-us", "en-us+f2", "en-us+m3", "en-gb", "en-gb+f2", "en-gb+m3")
NAMES = {"en-us": "gmw/en-US", "en-gb": "gmw/en"}
SPEEDS, PITCHES = (140, 180), (35, 65)
_SYNCHRONOUS, _WORD, _RATE, _PITCH, _UTF8 = 2, 1, 1, 3, 1


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int), ("identifier", ctypes.c_uint), ("text_position", ctypes.c_int),
        ("length", ctypes.c_int), ("audio_position", ctypes.c_int), ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p), ("id", ctypes.c_char * 8),
    ]  # fmt: skip


_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


@dataclass(frozen=True, kw_only=True)
class Spoken:
    """A sentence as sound: samples [S], and (index of the first letter, seconds) of its words."""

    samples: NDArray[np.float32]
    starts: tuple[tuple[int, float], ...]


class _Espeak:
    """The library, opened once a process; it speaks one sentence at a time."""

    def __init__(self) -> None:
        found = ctypes.util.find_library("espeak-ng")
        if found is None:
            raise OSError("espeak-ng is not installed; it makes the training speech (Debian: apt install espeak-ng)")
        self.library = ctypes.CDLL(found)
        self.rate = int(self.library.espeak_Initialize(_SYNCHRONOUS, 0, None, 0))
        self.callback = _CALLBACK(self._heard)
        self.library.espeak_SetSynthCallback(self.callback)
        self.pieces: list[NDArray[np.int16]] = []
        self.starts: list[tuple[int, float]] = []

    def _heard(self, samples: Any, count: int, events: Any) -> int:
        if samples and count > 0:
            self.pieces.append(np.ctypeslib.as_array(samples, (count,)).copy())
        at = 0
        while events[at].type:
            if events[at].type == _WORD:
                self.starts.append((events[at].text_position - 1, round(events[at].sample / self.rate, 4)))
            at += 1
        return 0

    def say(self, text: str, voice: str, speed: int, pitch: int) -> Spoken:
        self.pieces, self.starts = [], []
        language, _, variant = voice.partition("+")
        name = NAMES[language] + (f"+{variant}" if variant else "")
        if self.library.espeak_SetVoiceByName(name.encode()):
            raise OSError(f"espeak-ng has no voice {name}")
        self.library.espeak_SetParameter(_RATE, speed, 0)
        self.library.espeak_SetParameter(_PITCH, pitch, 0)
        told = text.encode()
        self.library.espeak_Synth(told, len(told) + 1, 0, 1, 0, _UTF8, None, None)
        return Spoken(samples=_to_rate(np.concatenate(self.pieces), self.rate), starts=tuple(self.starts))


def _to_rate(samples: NDArray[np.int16], rate: int) -> NDArray[np.float32]:
    import torch
    from torchaudio.functional import resample

    found = resample(torch.from_numpy(samples.astype(np.float32) / 32768), rate, RATE, lowpass_filter_width=8)
    return found.numpy()


@lru_cache(maxsize=1)
def _espeak() -> _Espeak:
    return _Espeak()


def say(text: str, voice: str = "en-us", speed: int = 160, pitch: int = 50) -> Spoken:
    """A sentence spoken by one of `VOICES`; speed in words a minute, pitch 0..99. Raises OSError without espeak-ng."""
    return _espeak().say(text, voice, speed, pitch)
