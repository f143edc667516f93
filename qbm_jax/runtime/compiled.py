"""Compiled programs: kept for later processes, and let go before one has too many of them."""

import contextlib
import gc
from pathlib import Path

import jax

from qbm_jax.runtime.user_cache import user_cache

LARGEST = 2 * 2**30  # bytes in the user's cache folder above which programs are removed
MAPS = Path("/proc/self/maps")
LIMIT = Path("/proc/sys/vm/max_map_count")


def keep_compiled() -> None:
    """Keeps what is compiled from now on in the user's cache folder, where later processes find it.

    A folder that JAX was told of is kept, and `JAX_ENABLE_COMPILATION_CACHE=false` in the
    environment switches it off. Results do not change. A process that starts and finds more than
    `LARGEST` bytes in the cache folder removes down to half; a folder that JAX was told of is
    whoever's who told it.
    """
    settings = jax.config.values
    if settings["jax_enable_compilation_cache"] and settings["jax_compilation_cache_dir"] is None:
        folder = user_cache() / "compiled"
        drop_unused(folder, LARGEST)
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


def drop_unused(folder: Path, most: int) -> None:
    """Removes the programs that nobody read for longest, down to half of so many bytes.

    Nothing happens while there are fewer. JAX has such a limit as well, but locks the folder for
    every program that it reads, and needs a package for that. What another process removed
    meanwhile, or what may not be removed, is left alone.
    """
    found = []
    for path in folder.glob("*-cache"):
        with contextlib.suppress(OSError):
            status = path.stat()
            found.append((max(status.st_atime, status.st_mtime), status.st_size, path))
    total = sum(size for _, size, _ in found)
    if total <= most:
        return
    for _, size, path in sorted(found):
        if total <= most / 2:
            break
        with contextlib.suppress(OSError):
            path.unlink()
        total -= size


def release_compiled(share: float = 0.5) -> bool:
    """Drops every compiled program if this process uses more than a share of its memory maps.

    XLA keeps maps for each program that it compiles for a CPU, and a process at the system's limit
    (65530 on most Linux computers) dies in its next compilation. What is needed again is compiled
    again, or read from the persistent cache; results do not change. Call it between pieces of work
    that compile programs of their own. Systems without such a limit are left alone.

    Args:
      share: of the limit, 0 to 1.

    Returns:
      Whether programs were dropped.
    """
    if not (MAPS.exists() and LIMIT.exists()):
        return False
    with MAPS.open("rb") as file:
        used = sum(1 for _ in file)
    if used <= share * int(LIMIT.read_text(encoding="utf-8")):
        return False
    jax.clear_caches()
    gc.collect()
    return True
