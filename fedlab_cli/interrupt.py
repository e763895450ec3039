"""Ctrl-C: noted when it comes, since libraries that are being loaded may swallow it or turn it into another error."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from types import FrameType


class Stopped(BaseException):
    """Ctrl-C inside a command."""


@dataclass
class _Keys:
    pressed: bool = False


_keys = _Keys()


def listen() -> None:
    """From now on note a Ctrl-C besides raising KeyboardInterrupt."""
    _keys.pressed = False
    signal.signal(signal.SIGINT, _note)


def pressed() -> bool:
    """Whether Ctrl-C was pressed since `listen`."""
    return _keys.pressed


def _note(number: int, frame: FrameType | None) -> None:
    _keys.pressed = True
    raise KeyboardInterrupt


def check() -> None:
    """Stop here if a Ctrl-C came and went unnoticed.

    Raises:
        KeyboardInterrupt: it did.
    """
    if _keys.pressed:
        raise KeyboardInterrupt
