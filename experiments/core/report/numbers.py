"""How a number is written in tables and on pages."""

from __future__ import annotations

import math


def number(value: float, digits: int = 4) -> str:
    """`value` to `digits` significant digits, without an exponent where it is readable without; "" for NaN."""
    if math.isnan(value):
        return ""
    if math.isfinite(value) and value == int(value) and abs(value) < 1e9:
        return str(int(value))
    return f"{value:.{digits}g}"


def with_unit(value: str, unit: str) -> str:
    """A published number, or text, to four digits; the unit is written where it is %."""
    try:
        shown = value if value == "NaN" else number(float(value))
    except ValueError:
        shown = value
    return f"{shown} %" if unit == "%" and shown else shown


def signed(value: str) -> str:
    """A published difference to three digits, with its sign; "" where there is none."""
    return f"{'+' if float(value) > 0 else ''}{number(float(value), 3)}" if value else ""
