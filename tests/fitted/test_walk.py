"""The whole path of a biologist: denoise, differential expression, programmes, a mapped query."""

from qbm_jax.fitted.model import FittedModel


def test_from_a_fitted_model_to_named_cells_of_a_new_batch(world, tmp_path):
    world.model.save(tmp_path / "model")
    model = FittedModel.load(tmp_path / "model", world.adata)
    assert "b1, b2" in model.summary()

    table = model.differential_expression(world.adata, "kind", "b", "a")
    markers = table[table.fdr < 0.05].index[:5].tolist()
    assert set(markers) <= {f"gene{i}" for i in range(12)}

    denoised = model.denoise(world.adata, "each", genes=markers, num_samples=2)
    means = denoised.groupby(world.adata.obs.kind.to_numpy()).mean()
    raised = table.log2_fold_change[markers] > 0
    assert ((means.loc["b"] > means.loc["a"]) == raised).all()

    programmes = model.programmes(12, world.adata, num_states=64)
    spins = model.mean_spins(world.adata, "kind")
    telling = (spins.loc["b"] - spins.loc["a"]).abs().idxmax()
    assert set(markers) & set(programmes[programmes.spin == telling].gene)

    mapped = model.map_query(
        world.query, "batch", reference=world.adata, label_column="kind", num_steps=30
    )
    named = mapped.query.cells
    assert (named.label.to_numpy() == world.query.obs.kind.to_numpy()).mean() > 0.8
    again = mapped.differential_expression(world.query, "kind", "b", "a")
    assert set(again.index[:5]) <= {f"gene{i}" for i in range(12)}
