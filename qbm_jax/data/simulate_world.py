"""What all simulated cells of one key share: profiles of types, shifts of batches, programmes."""

from typing import NamedTuple

import jax
import numpy as np

from qbm_jax.data.simulate_presets import RARE_SHARE, SimulatedStudy
from qbm_jax.errors import InputError


class World(NamedTuple):
    """Profiles and shifts are log expression; shares are probabilities."""

    type_profiles: np.ndarray  # [types, genes]
    switch_times: np.ndarray  # [genes]
    batch_shifts: np.ndarray  # [batches, genes]
    batch_shares: np.ndarray  # [batches]
    type_shares: np.ndarray  # [batches, types]
    programme_genes: np.ndarray  # bool [programmes, genes]
    couplings: np.ndarray  # of the planted machine, [programmes, programmes]
    biases: np.ndarray  # [programmes]; none in a world without a machine
    correlations: np.ndarray  # of the Gaussian copula, there; else none


def build_world(key: jax.Array, study: SimulatedStudy, num_genes: int) -> World:
    """Draws everything but the cells; `check_num_genes` comes before."""
    rng = generator(key, 0)
    base = study.base_spread * rng.standard_normal(num_genes)
    num_programmes = study.num_programmes
    size = _programme_size(study, num_genes)
    members = rng.permutation(num_genes)[: num_programmes * size].reshape(num_programmes, size)
    programme_genes = np.zeros((num_programmes, num_genes), dtype=bool)
    np.put_along_axis(programme_genes, members, True, axis=1)
    couplings = np.zeros((len(study.biases), len(study.biases)))
    for first, second, value in study.couplings:
        couplings[first, second] = couplings[second, first] = value
    return World(
        type_profiles=base + _tree_profiles(rng, study, num_genes),
        switch_times=rng.uniform(0.1, 0.9, size=num_genes),
        batch_shifts=_batch_shifts(rng, study, num_genes),
        batch_shares=np.array([share for _, share in study.batches.values()]),
        type_shares=_type_shares(rng, study),
        programme_genes=programme_genes,
        couplings=couplings,
        biases=np.array(study.biases),
        correlations=np.array(study.correlations),
    )


def check_num_genes(study: SimulatedStudy, num_genes: int) -> None:
    """Refuses too few genes for the programmes.

    Raises:
      InputError: says how many are needed.
    """
    least = study.num_programmes * _programme_size(study, num_genes)
    if num_genes < least:
        raise InputError(f"expected at least {least} genes, got {num_genes}; give more num_genes")


def _programme_size(study: SimulatedStudy, num_genes: int) -> int:
    return max(1, round(study.programme_genes * num_genes))


def _tree_profiles(rng: np.random.Generator, study: SimulatedStudy, num_genes: int) -> np.ndarray:
    """Sum over the nodes from the root to each type, [types, genes]; a type is its own leaf."""
    nodes = {}
    for name, ancestors in study.types.items():
        for node in (*ancestors, name):
            if node not in nodes:
                changed = rng.random(num_genes) < study.node_fraction
                nodes[node] = changed * study.node_shift * rng.standard_normal(num_genes)
    return np.stack([sum(nodes[n] for n in (*path, name)) for name, path in study.types.items()])


def _batch_shifts(rng: np.random.Generator, study: SimulatedStudy, num_genes: int) -> np.ndarray:
    """Gene-specific log shifts of technology and batch, [batches, genes]."""
    by_technology = {
        name: (study.technology_shift if rank else 0.0) * rng.standard_normal(num_genes)
        for rank, name in enumerate(study.technologies)
    }
    own = study.batch_shift * rng.standard_normal((len(study.batches), num_genes))
    return own + np.stack([by_technology[name] for name, _ in study.batches.values()])


def _type_shares(rng: np.random.Generator, study: SimulatedStudy) -> np.ndarray:
    """Shares of types in each batch, [batches, types]; rare types keep theirs."""
    expected = np.array(study.proportions)
    rare = expected <= RARE_SHARE
    shift = study.proportion_shift * rng.standard_normal((len(study.batches), len(expected)))
    shares = expected * np.exp(np.where(rare, 0.0, shift))
    common = np.where(rare, 0.0, shares)
    scale = (1 - expected[rare].sum()) / common.sum(axis=1, keepdims=True)
    return np.where(rare, shares, shares * scale)


def generator(key: jax.Array, *stream: int) -> np.random.Generator:
    """Independent random numbers for each (key, stream)."""
    words = np.asarray(jax.random.key_data(key)).ravel().tolist()
    return np.random.default_rng(np.random.SeedSequence(words, spawn_key=stream))
