"""What a device did wrong, and how it leaves compiled code, which knows no exceptions."""

import contextlib
import logging
from collections.abc import Iterator

from jax.errors import JaxRuntimeError

from qbm_jax.errors import InputError

_JAX_LOG = logging.getLogger("jax._src.callback")  # tells every failure of a callback at length
_LATEST: list["DeviceError"] = []  # raised inside a callback, where JAX keeps its text alone


class DeviceError(InputError):
    """A device failed, was late, or gave back other spins than it was asked for."""


def kept(error: DeviceError) -> DeviceError:
    """The error, remembered for `device_errors`."""
    _LATEST[:] = [error]
    return error


@contextlib.contextmanager
def device_errors() -> Iterator[None]:
    """Raises as `DeviceError` what a device did inside compiled code.

    JAX raises its own error there, and logs its traceback, which is left out here: the error that
    is raised says it. Results must be waited for inside the block (`jax.block_until_ready`).

    Raises:
      DeviceError: a device failed in the block.
    """
    _LATEST.clear()
    is_outermost = _is_news not in _JAX_LOG.filters
    if is_outermost:
        _JAX_LOG.addFilter(_is_news)
    try:
        yield
    except (JaxRuntimeError, ValueError) as error:  # which of the two, JAX does not promise
        if not _LATEST or isinstance(error, InputError):  # outside of compiled code it is itself
            raise
        raise _LATEST.pop() from error
    finally:
        if is_outermost:
            _JAX_LOG.removeFilter(_is_news)


def _is_news(record: logging.LogRecord) -> bool:
    """Whether JAX logs something else than the error of a device."""
    return not (record.exc_info and isinstance(record.exc_info[1], DeviceError))
