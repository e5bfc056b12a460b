"""The interactive program in a terminal of its own, for tests that type into it and strike Ctrl-C."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import subprocess
import sys
import termios
import time
from pathlib import Path

from tiny_film import ROOT


class Terminal:
    """The interactive program in a terminal of its own, which is its controlling one, so that Ctrl-C reaches it."""

    def __init__(self, *arguments: str | Path) -> None:
        self._master, slave = pty.openpty()
        termios.tcsetwinsize(slave, (24, 80))  # without a width no progress bar is drawn
        # The leader of a session gets the first terminal that it opens as its own.
        program = "import os, sys; os.open(os.ttyname(0), os.O_RDWR); os.execv(sys.executable, sys.argv[1:])"
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                program,
                sys.executable,
                "-m",
                "lct_jax.interactive",
                *arguments,
            ],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=ROOT,
            env={**os.environ, "JAX_PLATFORMS": "cpu", "TERM": "dumb"},
            start_new_session=True,
        )
        os.close(slave)
        self.shown = ""

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._master)

    def write(self, text: str) -> None:
        os.write(self._master, text.encode())

    def wait_for(self, text: str, *, seconds: float = 120.0) -> str:
        """Returns what was shown up to a text, and forgets it; raises EOFError where the program ends before."""
        end = time.monotonic() + seconds
        while text not in self.shown:
            ready, _, _ = select.select([self._master], [], [], max(end - time.monotonic(), 0.0))
            assert ready, f"waited for {text!r}, and was shown {self.shown!r}"
            try:
                self.shown += os.read(self._master, 4096).decode(errors="replace")
            except OSError:  # the terminal is closed
                raise EOFError(f"waited for {text!r}, and was shown {self.shown!r}") from None
        before, _, self.shown = self.shown.partition(text)
        return before + text

    def stop_twice(self, line: str) -> int:
        """Strikes Ctrl-C again and again while the shot of a line is sampled, and returns the exit code.

        The first one may have its effect before the second one comes, so it may take some shots; a late one may end the
        program at the prompt, while it says that it has stopped.
        """
        for _ in range(20):
            with contextlib.suppress(OSError, EOFError):
                self.write(f"{line}\n")
                self.wait_for("0/800 [")
            for _ in range(100):
                if self.process.poll() is not None:
                    return self.process.returncode
                # A terminal whose program has ended takes no more keys.
                with contextlib.suppress(OSError):
                    self.write("\x03")
                time.sleep(0.0005)
            with contextlib.suppress(subprocess.TimeoutExpired):
                return self.process.wait(timeout=2)
        raise AssertionError("the program did not end")
