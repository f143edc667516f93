"""Instances by name: generated, or read from a folder of files, with what is to be maximised."""

import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from qbm_jax.errors import InputError
from qbm_jax.machine.boltzmann import Boltzmann
from qbm_jax.problems import instances, max_cut
from qbm_jax.runtime.options import check
from qbm_jax.runtime.options import seed as kind_of_seed

BEST_FOUND = "best found by any method of this run"


class Instance(NamedTuple):
    """A machine whose low energies are sought.

    Attributes:
      name: see `load`.
      params: the machine, h = 0, integer couplings.
      total_weight: sum of the graph's weights for Max-Cut; None where energy is the objective.
      best_known: of the objective, to be maximised; None: take the best that is found.
      source: where `best_known` comes from.
    """

    name: str
    params: Boltzmann
    total_weight: float | None
    best_known: float | None
    source: str

    @property
    def checksum(self) -> int:
        """What tells this machine from others of the same name."""
        leaves = jax.tree.leaves(self.params)
        return zlib.crc32(b"".join(np.asarray(leaf).tobytes() for leaf in leaves))

    @property
    def objective(self) -> str:
        """What is maximised."""
        return "-energy" if self.total_weight is None else "cut"

    def value(self, energies: np.ndarray) -> np.ndarray:
        """The objective from energies, same shape; larger is better."""
        if self.total_weight is None:
            return -energies
        return 0.5 * (self.total_weight - energies)


def load(name: str, folder: str | Path | None) -> Instance | str:
    """The instance called `name`, or the reason why there is none: its file is absent.

    Args:
      name: `sk-N-SEED` (couplings -1 and +1 from `jax.random.key(SEED)`), `K2000`, `G1` and other
        files of the G-set, `mc_n100-3` and the like (a file of dense_small and the place in it).
      folder: with the files, or with `k2000/`, `gset/` and `dense_small/` that hold them; None
        where there is no such folder.

    Raises:
      InputError: a name of no such form, or a damaged file.
    """
    folder = None if folder is None else Path(folder)
    for pattern, read in _FORMS.items():
        if found := re.fullmatch(pattern, str(name), re.ASCII):
            try:
                return read(name, folder, *found.groups())
            except _AbsentError as absent:
                return str(absent)
    raise InputError(
        f"unknown instance {name!r}; names are like sk-200-0 (N, seed), K2000, G1, mc_n100-0"
    )


class _AbsentError(Exception):
    """The file of an instance is not there; the message says which."""


def _find(folder: Path | None, *parts: str) -> Path:
    if folder is None:
        raise _AbsentError("no folder of Ising files")
    for path in (folder.joinpath(*parts), folder / parts[-1]):
        if path.is_file():
            return path
    raise _AbsentError(f"no file {'/'.join(parts)} in the folder of Ising files")


def _sk(name: str, folder: Path | None, num_spins: str, seed: str) -> Instance:
    del folder
    number = check(f"the seed of {name}", int(seed), kind_of_seed())
    params = instances.sk_couplings(jax.random.key(number), int(num_spins))
    return Instance(name, params, None, None, BEST_FOUND)


def _k2000(name: str, folder: Path | None) -> Instance:
    params = instances.load_k2000(_find(folder, "k2000", "K2000.npz"))
    total = float(max_cut.total_weight(params))
    return Instance(name, params, total, instances.K2000_BEST_CUT, "best cut in the literature")


def _gset(name: str, folder: Path | None) -> Instance:
    params = max_cut.read_gset(_find(folder, "gset", f"{name}.txt"))
    best = instances.read_best_known(_find(folder, "gset", "best_known.csv"))
    total = float(max_cut.total_weight(params))
    if name not in best:
        return Instance(name, params, total, None, BEST_FOUND)
    return Instance(name, params, total, best[name], "gset/best_known.csv")


def _dense_small(name: str, folder: Path | None, stem: str, place: str) -> Instance:
    machines, ground = instances.load_dense_small(_find(folder, "dense_small", f"{stem}.npz"))
    if int(place) >= len(machines):
        raise InputError(f"instance {name!r}: dense_small/{stem}.npz has {len(machines)} instances")
    return Instance(
        name, machines[int(place)], None, -float(ground[int(place)]), f"dense_small/{stem}.npz"
    )


_FORMS: dict[str, Callable[..., Instance]] = {
    r"sk-(\d+)-(\d+)": _sk,
    r"K2000": _k2000,
    r"G\d+": _gset,
    r"((?:mc|sk)_n\d+)-(\d+)": _dense_small,
}
