"""Models of tokens that a user holds: masked diffusion, and the autoregressive one beside it."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp
import numpy as np

from qbm_jax.diffusion import bound, latent, sampling, text, training
from qbm_jax.diffusion.bound import Bound
from qbm_jax.diffusion.guide import EnergyGuide, check_guide
from qbm_jax.diffusion.network import NetworkShape, Params, log_probs, num_parameters
from qbm_jax.diffusion.options import DiffusionOptions
from qbm_jax.errors import InputError
from qbm_jax.runtime import keys, saved_model
from qbm_jax.runtime.identity import digest_of
from qbm_jax.runtime.options import check, choice, from_dict, not_negative, optional, whole
from qbm_jax.runtime.user_cache import expand_home
from qbm_jax.training.checkpoint import Checkpoints


class TokenModel:
    """What masked and autoregressive models share: options, training, files.

    Attributes:
      vocabulary: the symbols.
      length: tokens of a sequence.
      options: how it is built and trained.
      params: what was trained; None before `fit`.
    """

    causal: ClassVar[bool]

    def __init__(self, vocabulary: int | Sequence[str], length: int, **options: Any):
        """Builds an untrained model.

        Args:
          vocabulary: the number of symbols, or the symbols: a text of distinct characters.
          length: tokens of a sequence.
          **options: fields of `DiffusionOptions`.

        Raises:
          InputError: a vocabulary of one, the mask in it, or an option that cannot be.
        """
        self.vocabulary = text.Vocabulary(vocabulary)
        self.length = check("length", length, whole(1))
        self.options = from_dict(DiffusionOptions, "model", options)
        if self.causal and self.options.latents != "none":
            raise InputError("an autoregressive model has no latents; leave latents at none")
        self.params: Params | None = None
        self._texts = False  # whether it was fitted to texts and writes texts

    @property
    def shape(self) -> NetworkShape:
        """What its compiled programs depend on."""
        own = dataclasses.replace(self.options, seed=0)
        return NetworkShape(self.causal, self.vocabulary.size, self.length, own)

    @property
    def trained(self) -> Params:
        """The parameters.

        Raises:
          InputError: there are none yet.
        """
        if self.params is None:
            raise InputError("the model is not trained; call fit first")
        return self.params

    @property
    def num_parameters(self) -> int:
        """How many numbers were trained."""
        return num_parameters(self.trained)

    def fit(
        self,
        tokens: Any,
        *,
        checkpoints: Path | str | None = None,
        on_progress: Callable[[int, dict[str, float]], None] = lambda step, metrics: None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> Self:
        """Trains on a long text or on sequences; returns the model itself.

        Args:
          tokens: a text, texts of `length` characters, or tokens [number] or [n, length]. Of a
            long one, any part is a sequence.
          checkpoints: a folder of states; a training that was stopped goes on from them, bit for
            bit. None keeps none.
          on_progress: called every few steps with the step and means of the loss and its parts;
            of a prior whose log Z is not known in training, with the masked bound alone.
          should_stop: asked every few steps.

        Raises:
          InputError: tokens that cannot be used, or checkpoints of another training.
          TrainingDiverged: the loss was not finite.
          TrainingStopped: `should_stop` said so; the state is saved.
        """
        rows = text.as_tokens(self.vocabulary, tokens, self.length)
        kept = None
        if checkpoints is not None:
            kept = Checkpoints(expand_home(checkpoints))
            kept.identity = {**self._fields(), "tokens": digest_of(rows)}
        stream = training.stream_of(rows, self.length)
        self.params = training.train(
            self.shape, self.options.seed, stream, kept, on_progress, should_stop
        )
        self._texts = text.are_texts(tokens)
        return self

    def save(self, folder: Path | str) -> None:
        """Writes the model as a folder, whole or not at all.

        Raises:
          InputError: it is not trained, or the folder cannot be written.
        """
        fields = self._fields() | {"texts": self._texts}
        saved_model.write(expand_home(folder), fields, self.trained, "vocabulary")

    @classmethod
    def load(cls, folder: Path | str) -> Self:
        """The model that `save` wrote.

        Raises:
          InputError: there is none of this kind, or it is damaged.
        """
        needed = ("kind", "vocabulary", "length", "options", "texts")
        fields, arrays = saved_model.read(expand_home(folder), needed)
        if fields["kind"] != cls.__name__:
            raise InputError(f"expected a saved {cls.__name__} in {folder}, got {fields['kind']}")
        try:
            model = cls(fields["vocabulary"], fields["length"], **fields["options"])
        except InputError as error:
            raise InputError(f"{folder} cannot be used: {error}") from error
        start = functools.partial(training.init_state, model.shape)
        template = jax.eval_shape(start, keys.root(0)).params
        expected = {path: leaf.shape for path, leaf in saved_model.by_path(template).items()}
        if expected != {path: array.shape for path, array in arrays.items()}:
            raise InputError(f"the arrays in {folder} are of another version; fit the model again")
        leaves = [jnp.asarray(arrays[path]) for path in expected]
        model.params = jax.tree.unflatten(jax.tree.structure(template), leaves)
        model._texts = fields["texts"]
        return model

    def _fields(self) -> dict[str, Any]:
        symbols = self.vocabulary.symbols
        return {
            "kind": type(self).__name__,
            "vocabulary": self.vocabulary.size if symbols is None else "".join(symbols),
            "length": self.length,
            "options": dataclasses.asdict(self.options),
        }

    def _windows(self, tokens: Any) -> np.ndarray:
        return text.windows(text.as_tokens(self.vocabulary, tokens, self.length), self.length)

    def _written(self, tokens: np.ndarray) -> Any:
        return self.vocabulary.decode(tokens) if self._texts else tokens


class MaskedDiffusion(TokenModel):
    """Absorbing-state diffusion over a finite vocabulary, with latents if asked for."""

    causal = False

    def nll_bound(
        self, tokens: Any, *, num_draws: int = 8, seed: int = 0, estimator: str = "counts"
    ) -> Bound:
        """An upper bound on -log p in nats per token, and its standard error.

        Args:
          tokens: as in `fit`; a long text is cut into windows.
          num_draws: of masks (and latents) for every sequence, at least 2.
          seed: of the draws.
          estimator: "counts" of masked tokens, or "times" of the model's schedule, whose standard
            errors are too small for schedules linear and cosine.

        Raises:
          InputError: tokens that cannot be used, or a model that is not trained.
        """
        num_draws = check("num_draws", num_draws, whole(2))
        estimator = check("estimator", estimator, choice(bound.ESTIMATORS))
        rows = self._windows(tokens)
        return bound.masked_bound(self.shape, self.trained, rows, seed, num_draws, estimator)

    def exact_bound(self, tokens: Any) -> float:
        """The same bound without any draw, by all masks; for at most 12 tokens, without latents.

        Raises:
          InputError: more tokens, or latents.
        """
        found = bound.exact_bound(self.shape, self.trained, self._windows(tokens))
        return float(found.mean() / self.length)

    def sample(
        self,
        num: int,
        *,
        steps: int | None = None,
        seed: int = 0,
        prompt: Any = None,
        method: str | None = None,
        temperature: float = 0.0,
        guide: EnergyGuide | None = None,
    ) -> Any:
        """Draws sequences: texts where the model was fitted to texts, else tokens [num, length].

        Args:
          num: how many.
          steps: at most one a token; None takes one a token, exact with method first_hitting.
          seed: of all draws.
          prompt: what is known: a text with `text.MASK` where the model shall write, or tokens with
            -1 there; what is behind its end is unknown.
          method: "ancestral", "first_hitting" or "confidence"; None: first_hitting without steps,
            ancestral with them.
          temperature: of the noise on confidences, with that method alone.
          guide: chooses among candidates.

        Raises:
          InputError: a number out of range, more steps than unknown tokens, a prompt that cannot
            be used, or a guide that is none.
        """
        num = check("num", num, whole(1))
        steps = check("steps", steps, optional(whole(1)))
        chosen = check("method", method, optional(choice(sampling.METHODS)))
        chosen = chosen or ("first_hitting" if steps is None else "ancestral")
        temperature = check("temperature", temperature, not_negative())
        if temperature and chosen != "confidence":
            raise InputError(
                f"temperature is of method confidence, got method {chosen}; leave temperature out"
            )
        check_guide(guide)
        mask = self.vocabulary.size
        start = np.full(self.length, mask, np.int32)
        if prompt is not None:
            start = text.prompt_tokens(self.vocabulary, prompt, self.length)
        self._check_steps(chosen, steps, int(np.sum(start == mask)), prompt)
        key = keys.root(seed)
        rng = np.random.default_rng(keys.number(keys.named(key, "noise")))
        drawn = sampling.draw(
            self.predictor(keys.named(key, "latents"), num), np.tile(start, (num, 1)), mask, rng,
            method=chosen, steps=steps or int(np.sum(start == mask)),
            schedule=self.options.schedule, temperature=temperature, guide=guide,
        )  # fmt: skip
        return self._written(drawn)

    def _check_steps(self, method: str, steps: int | None, unknown: int, prompt: Any) -> None:
        if steps is not None and steps > unknown:
            raise InputError(
                f"steps must be at most the {unknown} tokens to draw, got {steps}; leave it out "
                f"to draw one a step, which is exact"
            )
        if steps is not None and steps < unknown and method == "first_hitting":
            raise InputError(
                f"first_hitting takes one step a token, {unknown} here, got steps {steps}; leave "
                f"steps out, or use method ancestral"
            )
        if prompt is not None and latent.has_latents(self.shape):
            raise InputError(
                "a prompt needs a model without latents, whose law given the prompt is not known; "
                "leave prompt out, or fit with latents none"
            )

    def predictor(self, key: jax.Array, num: int) -> sampling.Predict:
        """Tokens [num, length] -> log probabilities; latents are drawn once, for all steps."""
        shape, params = self.shape, self.trained
        program, read = _predict(shape), None
        if latent.has_latents(shape):
            read = latent.draw_prior(shape, params, key, num)
        return lambda tokens: np.asarray(program(params, tokens, read), np.float64)


class Autoregressive(TokenModel):
    """The same transformer with a causal mask: a likelihood, from left to right."""

    causal = True

    def nll_bound(self, tokens: Any) -> Bound:
        """-log p in nats per token, exact: the standard error is 0. Raises as `fit`."""
        rows = self._windows(tokens)
        return Bound(float(-bound.causal_log_probs(self.shape, self.trained, rows).mean()), 0.0)

    def sample(self, num: int, *, seed: int = 0) -> Any:
        """Draws sequences: texts where the model was fitted to texts, else tokens [num, length]."""
        num, program = check("num", num, whole(1)), _predict(self.shape)
        rng = np.random.default_rng(keys.number(keys.key_of(seed, "noise")))
        tokens = np.full((num, self.length + 1), self.vocabulary.size, np.int32)
        for place in range(self.length):
            laws = np.asarray(program(self.trained, tokens[:, :-1], None), np.float64)
            tokens[:, place + 1] = sampling.draw_symbols(rng, laws[:, place])
        return self._written(tokens[:, 1:])


@functools.lru_cache(maxsize=32)
def _predict(shape: NetworkShape) -> Callable[..., jax.Array]:
    return jax.jit(functools.partial(log_probs, shape))
