"""The memory that there is, and counts that are refused because nothing can hold them."""

import os

import jax

from qbm_jax.errors import InputError

GIBIBYTE = 2**30


def total_bytes() -> int:
    """Memory of all devices together, taken as equal; of the hosts where they do not say."""
    stats = [device.memory_stats() or {} for device in jax.local_devices()]
    if all("bytes_limit" in each for each in stats):
        return jax.process_count() * sum(int(each["bytes_limit"]) for each in stats)
    return jax.process_count() * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def check_room(what: str, each: int, **counts: int) -> None:
    """Refuses counts of what no memory holds.

    Args:
      what: is kept of each, in words that follow a count's name and value.
      each: its bytes.
      **counts: by their names.

    Raises:
      InputError: one needs more memory than there is; the message says how much.
    """
    there_is = total_bytes()
    for name, value in counts.items():
        if value * each > there_is:
            raise InputError(
                f"expected fewer {name}, got {value}: {what} alone need "
                f"{value * each / GIBIBYTE:,.0f} GiB, and there are {there_is / GIBIBYTE:,.0f} GiB"
            )
