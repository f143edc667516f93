"""dimod's models as machines and back; dimod is imported when it is asked for."""

from collections.abc import Callable, Hashable, Iterable
from functools import partial
from typing import Any

import numpy as np

from qbm_jax.errors import InputError
from qbm_jax.machine.boltzmann import Boltzmann
from qbm_jax.machine.opposite_sign import Biases, biases, from_biases
from qbm_jax.problems.labels import check_labels, order_of, refuse_lone
from qbm_jax.runtime.optional import needed
from qbm_jax.runtime.options import check, choice, finite, positive


def from_bqm(bqm: Any, labels: Iterable[Hashable] | None = None) -> tuple[Boltzmann, float]:
    """The machine of a binary quadratic model, low energy being probable.

    Args:
      bqm: a `dimod.BinaryQuadraticModel` of spins or bits; bits are b = (1 + s)/2.
      labels: the order of the spins; None: that of `bqm.variables`.

    Returns:
      The machine in units of kT at temperature 1 (`machine.boltzmann.scale` changes it) and a
      constant, with the model's energy equal to the machine's plus the constant.

    Raises:
      InputError: dimod is not installed; it is no such model (of higher order, with constraints,
        empty, of one variable), has a bias that is no finite number, or other labels.
    """
    dimod = needed("dimod")
    check_quadratic(bqm)
    names = order_of(labels, list(bqm.variables))
    if not names:
        raise InputError("expected a binary quadratic model with variables, got an empty one")
    refuse_lone(len(names), "binary quadratic model", "variable", 'bqm.add_linear("free", 0)')
    # In double precision before bits become spins.
    spins = dimod.BinaryQuadraticModel(bqm, dtype=np.float64).change_vartype("SPIN", inplace=True)
    linear, pairs, offset = spins.to_numpy_vectors(variable_order=names)
    rows, columns, values = (np.asarray(each) for each in pairs)
    if not (np.isfinite(linear).all() and np.isfinite(values).all() and np.isfinite(offset)):
        raise InputError("expected finite biases and offset, got NaN or infinity in the model")
    return from_biases(Biases(np.asarray(linear), rows, columns, values)), float(offset)


def to_bqm(
    params: Boltzmann,
    offset: float = 0.0,
    labels: Iterable[Hashable] | None = None,
    vartype: str = "SPIN",
) -> Any:
    """The `dimod.BinaryQuadraticModel` whose energies are the machine's plus `offset`.

    Args:
      params: the machine, dense or sparse.
      offset: of the energy, as `from_bqm` returns it.
      labels: of the spins; None: 0 to N - 1.
      vartype: "SPIN" or "BINARY".

    Raises:
      InputError: dimod is not installed, no machine, labels that do not fit, or another vartype.
    """
    dimod = needed("dimod")
    constant = check("offset", offset, finite())
    kind = check("vartype", getattr(vartype, "name", vartype), choice(("SPIN", "BINARY")))
    linear, *pairs = biases(params)
    names = check_labels(labels, len(linear))
    bqm = dimod.BinaryQuadraticModel.from_numpy_vectors(
        linear, tuple(pairs), constant, "SPIN", variable_order=names
    )
    return bqm.change_vartype(kind, inplace=True)


def from_cqm(cqm: Any, penalty: float | None = None) -> tuple[Boltzmann, float, Callable]:
    """The machine of a constrained quadratic model of spins and bits, by `dimod.cqm_to_bqm`.

    Args:
      cqm: a `dimod.ConstrainedQuadraticModel`.
      penalty: energy of a violated constraint; None: dimod's choice.

    Returns:
      Machine and constant as of `from_bqm`, in the order of `cqm_to_bqm`'s variables, slack ones
      among them, and `invert`: a sample of those variables as bits -> one of the model's own,
      spins among them as -1 and +1.

    Raises:
      InputError: dimod is not installed, it is no such model, or has integer or real variables, a
        quadratic constraint, or one that no state satisfies.
    """
    dimod = needed("dimod")
    if not isinstance(cqm, dimod.ConstrainedQuadraticModel):
        raise InputError(f"expected a dimod.ConstrainedQuadraticModel, got {type(cqm).__name__}")
    kinds = {v: cqm.vartype(v) for v in cqm.variables}
    other = [v for v, kind in kinds.items() if kind not in (dimod.SPIN, dimod.BINARY)]
    if other:
        raise InputError(
            f"expected spins or bits in the constrained model, got a variable {other[0]!r} of type "
            f"{kinds[other[0]].name}; write it in bits first"
        )
    multiplier = None if penalty is None else check("penalty", penalty, positive())
    spins = {v for v, kind in kinds.items() if kind is dimod.SPIN}
    bits = cqm.spin_to_binary() if spins else cqm  # cqm_to_bqm takes none
    try:
        bqm, invert = dimod.cqm_to_bqm(bits, lagrange_multiplier=multiplier)
    except ValueError as error:
        reason = str(error).rstrip(".")
        raise InputError(
            f"expected linear constraints that can be satisfied, got: {reason}; write the model "
            "with others"
        ) from error
    return *from_bqm(bqm), partial(_as_spins, invert, spins) if spins else invert


def _as_spins(invert: Callable, spins: set, sample: Any) -> dict:
    found = invert(sample)
    return {v: 2 * value - 1 if v in spins else value for v, value in found.items()}


def check_quadratic(bqm: Any) -> None:
    """Raises InputError unless it is a binary quadratic model; says which way leads to one."""
    dimod = needed("dimod")
    if isinstance(bqm, dimod.BinaryQuadraticModel):
        return
    found = type(bqm).__name__
    advice = {
        "BinaryPolynomial": "; reduce its order first, by dimod.make_quadratic",
        "ConstrainedQuadraticModel": "; take from_cqm",
        "dict": "; take from_qubo",
    }.get(found, "")
    raise InputError(f"expected a dimod.BinaryQuadraticModel, got {found}{advice}")
