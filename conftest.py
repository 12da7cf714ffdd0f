"""For all tests, wherever they lie."""

import signal

# Whatever runs in the background is started with interrupts ignored, and its children inherit that: tests that interrupt
# would wait for ever.
signal.signal(signal.SIGINT, signal.default_int_handler)
