"""What Ctrl-C does where no command is at work: the process ends, without a word."""

import os
import signal

INTERRUPTED = 128 + signal.SIGINT
"""Exit status of a program that Ctrl-C ended."""


def end_at_once() -> None:
    """Let Ctrl-C end the process: modules are imported, or the interpreter is shutting down.

    Python, and some modules, would tell of it by a traceback. A process that was started to ignore
    Ctrl-C goes on to.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


def interrupt_work() -> None:
    """Let Ctrl-C raise KeyboardInterrupt again, which lets a command end what it has in hand."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _end(_number: int, _frame: object) -> None:
    os._exit(INTERRUPTED)
