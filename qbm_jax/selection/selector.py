"""The selector: which k cells stand for all, on the samplers of this library or any other."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from qbm_jax.errors import InputError
from qbm_jax.runtime.options import from_dict
from qbm_jax.selection import blocks, coverage, kernels, machine, problem, utilities
from qbm_jax.selection.coordinates import column_of, opened, points_of
from qbm_jax.selection.energies import check_memory, energy_of, largest, problem_of
from qbm_jax.selection.inputs import (
    Pool,
    check_groups,
    checked_groups,
    checked_indices,
    checked_number,
    checked_utility,
    labelled_mask,
    listed,
    pool_of,
    quotas_of,
)
from qbm_jax.selection.options import SelectionOptions
from qbm_jax.selection.problem import Problem


class SampleSelector:
    """Chooses k cells that stand for all.

    With m the bits of the chosen cells, K a kernel and u the utility of each of N cells, it looks
    for the lowest

        E(m) = m'Km / k^2 - (2 / (kN)) m'K1 - lambda u'm,    1'm = k,

    which is the squared maximum mean discrepancy of the chosen cells to all, but for a constant,
    less the utility. Cells that are labelled already count as chosen: k is then the number of both.

    Attributes:
      indices_: chosen cells, sorted [k].
      energy_: E of them; with many cells in blocks estimated by random features.
      lower_bound_: which no choice can fall below; NaN with blocks and criterion "facility".
      gap_to_greedy_: `energy_` less that of the greedy choice, below 0 where it is lower; NaN with
        blocks.
      guarantee_: the bound that follows from the greedy choice alone; None where the kernel has
        negative entries, with blocks and with "facility".

    Example:
      >>> selector = SampleSelector(100, kernel="spins", utility="entropy", model=model)
      >>> adata[selector.fit(adata).indices_]
    """

    indices_: np.ndarray
    energy_: float
    lower_bound_: float
    gap_to_greedy_: float
    guarantee_: float | None

    def __init__(
        self,
        num_selected: int,
        *,
        utility: Any = None,
        groups: Any = None,
        quotas: Mapping[Any, int] | None = None,
        solver: Any = "bifurcation",
        model: Any = None,
        **options: Any,
    ):
        """Takes what to choose; `fit` takes from what.

        Args:
          num_selected: k.
          utility: of each cell, an array [cells] as it is; or a name of `utilities.UTILITIES`,
            made by the model, to mean 0 and standard deviation 1 / k^2, that of the first term's
            summands; None: none.
          groups: of each cell, names [cells] or a column of `obs`, also that of cells on disk; each
            gets a quota.
          quotas: cells to choose by group; None: in proportion, at least one of each.
          solver: "greedy", "exact" (enumeration, of coverage too), "swap" (descent from several
            starts), a name of `samplers.SAMPLERS`, or an object of dimod's sampler protocol.
          model: a fitted model, which embeds what `fit` is given.
          **options: fields of `SelectionOptions`.

        Raises:
          InputError: an option that cannot be.
        """
        self.num_selected = checked_number(num_selected)
        self.options = from_dict(SelectionOptions, "selection", options)
        if not (isinstance(solver, str) and solver in ("greedy", "exact", "swap")):
            machine.check_solver(solver)
        utilities.check_utility(utility, model)
        check_groups(groups, quotas)
        self.utility, self.groups, self.quotas = utility, groups, quotas
        self.solver, self.model = solver, model

    def fit(self, data: Any, labelled: Any = None) -> "SampleSelector":
        """Chooses.

        Args:
          data: coordinates [cells, dims]; an AnnData with them in `obsm`; or with a model what it
            embeds: an AnnData with counts, the path of a file, or cells of `qbm_jax.data`.
          labelled: cells that are there already, a mask [cells] or indices: they are not chosen.
            Blocks have theirs too.

        Raises:
          InputError: data that cannot be used, quotas that cannot be met, or a kernel that has no
            room in memory.
        """
        pool = self._pool(data, labelled)
        quotas = quotas_of(pool, self.num_selected, self.quotas)
        kernel = kernels.build(self.options.kernel, pool.points, self.options.width)
        self.lower_bound_ = self.gap_to_greedy_ = math.nan
        self.guarantee_ = None
        size = self.options.block_size
        if size is not None and size < len(pool.points):
            chosen = blocks.choose(
                pool, quotas, size, lambda rows, share: self._in_block(pool, kernel, rows, share)
            )
        else:
            chosen = self._in_one(pool, kernel, quotas)
        self.indices_ = np.sort(pool.order[chosen])
        self.energy_ = energy_of(pool, kernel, chosen, self.options)
        return self

    def _pool(self, data: Any, labelled: Any) -> Pool:
        data = opened(data, self.model)
        points = points_of(data, self.model, self.options.use_rep)
        number, fixed = len(points), labelled_mask(labelled, len(points))
        utility = groups = None
        if self.utility is not None:
            values = self.utility
            if isinstance(values, str):
                made = utilities.UTILITIES[values](self.model, data, points)
                values = utilities.standardised(made, self.num_selected + int(fixed.sum()))
            utility = checked_utility(column_of(data, values, "utility", number))
        if self.groups is not None:
            groups = checked_groups(column_of(data, self.groups, "groups", number))
        return pool_of(points, utility, groups, fixed)

    def _in_block(
        self, pool: Pool, kernel: kernels.SimilarityKernel, rows: np.ndarray, share: int
    ) -> np.ndarray:
        """Rows chosen from a block, which stand for it beside its labelled ones.

        With n of all cells chosen or labelled and n_b of the block's, the objective of all has
        m'Km / n^2 of the block's cells, that of the block m'Km / n_b^2; of coverage it is the mean
        over N cells, and over N_b. The utility grows as much, so that it weighs in a block what it
        weighs in all.
        """
        fixed, nothing = pool.fixed[rows], np.zeros(len(rows), int)
        if self.options.criterion == "facility":
            grown = len(pool.points) / len(rows)
        else:
            number = self.num_selected + int(pool.fixed.sum())
            grown = (number / (share + int(fixed.sum()))) ** 2
        utility = None if pool.utility is None else grown * pool.utility[rows]
        block = Pool(pool.points[rows], utility, nothing, ("",), fixed, np.arange(len(rows)))
        return rows[~fixed][self._solve(block, kernel, np.array([share]))[0]]

    def _in_one(
        self, pool: Pool, kernel: kernels.SimilarityKernel, quotas: np.ndarray
    ) -> np.ndarray:
        free = np.flatnonzero(~pool.fixed)
        chosen, one = self._solve(pool, kernel, quotas)
        if one is None or not self.options.certify:
            return free[chosen]
        first = problem.greedy(one)
        greedy_energy = one.energy(first)
        self.lower_bound_ = problem.lower_bound(one)
        self.gap_to_greedy_ = one.energy(chosen) - greedy_energy
        self.guarantee_ = problem.guarantee(one, greedy_energy)
        return free[chosen]

    def _solve(
        self, pool: Pool, kernel: kernels.SimilarityKernel, quotas: np.ndarray
    ) -> tuple[np.ndarray, Problem | None]:
        """Places of chosen cells among the free ones [k], and the problem, if it is quadratic."""
        check_memory(int((~pool.fixed).sum()), len(pool.points), self.options.max_gib)
        if self.options.criterion == "facility":
            return self._covering(pool, kernel, quotas), None
        one = problem_of(pool, kernel, quotas, self.options.utility_weight)
        return self._lowest(one), one

    def _lowest(self, one: Problem) -> np.ndarray:
        return min(self._choices(one), key=one.energy)

    def _choices(self, one: Problem) -> list[np.ndarray]:
        """Choices of the solver [k]; several of a sampler."""
        options = self.options
        if self.solver == "greedy":
            return [problem.greedy(one)]
        if self.solver == "exact":
            return [problem.exact(one)]
        if self.solver == "swap":
            rng = np.random.default_rng(options.seed)
            return [problem.swaps(one, options.num_chains, rng)]
        effort = machine.SearchEffort(options.num_chains, options.num_steps, options.seed)
        found = machine.choices(one, self.solver, options.constraint, options.bits, effort)
        return [problem.descend(one, each) for each in found] if options.polish else found

    def _covering(
        self, pool: Pool, kernel: kernels.SimilarityKernel, quotas: np.ndarray
    ) -> np.ndarray:
        free = ~pool.fixed
        points = pool.points.astype(np.float64)
        similarity = kernel(points, points[free])
        covered = None
        if pool.fixed.any():
            covered = largest(kernel, points, points[~free])
        lowest = min(similarity.min(), 0.0 if covered is None else covered.min())
        similarity -= lowest  # so that nothing chosen is worth 0
        covered = None if covered is None else covered - lowest
        extra = np.zeros(len(points)) if pool.utility is None else pool.utility
        extra = self.options.utility_weight * extra[free]
        codes = pool.codes[free]
        if self.solver == "exact":
            return coverage.exact(similarity, codes, quotas, extra, covered)
        chosen = coverage.lazy_greedy(similarity, codes, quotas, extra, covered)
        if self.solver == "greedy":
            return chosen
        swaps = 20 if self.options.polish else 0
        return coverage.improve(
            similarity, chosen, codes, quotas, extra, self._choices, covered, swaps
        )


def objective(data: Any, indices: Any, labelled: Any = None, **options: Any) -> float:
    """E of chosen cells, see `SampleSelector`: m'Km / k^2 - (2 / (kN)) m'K1 - lambda u'm.

    With criterion "facility" it is minus the mean over all cells of their largest kernel entry with
    a chosen one, less the utility.

    Args:
      data: as in `SampleSelector.fit`.
      indices: chosen cells [k].
      labelled: as in `SampleSelector.fit`.
      **options: arguments of `SampleSelector` but k.

    Raises:
      InputError: as `SampleSelector`, or cells that are chosen and labelled.
    """
    indices = listed(indices, "indices")
    number = options.pop("num_selected", None) or max(1, indices.size)
    selector = SampleSelector(number, **options)
    pool = selector._pool(data, labelled)
    chosen = checked_indices(indices, len(pool.points), "indices")
    if not len(chosen):
        raise InputError("expected indices of at least one cell, got none")
    places = np.argsort(pool.order)[chosen]
    if pool.fixed[places].any():
        raise InputError(
            f"expected chosen cells that are not labelled, got {int(pool.fixed[places].sum())} "
            "that are both; leave them out of one"
        )
    kernel = kernels.build(selector.options.kernel, pool.points, selector.options.width)
    return energy_of(pool, kernel, np.sort(places), selector.options)
