"""The matrix products of a program: their shapes and how often each is computed."""

import collections
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax


class Product(NamedTuple):
    """`batch` products of a matrix [rows, inner] with one [inner, columns]."""

    batch: int
    rows: int
    inner: int
    columns: int

    @property
    def operations(self) -> int:
        """Additions and multiplications."""
        return 2 * math.prod(self)


Products = collections.Counter[Product]


def operations(products: Products) -> int:
    """Additions and multiplications of all of them."""
    return sum(product.operations * times for product, times in products.items())


def count_products(function: Callable, *arguments: Any) -> Products:
    """The products that a call computes; nothing is computed here.

    A loop of unknown length counts once, and of the branches of a condition the dearest one.

    Args:
      function: what `jax.make_jaxpr` can trace.
      *arguments: its arguments, arrays or their shapes.
    """
    return _of_jaxpr(jax.make_jaxpr(function)(*arguments))


def _of_jaxpr(jaxpr: Any) -> Products:
    total = Products()
    for equation in jaxpr.eqns:
        name = equation.primitive.name
        if name == "dot_general":
            total[_product(equation)] += 1
        inner = [_of_jaxpr(each) for each in _inner_jaxprs(equation.params.values())]
        if name == "cond":
            inner = [max(inner, key=operations)]
        times = equation.params["length"] if name == "scan" else 1
        for products in inner:
            for product, number in products.items():
                total[product] += times * number
    return total


def _inner_jaxprs(values: Any) -> Iterator[Any]:
    for value in values:
        if hasattr(value, "eqns"):
            yield value
        elif isinstance(value, list | tuple):
            yield from _inner_jaxprs(value)


def _product(equation: Any) -> Product:
    left, right = (variable.aval.shape for variable in equation.invars)
    (contracted, _), (batch, _) = equation.params["dimension_numbers"]
    shared = math.prod(left[axis] for axis in batch)
    inner = math.prod(left[axis] for axis in contracted)
    rows, columns = (math.prod(shape) // max(shared * inner, 1) for shape in (left, right))
    return Product(shared, rows, inner, columns)
