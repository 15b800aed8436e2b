"""Kubernetes' quantities in settings and on nodes: cores, bytes, durations."""

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator

CORES = re.compile(r"([0-9]*\.)?[0-9]+m?")
BYTES = re.compile(r"[0-9]+(E|Ei|P|Pi|T|Ti|G|Gi|M|Mi|Ki)?")
DURATION = re.compile(r"[1-9][0-9]*[smhd]")
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
FACTORS = {f"{letter}i": 1024**power for power, letter in enumerate("KMGTPE", 1)} | {
    letter: 1000**power for power, letter in enumerate("kMGTPE", 1)
}


def _plain(value: Any) -> Any:
    """`cpu: 8` means the text "8"."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _cores(value: str) -> str:
    if not CORES.fullmatch(value):
        raise ValueError("expected a number of cores such as 8 or 500m")
    return value


def _bytes(value: str) -> str:
    if not BYTES.fullmatch(value):
        raise ValueError("expected a size such as 64Gi or 512Mi")
    return value


def _duration(value: str) -> str:
    if not DURATION.fullmatch(value):
        raise ValueError("expected a time such as 30s, 90m, 12h or 2d")
    return value


Cores = Annotated[str, BeforeValidator(_plain), AfterValidator(_cores)]
Bytes = Annotated[str, BeforeValidator(_plain), AfterValidator(_bytes)]
Duration = Annotated[str, AfterValidator(_duration)]


def number_of(quantity: str) -> float:
    """Cores, bytes or devices of a quantity as Kubernetes writes it.

    >>> number_of("500m"), number_of("8"), number_of("1Ki"), number_of("2k"), number_of("1e3")
    (0.5, 8.0, 1024.0, 2000.0, 1000.0)
    """
    if quantity.endswith("m"):
        return float(quantity[:-1]) / 1000
    for suffix, factor in FACTORS.items():
        if quantity.endswith(suffix):
            return float(quantity.removesuffix(suffix)) * factor
    return float(quantity)


def seconds_of(duration: str) -> int:
    """
    >>> seconds_of("90m")
    5400
    """
    return int(duration[:-1]) * SECONDS[duration[-1]]


def gibibytes(size: float) -> str:
    """
    >>> gibibytes(3 * 2**30), gibibytes(2**27)
    ('3.0 GiB', '0.1 GiB')
    """
    return f"{size / 2**30:.1f} GiB" if size >= 2**26 else f"{size / 2**20:.0f} MiB"
