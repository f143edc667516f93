"""A disk without room, for the code within the context."""

import resource
import signal


class FullDisk:
    """No file of this process can grow beyond `room` bytes."""

    def __init__(self, room):
        self._room = room

    def __enter__(self):
        self._limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        self._handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (self._room, self._limits[1]))

    def __exit__(self, *error):
        resource.setrlimit(resource.RLIMIT_FSIZE, self._limits)
        signal.signal(signal.SIGXFSZ, self._handler)
