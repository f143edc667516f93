"""A sampler as an optimiser whose run length and one setting are tuned."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental.sparse import BCOO

from qbm_jax import samplers
from qbm_jax.problems.named import Instance

COUPLINGS = ("any", "dense", "signs")  # sparse too; dense alone; dense and all -1 or +1
STRENGTH = "strength"  # the tuned setting that is no option: rms coupling times sqrt(N), in kT


class Solver(NamedTuple):
    """A row of the table of samplers.

    Attributes:
      label: its name in the report.
      sampler: a name of `samplers.SAMPLERS`.
      options: as (name, value) pairs, so that entries can be compared.
      tuned: the option that is tuned on pilots, or "strength".
      grid: its values.
      products_per_step: N x N products that one step costs a replica.
      products_before: what its start costs.
      max_products: longest run, in products a replica; 0: no limit.
      couplings: which it takes, a name in `COUPLINGS`.
    """

    label: str
    sampler: str
    options: tuple[tuple[str, Any], ...]
    tuned: str
    grid: tuple[float, ...]
    products_per_step: float
    products_before: float
    max_products: int
    couplings: str

    def num_steps(self, budget: int) -> int:
        """Steps that a budget of products allows; 0 where it does not allow one."""
        return max(int((budget - self.products_before) / self.products_per_step), 0)

    def products(self, budget: int) -> float:
        """What is spent of a budget."""
        return self.products_before + self.num_steps(budget) * self.products_per_step

    def lengths(self, budgets: tuple[int, ...]) -> tuple[int, ...]:
        """Those budgets that this sampler is run with."""
        longest = self.max_products or max(budgets)
        return tuple(b for b in budgets if b <= longest and self.num_steps(b))

    def takes(self, instance: Instance) -> bool:
        """Whether it can run an instance."""
        J = instance.params.J
        if isinstance(J, BCOO):
            return self.couplings == "any"
        return self.couplings != "signs" or bool(jnp.all(J**2 + jnp.eye(len(J)) == 1))

    def build(self, num_steps: int, value: float | jax.Array) -> samplers.Sampler:
        """The sampler at one value of the tuned setting."""
        options = dict(self.options) | {"num_steps": num_steps}
        if self.tuned != STRENGTH:
            options[self.tuned] = value
        return samplers.build(self.sampler, **options)
