"""What every method of estimating log Z returns."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax


class LogZ(NamedTuple):
    """An estimate of log Z in nats; scalars. By enumeration all three agree, with no error.

    Attributes:
      value: the estimate to use.
      standard_error: error of `value`, from the spread between independent paths or chains. It does
        not show a region that none of them visits; a bracket much wider than this error does.
      forward: estimate from draws at the higher temperatures, too low in expectation.
      forward_standard_error: its standard error (delta method).
      reverse: estimate from draws at the lower temperatures, too high in expectation.
      reverse_standard_error: its standard error (delta method).
    """

    value: jax.Array | float
    standard_error: jax.Array | float
    forward: jax.Array | float
    forward_standard_error: jax.Array | float
    reverse: jax.Array | float
    reverse_standard_error: jax.Array | float

    @classmethod
    def of_terms(cls, terms: Mapping[str, Any]) -> "LogZ":
        """The estimate in the terms of a bound: "log_z", and "log_z_" before the other names."""
        return cls(terms["log_z"], *(terms[f"log_z_{name}"] for name in cls._fields[1:]))

    @property
    def bracket(self) -> jax.Array | float:
        """Reverse minus forward estimate, in nats; near 0 when neighbours in beta overlap well.

        Far below 0 the draws behind the reverse estimate are not of the law.
        """
        return self.reverse - self.forward
