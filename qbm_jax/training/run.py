"""The seeds of one training: their states, their progress, validation and checkpoints."""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from qbm_jax.errors import InputError
from qbm_jax.feed.cell_source import CellSource, Part
from qbm_jax.feed.minibatches import DeviceCounts, gather
from qbm_jax.machine.boltzmann import has_energies
from qbm_jax.model.vae import Params
from qbm_jax.runtime.keys import named
from qbm_jax.runtime.options import traceable_fields
from qbm_jax.samplers.devices import device_errors
from qbm_jax.training import spec
from qbm_jax.training.checkpoint import Checkpoints
from qbm_jax.training.evaluation import ANY_BRACKET, CHECKED, bound, build_evaluation, first_fault
from qbm_jax.training.options import TrainOptions, length_of, without_numbers
from qbm_jax.training.outcomes import Progress, Trained, TrainingDiverged
from qbm_jax.training.plan import EpochPlan, align, plan_epochs
from qbm_jax.training.sharding import check_mesh, local_copy, place_state
from qbm_jax.training.spec import Built, Keys, Seed
from qbm_jax.training.state import TrainState, build_optimiser, copied, init_state, keep_best
from qbm_jax.training.together import SeedThreads, Step, build_steps_of_seeds

LOGGER = logging.getLogger("qbm_jax")
RATES = 1000  # dispatches whose speed is remembered


class PlannedSeed(NamedTuple):
    """One training: its model, sampler and options, its plan, its keys, and where it starts."""

    built: Built
    plan: EpochPlan
    keys: Keys
    params: Params | None = None


def plan_seeds(seeds: Sequence[Seed], num_cells: int) -> list[PlannedSeed]:
    """Splits every root key and plans its epochs, all with equally many steps.

    Raises:
      InputError: there are no seeds; held-out cells cannot be used; some seeds have parameters to
        go on from and others have none; or the trainings' options differ in more than numbers.
    """
    if not seeds:
        raise InputError("expected at least one seed to train, got none")
    going_on = sum(seed.params is not None for seed in seeds)
    if going_on not in (0, len(seeds)):
        raise InputError(
            "expected parameters to go on from for every seed or for none, got "
            f"{going_on} of {len(seeds)}"
        )
    if len({without_numbers(seed.built.options) for seed in seeds}) > 1:
        may_differ = ", ".join(traceable_fields(TrainOptions))
        raise InputError(
            f"trainings that run together may differ in {may_differ} alone; train settings with "
            f"other differences one after another"
        )
    derived = [spec.keys(seed.key) for seed in seeds]
    plans = align([
        plan_epochs(num_cells, seeds[0].built.options, own.split, seed.held_out)
        for own, seed in zip(derived, seeds, strict=True)
    ])  # fmt: skip
    return [
        PlannedSeed(seed.built, plan, own, seed.params)
        for seed, plan, own in zip(seeds, plans, derived, strict=True)
    ]


class TrainingRun:
    """The seeds of one call, their states, and the work between dispatches."""

    def __init__(
        self,
        seeds: list[PlannedSeed],
        source: CellSource,
        checkpoints: Checkpoints | None,
        on_progress: Callable[[Progress], None],
        threads: SeedThreads,
        method: str | None,
        mesh: Mesh | None,
    ):
        """Fresh states, or those of the newest sound checkpoint."""
        self.seeds, self.source, self.mesh = seeds, source, mesh
        self.checkpoints, self.on_progress, self.threads = checkpoints, on_progress, threads
        self.plan = seeds[0].plan  # its steps are those of all
        self.length = length_of(seeds[0].built.options, self.plan.steps_per_epoch)  # likewise
        self.validation = [source.select(seed.plan.validation_cells) for seed in seeds]
        self.rates: deque[float] = deque(maxlen=RATES)
        self.steps = build_steps_of_seeds(
            [seed.built for seed in seeds], self.plan.steps_per_epoch, threads, method, mesh
        )
        self.states = [self.first_state(seed) for seed in seeds]
        if checkpoints is not None:
            # One seed's file holds its state alone, so that runs of either function can go on.
            several = len(seeds) > 1
            restored = checkpoints.restore(tuple(self.states) if several else self.states[0])
            self.states = list(restored) if several else [restored]
        self.last_good = self.states
        self.clock = time.perf_counter()

    def start(self) -> None:
        """Says where the seeds start; parameters to go on from get fresh chains and a validation.

        They are the best so far: a training that makes them worse gives them back.
        """
        self.emit("start", [{} for _ in self.seeds])
        if self.seeds[0].params is None:  # and no other seed has any
            return
        for number, seed in enumerate(self.seeds):
            _, sampler, options, _ = seed.built
            own, best = (jax.tree.map(jnp.array, seed.params) for _ in range(2))
            chains: Any = ()
            if sampler is not None:
                chains = sampler.init(seed.keys.start, own["prior"], options.num_chains)
            state = self.states[number].replace(params=own, best_params=best, chains=chains)
            self.states[number] = self.placed(seed, state)
        self.last_good = self.states
        self.validate(0)

    def first_state(self, seed: PlannedSeed) -> TrainState:
        """Fresh parameters and chains."""
        vae, sampler, options, _ = seed.built
        if self.mesh is not None:
            sampled = sampler is not None  # otherwise there are no chains, and no J
            check_mesh(
                self.mesh,
                minibatch_size=self.plan.minibatch_size,
                num_chains=options.num_chains if sampled else 0,
                num_latents=vae.num_latents if sampled else 0,
            )
        optimiser = build_optimiser(options, self.length.num_epochs * self.plan.steps_per_epoch)
        state = init_state(seed.keys.start, vae, sampler, optimiser, options.num_chains)
        if vae.prior.from_cells is not None:
            prior = vae.prior.from_cells(state.params["prior"], partial(self.random_cells, seed))
            params = {**state.params, "prior": prior}
            state = state.replace(params=params, best_params=copied(params))
        return self.placed(seed, state)

    def random_cells(self, seed: PlannedSeed, number: int) -> jax.Array:
        """Counts [number, genes] of random training cells, all different if there are so many."""
        cells = seed.plan.train_cells
        key = named(seed.keys.start, "cells that the prior starts from")
        chosen = jax.random.choice(key, cells, (number,), replace=number > cells.size)
        data, rows = self.source.select(np.sort(np.asarray(chosen)))
        counts = gather(data, jnp.asarray(rows)).counts
        return counts if self.mesh is None else local_copy(counts)

    def placed(self, seed: PlannedSeed, state: TrainState) -> TrainState:
        """The state on the mesh, if there is one."""
        if self.mesh is None:
            return state
        return place_state(state, self.mesh, seed.built.sampler)

    @property
    def step(self) -> int:
        """Steps taken so far, the same for all seeds."""
        return int(self.states[0].step)

    def params(self, state: TrainState) -> Params:
        """A copy of its parameters, on the default device."""
        if self.mesh is not None:
            return local_copy(state.params)
        return copied(state.params)

    def advance(self, parts: Sequence[Part]) -> None:
        """One dispatch of every seed on its counts and rows [steps, minibatch].

        Raises:
          TrainingDiverged: a metric was not finite.
        """
        is_first, num_steps = not self.rates, self.plan.steps_per_dispatch
        if is_first:
            LOGGER.info("the first %d steps begin; compiling them may take a while", num_steps)
        # The dispatch donates the states.
        self.last_good = [copied(state) for state in self.states]
        steps = [
            Step(seed.keys.steps, part, state, jnp.float32(seed.plan.train_cells.size))
            for seed, part, state in zip(self.seeds, parts, self.states, strict=True)
        ]
        with device_errors():
            stepped = self.steps(steps)
        self.states, traces = (list(values) for values in zip(*stepped, strict=True))
        num_cells = sum(rows.size for _, rows in parts)
        seconds = time.perf_counter() - self.clock
        self.rates.append(num_cells / seconds)
        if is_first:
            LOGGER.info("the first %d steps took %.1f s, compiling included", num_steps, seconds)
        self.stop_if([first_fault(trace) for trace in traces])
        self.emit("train", [{k: float(np.mean(v)) for k, v in trace.items()} for trace in traces])
        self.clock = time.perf_counter()  # from here on, waiting for cells counts as well

    def validate(self, epoch: int) -> None:
        """Measures the bounds, keeps the best parameters, and saves.

        Raises:
          TrainingDiverged: a term of the bound or the energies of the machine are not finite.
        """
        # It came about within the last dispatch, before its end.
        end = self.plan.steps_per_dispatch
        sampled = [seed.built.sampler is not None for seed in self.seeds]
        self.stop_if([
            None if not drawn or has_energies(state.params["prior"]) else (end, "an energy")
            for drawn, state in zip(sampled, self.states, strict=True)
        ])  # fmt: skip
        models = [seed.built.vae for seed in self.seeds]
        metrics = self.threads.map(
            self.validation_bound, models, self.seeds, self.states, self.validation
        )
        faults = [first_fault({f"validation {n}": found[n] for n in CHECKED}) for found in metrics]
        self.stop_if([fault and (end, fault[1]) for fault in faults])
        patient = self.patient(epoch - 1)
        self.states = [
            self.placed(
                seed, keep_best(state, found["elbo"], epoch, seed.built.options.report_epoch)
            )
            if goes_on
            else state
            for seed, state, found, goes_on in zip(
                self.seeds, self.states, metrics, patient, strict=True
            )
        ]
        self.emit("validation", metrics)
        self.save(self.states)
        self.clock = time.perf_counter()

    def patient(self, epoch: int) -> list[bool]:
        """Which seeds may still become better, by the validations up to this epoch.

        The others keep what they have, though they train on beside those: each seed gets what it
        gets alone.
        """
        patiences = [seed.built.options.patience for seed in self.seeds]
        every = self.length.validate_every
        validated = epoch // every * every
        return [
            patience is None or validated - int(state.best_epoch) < patience * every
            for patience, state in zip(patiences, self.states, strict=True)
        ]

    def validation_bound(
        self, seed: PlannedSeed, state: TrainState, cells: tuple[DeviceCounts, np.ndarray]
    ) -> dict[str, float]:
        """The bound on one seed's validation cells [cells], with a rough log Z."""
        vae, _, options, _ = seed.built
        data, rows = cells
        temperatures = options.validation_temperatures
        return bound(
            seed.keys.validation, vae, build_evaluation(vae), data, state.params,
            rows, num_train_cells=seed.plan.train_cells.size,
            num_temperatures=temperatures, num_equilibration=temperatures, max_bracket=ANY_BRACKET,
        )  # fmt: skip

    def save(self, states: list[TrainState]) -> None:
        """Writes a checkpoint, if the run keeps any."""
        if self.checkpoints is not None:
            tree = tuple(states) if len(states) > 1 else states[0]
            self.checkpoints.save(int(states[0].step), tree)

    def saved_on_error(self, parts: Iterator[Sequence[Part]]) -> Iterator[Sequence[Part]]:
        """Yields the same parts; if one cannot be read, saves the states before the error goes on.

        One of several processes cannot save alone: they resume from the last validation.
        """
        try:
            yield from parts
        except InputError:
            if jax.process_count() == 1:
                self.save(self.states)
            raise

    def stop_if(self, faults: list[tuple[int, str] | None]) -> None:
        """Saves the last good states and raises an error if any seed has a fault (step, name)."""
        found = [(fault, seed) for seed, fault in enumerate(faults) if fault is not None]
        if not found:
            return
        (step, name), seed = min(found, key=lambda item: item[0][0])
        self.save(self.last_good)
        kept = int(self.last_good[0].step)
        which = f" of seed {seed}" if len(faults) > 1 else ""
        raise TrainingDiverged(
            f"training{which} diverged at step {kept + step}: {name} is not finite; the state of "
            f"step {kept} is kept; try a smaller learning_rate",
            seed,
            f"{name} is not finite at step {kept + step}",
        )

    def emit(self, split: str, metrics: list[dict[str, float]]) -> None:
        """Reports the metrics of every seed."""
        rate = float(np.median(self.rates)) if self.rates else float("nan")
        epoch = self.step / self.plan.steps_per_epoch
        for seed, values in enumerate(metrics):
            num_epochs = self.length.num_epochs
            self.on_progress(Progress(self.step, epoch, num_epochs, rate, split, values, seed))

    def results(self, seconds: float) -> list[Trained]:
        """The result of every seed, after the last step."""
        rate = float(np.median(list(self.rates)[1:])) if len(self.rates) > 1 else float("nan")
        # What is done with a trained model is done on one device, by every process for itself.
        states = self.states if self.mesh is None else local_copy(self.states)
        return [
            Trained(
                state.best_params, state, seed.plan.train_cells, seed.plan.validation_cells,
                rate, seconds,
            )
            for seed, state in zip(self.seeds, states, strict=True)
        ]  # fmt: skip
