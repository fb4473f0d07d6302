"""Means and scales that Aurora's variables are normalised by, as released with it: physical units, by level in hPa."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

LEVELS = (50, 100, 150, 200, 250, 300, 400, 500, 600, 700, 850, 925, 1000)
SURFACE = {
    "2t": (278.514, 21.22036),
    "10u": (-0.05135059, 5.547512),
    "10v": (0.189158, 4.765339),
    "msl": (100957.8, 1332.246),
    "lsm": (0.0, 1.0),
    "z": (-1386.496, 58844.67),
    "slt": (0.0, 7.0),
}
"""NAME -> (mean, scale); `lsm`, `z` and `slt` are the fixed ones."""
# fmt: off
MEANS: dict[str, tuple[float, ...]] = {
    "z": (199373.0, 157642.1, 133141.4, 115330.0, 101223.1, 89414.15, 69980.38, 54115.37, 40648.33, 28928.82,
          13749.78, 7015.005, 738.1545),
    "u": (5.653076, 10.27951, 13.54061, 14.20915, 13.34584, 11.80173, 8.817291, 6.563273, 4.814521, 3.345237,
          1.418379, 0.6172657, -0.03328723),
    "v": (0.004226111, 0.01411897, -0.03697671, -0.04507801, -0.02980338, -0.0229477, -0.01771003, -0.02387986,
          -0.02716674, 0.02153583, 0.142815, 0.205348, 0.1867637),
    "t": (212.4864, 208.4042, 213.3201, 218.0615, 222.771, 228.8696, 242.1368, 252.9492, 261.1347, 267.401, 274.56,
          277.3572, 281.013),
    "q": (2.67818e-06, 2.633677e-06, 5.254625e-06, 1.940632e-05, 5.773618e-05, 0.0001273861, 0.0003855659,
          0.0008529599, 0.001541429, 0.002431637, 0.004575618, 0.006033134, 0.007030342),
    "w": (-4.83183e-05, -1.158353e-05, 2.323354e-05, 2.460374e-05, 3.384949e-05, 0.0001310551, 0.0003637421,
          0.0004369851, 0.0005889935, 0.003267191, 0.01430376, 0.02180887, 0.02735809),
}
SCALES: dict[str, tuple[float, ...]] = {
    "z": (5875.553, 5510.64, 5823.912, 5820.169, 5536.585, 5091.916, 4150.851, 3353.187, 2695.808, 2136.436,
          1470.321, 1228.997, 1072.307),
    "u": (15.29281, 13.52611, 16.04335, 17.6763, 17.9671, 17.11917, 14.34276, 11.98419, 10.33421, 9.168821,
          8.188043, 7.940808, 6.141778),
    "v": (7.058931, 7.47931, 9.57199, 11.88069, 13.38039, 13.34044, 11.22955, 9.181708, 7.803569, 6.87104,
          6.264443, 6.470644, 5.308203),
    "t": (10.26284, 12.52901, 8.928709, 7.189547, 8.529282, 10.71679, 12.69102, 13.06447, 13.42046, 14.76523,
          15.5888, 16.08798, 17.13983),
    "q": (3.571687e-07, 5.703754e-07, 3.794077e-06, 2.267534e-05, 7.446644e-05, 0.0001684361, 0.0005078644,
          0.001079294, 0.001769722, 0.002549169, 0.004112368, 0.005071058, 0.005913548),
    "w": (0.02031102, 0.03982386, 0.07233442, 0.106973, 0.1431527, 0.179584, 0.2365854, 0.2639899, 0.2768904,
          0.2871598, 0.2900477, 0.2518952, 0.1737641),
}
# fmt: on


def of_surface(name: str) -> tuple[float, float]:
    """(mean, scale) of a surface or fixed variable. Raises ValueError for one that has none."""
    if name not in SURFACE:
        raise ValueError(f"there are no statistics for {name!r}; known are {', '.join(SURFACE)}")
    return SURFACE[name]


def of_levels(name: str, levels: Sequence[float]) -> tuple[torch.Tensor, torch.Tensor]:
    """(means [L,1,1], scales [L,1,1]) of a variable on pressure levels. Raises ValueError where there are none."""
    if name not in MEANS:
        raise ValueError(f"there are no statistics for {name!r} on levels; known are {', '.join(MEANS)}")
    known: Mapping[float, int] = {level: i for i, level in enumerate(LEVELS)}
    missing = [f"{level:g}" for level in levels if level not in known]
    if missing:
        told = ", ".join(map(str, LEVELS))
        raise ValueError(f"there are no statistics for {name!r} at {', '.join(missing)} hPa; levels are {told}")
    at = [known[level] for level in levels]
    pick = [torch.tensor([table[name][i] for i in at])[:, None, None] for table in (MEANS, SCALES)]
    return pick[0], pick[1]
