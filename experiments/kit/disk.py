"""Errors of the disk and the computer, no faults of the program, and what to do about each."""

import errno

_ROOM, _PLACE = "free some space", "move away what stands in its place"
_RIGHT = "make it writable or use another --workdir"
REMEDIES = {
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.EFBIG: "raise the limit of a file's size (ulimit -f)",
    errno.EROFS: _RIGHT,
    errno.EACCES: _RIGHT,
    errno.EPERM: _RIGHT,
    errno.ENOTDIR: _PLACE,
    errno.EISDIR: _PLACE,
    errno.EEXIST: _PLACE,
    errno.ELOOP: _PLACE,
    errno.ENAMETOOLONG: "use a shorter --workdir",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENFILE: "close other programs",
    errno.EIO: "check the disk",
    errno.ESTALE: "mount the disk anew",
}


def remedy(error: BaseException | None) -> str | None:
    """What to do about an error of the disk, to be read before "and run the same command again".

    None for any other error: a file that is not there is a fault of the program.
    """
    return REMEDIES.get(error.errno or 0) if isinstance(error, OSError) else None
