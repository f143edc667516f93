"""The model that a user holds: training, resuming, files, and what is refused.

Guards qbm_jax.diffusion.options.
"""

import copy

import jax
import numpy as np
import pandas as pd
import pytest
from diffusion_models import LENGTH, NUM_SYMBOLS, OPTIONS, sequences
from faults import killed_everywhere

from qbm_jax.diffusion import text
from qbm_jax.diffusion.model import Autoregressive, MaskedDiffusion
from qbm_jax.diffusion.training import stream_of
from qbm_jax.errors import InputError
from qbm_jax.runtime import saved_model
from qbm_jax.training import TrainingStopped

ALPHABET = "abc"


@pytest.fixture(scope="module")
def model():
    return MaskedDiffusion(NUM_SYMBOLS, LENGTH, **OPTIONS).fit(sequences())


def leaves(model):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(model.params)]


def test_training_learns_what_the_sequences_have_in_common(model):
    assert model.exact_bound(sequences()) < 0.98 < np.log(NUM_SYMBOLS)
    drawn = model.sample(200)
    assert np.mean(drawn[:, 0] == drawn[:, 1]) > 0.6


def test_a_training_that_was_stopped_goes_on_bit_for_bit(model, tmp_path):
    seen = []
    fresh = MaskedDiffusion(NUM_SYMBOLS, LENGTH, **OPTIONS)
    with pytest.raises(TrainingStopped, match="stopped after step 15"):
        fresh.fit(
            sequences(), checkpoints=tmp_path, should_stop=lambda: seen[-1] >= 12,
            on_progress=lambda step, metrics: seen.append(step),
        )  # fmt: skip
    resumed = fresh.fit(sequences(), checkpoints=tmp_path)
    for ours, theirs in zip(leaves(resumed), leaves(model), strict=True):
        assert np.array_equal(ours, theirs)
    with pytest.raises(InputError, match="belongs to another model"):
        fresh.fit(sequences()[::-1], checkpoints=tmp_path)


def test_states_are_kept_in_the_home_and_nowhere_without_a_name(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    MaskedDiffusion(NUM_SYMBOLS, LENGTH, **OPTIONS).fit(sequences(), checkpoints="~/states")
    assert (tmp_path / "states").is_dir()
    for place in ("", 3):
        with pytest.raises(InputError, match="expected a path"):
            MaskedDiffusion(NUM_SYMBOLS, LENGTH, **OPTIONS).fit(sequences(), checkpoints=place)


def test_a_saved_model_is_the_same_and_damage_is_noticed(model, tmp_path):
    model.save(tmp_path / "model")
    loaded = MaskedDiffusion.load(tmp_path / "model")
    assert loaded.exact_bound(sequences(5)) == model.exact_bound(sequences(5))
    model.save(tmp_path / "model")  # takes the place of the old one
    with pytest.raises(InputError, match="expected a saved Autoregressive"):
        Autoregressive.load(tmp_path / "model")
    file = tmp_path / "model" / "model.json"
    file.write_text(file.read_text().replace('"length": 4', '"length": 5'))
    with pytest.raises(InputError, match="is damaged or was edited"):
        MaskedDiffusion.load(tmp_path / "model")
    with pytest.raises(InputError, match="no saved model"):
        MaskedDiffusion.load(tmp_path / "other")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "data.csv").write_text('{"kind": "of another package"}')
    with pytest.raises(InputError, match=r"found data\.csv in it"):
        model.save(tmp_path / "other")
    (tmp_path / "other" / "data.csv").rename(tmp_path / "other" / "model.json")
    with pytest.raises(InputError, match=r"found model\.json in it"):
        model.save(tmp_path / "other")
    model.save(tmp_path / "mine")
    model.save(tmp_path / "mine")
    (tmp_path / "mine" / "notes.txt").write_text("of the user")
    with pytest.raises(InputError, match=r"found notes\.txt in it"):
        model.save(tmp_path / "mine")


def test_a_save_that_is_killed_at_any_call_leaves_the_old_model_or_the_new_one(model, tmp_path):
    folder, other = tmp_path / "run" / "model", copy.copy(model)
    other.params = jax.tree.map(lambda leaf: leaf + 1, model.params)
    model.save(folder)
    states = killed_everywhere(
        tmp_path / "run", lambda: other.save(folder), tmp_path / "states", lambda name, path: True
    )
    assert len(states) > 8
    both = [float(np.ravel(leaves(each)[0])[0]) for each in (model, other)]
    found = []
    for state in states:
        loaded = MaskedDiffusion.load(state / "model")
        found.append(both.index(float(np.ravel(leaves(loaded)[0])[0])))
    assert found == sorted(found) and set(found) == {0, 1}


def test_places_that_are_none_and_parts_that_lack_are_one_line(model, tmp_path):
    for place in (3, None, "a\0b"):
        with pytest.raises(InputError, match="expected a path"):
            model.save(place)
        with pytest.raises(InputError, match="expected a path"):
            MaskedDiffusion.load(place)
    with pytest.raises(InputError, match="cannot save a model"):
        model.save(tmp_path / ("x" * 300))
    fields = {"kind": "MaskedDiffusion", "options": {}, "texts": False, "vocabulary": 3}
    saved_model.write(tmp_path / "model", fields, model.trained, "vocabulary")
    with pytest.raises(InputError, match="lacks length; save the model again"):
        MaskedDiffusion.load(tmp_path / "model")
    fields |= {"length": 4, "options": {"later": 1}}
    saved_model.write(tmp_path / "newer", fields, model.trained, "vocabulary")
    with pytest.raises(InputError, match=r"newer cannot be used: .*later"):
        MaskedDiffusion.load(tmp_path / "newer")


def test_a_sequence_begins_anywhere_in_a_text_and_where_a_row_does():
    characters, rows = (
        stream_of(np.arange(9), LENGTH),
        stream_of(np.arange(12).reshape(3, 4), LENGTH),
    )
    for stream, starts in ((characters, range(6)), (rows, range(0, 12, 4))):
        assert [stream.stride * place for place in range(stream.num_starts)] == [*starts]
        assert stream.tokens.tolist() == [*range(len(stream.tokens))]


def test_texts_go_in_and_come_out():
    written = "abcacb" * 100  # as many tokens as above: no program is compiled anew
    model = MaskedDiffusion(ALPHABET, LENGTH, **OPTIONS).fit(written)
    (drawn,) = model.sample(1, prompt=f"a{text.MASK}b")
    assert drawn[0] == "a" and drawn[2] == "b" and set(drawn) <= set(ALPHABET)
    assert model.nll_bound("abcacbab").bits.value > 0
    assert text.characters("bca") == ALPHABET


def test_rows_of_a_table_are_tokens_whatever_their_names():
    series = pd.Series([*"010210" * 100]).astype(int).set_axis(range(5, 605))
    model = MaskedDiffusion(NUM_SYMBOLS, LENGTH, **OPTIONS).fit(series)  # the program of texts
    assert model.sample(1).shape == (1, LENGTH)


def test_a_training_that_fails_leaves_a_model_of_texts_as_it_was():
    model = MaskedDiffusion(ALPHABET, LENGTH, **OPTIONS).fit("abcacb" * 100)

    def stop(step, metrics):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model.fit(sequences(), on_progress=stop)
    assert set(model.sample(1)[0]) <= set(ALPHABET)


def test_every_character_comes_out_as_it_went_in():
    written = "a\0\r\n\u0301e"  # numpy drops "\0" at the end of a text
    vocabulary = text.Vocabulary(text.characters(written))
    assert vocabulary.decode(vocabulary.encode(written)[None]) == [written]


@pytest.mark.slow
def test_the_autoregressive_model_is_normalised_and_draws_its_law():
    from diffusion_models import ALL

    from qbm_jax.diffusion.bound import causal_log_probs

    model = Autoregressive(NUM_SYMBOLS, LENGTH, **OPTIONS).fit(sequences())
    log_p = causal_log_probs(model.shape, model.params, ALL).sum(axis=1)
    assert np.logaddexp.reduce(log_p) == pytest.approx(0, abs=1e-5)
    assert model.nll_bound(sequences()).value < 0.8
    drawn = model.sample(2000)
    codes = drawn @ NUM_SYMBOLS ** np.arange(LENGTH)[::-1]
    share = np.bincount(codes, minlength=len(ALL)) / 2000
    assert 0.5 * np.abs(share - np.exp(log_p)).sum() < 0.08


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int64])
def test_a_prompt_of_any_whole_type_is_unknown_where_its_mask_is(kind):
    """The mask of 256 symbols is 256, which 8 bits do not hold."""
    vocabulary, signed = text.Vocabulary(256), kind is not np.uint8
    prompt = np.array([7, -1 if signed else 9], kind)
    found = text.prompt_tokens(vocabulary, prompt, 4)
    assert found.tolist() == [7, 256 if signed else 9, 256, 256] and found.dtype == np.int32


UNUSABLE = {
    "empty text": (ALPHABET, "", "expected a text or tokens, got none"),
    "bytes": (ALPHABET, b"abcabc", "got bytes; decode them as UTF-8"),
    "unknown": (ALPHABET, "abxab", "character 'x' at place 2 of the text is not in the vocab"),
    "mask in text": (ALPHABET, f"ab{text.MASK}ab", "at place 2 of the text is the mask"),
    "mask": (3, [[0, 1, 2, 3]], "expected tokens from 0 to 2, got 3, which is the mask"),
    "negative": (3, [[0, 1, 2, -1]], "expected tokens from 0 to 2, got -1"),
    "short text": (ALPHABET, "abc", "expected at least 4 tokens"),
    "short": (3, [[0, 1, 2]], "expected sequences of 4 tokens"),
    "long": (ALPHABET, ["abca", "abcab"], r"got one of 5 \(number 1\)"),
    "ragged": (3, [[0, 1, 2, 0], [1]], "got unequal ones"),
    "fractions": (3, [[0.5, 1, 2, 0]], "expected whole numbers"),
    "no texts": (ALPHABET, ["abca", None], r"expected texts, got None \(number 1\)"),
    "bytes among texts": (ALPHABET, ["abca", b"abca"], r"expected texts, got b'abca' \(number 1"),
    "masked": (3, np.ma.masked_equal([[0, 1, 2, 0]], 2), "got masked ones"),
    "text for numbers": (3, "abca", "give the vocabulary as characters"),
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_what_cannot_be_trained_on_is_refused_in_one_line(case):
    vocabulary, tokens, words = UNUSABLE[case]
    with pytest.raises(InputError, match=words) as refused:
        MaskedDiffusion(vocabulary, LENGTH, **OPTIONS).fit(tokens)
    assert "\n" not in str(refused.value)


NO_MODELS = {
    "vocabulary of one": (1, 4, {}, "vocabulary must be a whole number of at least 2, got 1"),
    "one character": ("a", 4, {}, "vocabulary must be at least 2 symbols"),
    "twice": ("aba", 4, {}, "at least 2 symbols, each once"),
    "mask": (f"ab{text.MASK}", 4, {}, "which is the mask; leave it out"),
    "words": (["to", "be"], 4, {}, "single characters"),
    "fraction": (27.0, 4, {}, "or a text or list of single characters, got 27.0"),
    "set": ({"a", "b"}, 4, {}, "or a text or list of single characters, got {"),
    "half a character": ("ab\ud83d", 4, {}, r"must not hold '\\ud83d', half a character"),
    "length": (3, 0, {}, "length must be a whole number of at least 1"),
    "heads": (3, 4, {"width": 9, "num_heads": 2}, "width must be a multiple of 2 num_heads"),
    "unknown": (3, 4, {"depth": 2}, "unknown model options"),
    "latents": (3, 4, {"latents": "magic"}, "unknown latents 'magic'"),
    "no decay": (3, 4, {"warmup": 1.0}, "warmup must be below 1, got 1"),
    "no move": (3, 4, {"ema": 1.0}, "ema must be below 1, got 1"),
}


@pytest.mark.parametrize("case", NO_MODELS)
def test_what_is_no_model_is_refused(case):
    vocabulary, length, options, words = NO_MODELS[case]
    with pytest.raises(InputError, match=words):
        MaskedDiffusion(vocabulary, length, **options)


NO_SAMPLES = {
    "masks only": ({"prompt": [-1, -1]}, "the prompt has no known token; leave prompt out"),
    "no mask": ({"prompt": [0, 1, 2, 0]}, "the prompt has no unknown token"),
    "too long": ({"prompt": [0] * 5}, "expected a prompt of at most 4 tokens"),
    "unknown": ({"prompt": [0, 7]}, "expected tokens from 0 to 2, got 7"),
    "more steps": ({"steps": 5}, "steps must be at most the 4 tokens to draw, got 5"),
    "steps and prompt": ({"steps": 4, "prompt": [1]}, "at most the 3 tokens to draw, got 4"),
    "fewer steps": ({"steps": 2, "method": "first_hitting"}, "takes one step a token, 4 here"),
    "no method": ({"method": ""}, "unknown method ''; choose from ancestral"),
    "method": ({"method": "magic"}, "unknown method 'magic'"),
    "temperature": ({"temperature": -1}, "temperature must be a finite number of at least 0"),
    "no confidence": ({"temperature": 1}, "temperature is of method confidence, got method first"),
    "no int32": ({"prompt": [2**32 + 1, -1]}, "expected tokens from 0 to 2, got 4294967297"),
    "ragged": ({"prompt": [[0], [1, 2]]}, "expected a prompt .tokens. of whole numbers"),
}


@pytest.mark.parametrize("case", NO_SAMPLES)
def test_what_cannot_be_drawn_is_refused(case, model):
    options, words = NO_SAMPLES[case]
    with pytest.raises(InputError, match=words):
        model.sample(2, **options)


def test_an_untrained_model_and_what_latents_do_not_allow_are_refused(model):
    untrained = MaskedDiffusion(NUM_SYMBOLS, LENGTH, **OPTIONS, latents="bernoulli")
    with pytest.raises(InputError, match="call fit first"):
        untrained.nll_bound(sequences())
    with pytest.raises(InputError, match="a prompt needs a model without latents"):
        untrained.sample(1, prompt=[0])
    with pytest.raises(InputError, match="expected a model without latents to go through masks"):
        latents = MaskedDiffusion(NUM_SYMBOLS, LENGTH, **OPTIONS, latents="bernoulli")
        latents.params = model.params
        latents.exact_bound(sequences(1))
    with pytest.raises(InputError, match="of at most 12 tokens to go through all masks"):
        long = MaskedDiffusion(NUM_SYMBOLS, 13, **OPTIONS)
        long.params = model.params
        long.exact_bound([[0] * 13])
    with pytest.raises(InputError, match="has no latents"):
        Autoregressive(NUM_SYMBOLS, LENGTH, latents="bernoulli")


def test_files_that_are_no_text_and_peptides_that_are_ambiguous_are_refused(tmp_path):
    path = tmp_path / "latin1.txt"
    path.write_bytes("für".encode("latin-1"))
    with pytest.raises(InputError, match="is not UTF-8 text: byte 1 is 0xfc"):
        text.of_file(path)
    path.write_text("")
    with pytest.raises(InputError, match="is empty"):
        text.of_file(path)
    with pytest.raises(InputError, match="expected a path"):
        text.of_file(3)
    with pytest.raises(InputError, match="peptide 1 has the ambiguous amino acid 'X'"):
        text.peptides(["GLFD", "GXFD"], 8)
    with pytest.raises(InputError, match="peptides of 1 to 3 residues, got 4"):
        text.peptides(["GLFD"], 3)
    with pytest.raises(InputError, match="a list of peptides, got 'GLFD'; put one in a list"):
        text.peptides("GLFD", 8)
    with pytest.raises(InputError, match="expected texts, got None"):
        text.peptides(["GLFD", None], 8)
    assert text.peptides(["GLF"], 4) == ["GLF-"]
    for none in (b"abc", ["ab", "bc"], None, 3):
        with pytest.raises(InputError, match=r"expected a text, got .*; decode bytes as UTF-8"):
            text.characters(none)
