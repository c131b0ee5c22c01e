"""Run the command line on a terminal of 80 columns, and read what it draws."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def on_terminal(*words: str, columns: int = 80, folder: Path | None = None) -> tuple[int, list[str]]:
    """Return the exit code of a command, and every line that it drew, without control sequences."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR")}
    command = [sys.executable, "-m", "hlmat_bench", *words]
    with subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=folder, env={**environment, "TERM": "xterm-256color"}
    ) as process:
        os.close(theirs)
        drawn = bytearray()
        while part := _read(ours):
            drawn += part
    os.close(ours)
    lines = re.split(r"[\r\n]+", _CONTROL.sub("", drawn.decode()))
    return process.returncode, [line.rstrip() for line in lines if line.strip()]


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # EIO: the other end is closed
        return b""
