"""What holds for every test."""

from __future__ import annotations

import signal

from hypothesis import settings

# How long an example takes says how busy the machine is, not whether the code is right.
settings.register_profile("tests", deadline=None)
settings.load_profile("tests")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Started with & by a script, which ignores it for us: tests of Ctrl-C, and the programs that tests start, need it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
