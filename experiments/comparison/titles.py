"""Printed names of methods and metrics."""

from experiments.comparison.methods import MORE_LATENTS, OURS, PEERS, UNTRAINED, WEIGHT_1
from experiments.comparison.summary import HEADLINE, REAL_CELLS
from qbm_jax.report.style import model_name


def title_of(method: str, setting: str) -> str:
    """Printed name of a method; the setting is added where there are two."""
    if (method, setting) == REAL_CELLS:
        return "other real cells"
    title = model_name(method)
    if setting == WEIGHT_1:
        return f"{title}, trained at KL weight 1"
    if setting.startswith(MORE_LATENTS):
        return f"{title}, {setting.removeprefix(MORE_LATENTS)} latents"
    alone = method in (*UNTRAINED, *OURS) or (method in PEERS and setting == "default")
    return title if alone else f"{title}, {setting}"


def metric_title(task: str, metric: str) -> str:
    """Printed name of a headline metric."""
    names = {
        "total": "scIB total", "scgraph_correlation": "scGraph", "elbo": "bound (ELBO)",
        "fold_f1_macro": "macro F1, new cells", "donor_f1_macro": "macro F1, new donor or batch",
        "conservation": "trajectory conservation", "unreached": "unreached by the trajectory",
        "rare_f1": "F1 of rare types", "rare_isolated_f1": "cluster F1 of rare types",
        "leiden_nmi_default": "Leiden NMI, default", "leiden_nmi_best": "Leiden NMI, best",
        "knn_within_batches": "15-neighbour accuracy within batches",
        "fold_knn_f1_macro": "macro F1 by 15 neighbours, new cells",
        "donor_knn_f1_macro": "macro F1 by 15 neighbours, new donor or batch",
        "energy_spearman": "energy along the trajectory, rho",
        "energy_order": "energy along the trajectory, size of rho",
        "auroc_left_out_type_entropy": "AUROC of posterior's entropy, unseen type",
        "auroc_left_out_type_distance": "AUROC of distance to 15 neighbours, unseen type",
        "auroc_corrupted_energy": "AUROC of energy, corrupted cells",
        "auroc_corrupted_negative_bound": "AUROC of bound, corrupted cells",
        "auroc_left_out_type_energy": "AUROC of energy, unseen type",
        "auroc_left_out_type_negative_bound": "AUROC of bound, unseen type",
        "gene_gene": "gene-gene correlation",
        "two_sample_excess": "two-sample AUROC, off 0.5",
        "importance_weighted": "importance-weighted bound",
    }  # fmt: skip
    low = " (low is good)" if HEADLINE[task, metric] < 0 else ""
    return names.get(metric, metric.replace("_", " ")) + low
