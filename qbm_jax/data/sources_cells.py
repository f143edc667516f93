"""The sets of cells behind the tables."""

from qbm_jax.data import download
from qbm_jax.data.sources_record import PublicFile, Source


def _as_fetched(name: str, what: str, study: str) -> Source:
    public = download.NAMED[name]
    return Source(
        public.file_name, what, study, f"figshare 12420968, file {public.figshare_id}",
        "that of the figshare record", batch_column=public.batch_column,
        label_column=public.label_column,
    )  # fmt: skip


_LUECKEN = "Luecken 2022"
MIN_CELLS = 10
"""Genes seen in fewer cells were dropped."""
_LEAST = f"genes seen in fewer than {MIN_CELLS} cells dropped"
ISLET_DONORS = ("human2", "human4", "HP1504101T2D", "HP1504901", "HP1526901T2D")
"""Two of Baron and three of Segerstolpe."""
TYPE_OF_CLUSTER = {
    **dict.fromkeys((1, 2, 3, 4, 5, 6), "Erythroid"), 7: "MEP", 8: "Megakaryocyte",
    **dict.fromkeys((9, 10), "GMP"), **dict.fromkeys((12, 17), "Basophil"),
    **dict.fromkeys((13, 14), "Monocyte"), **dict.fromkeys((15, 16), "Neutrophil"),
}  # fmt: skip
"""Types of the progenitors' clusters, by marker genes."""
SATURATION = 256
"""Different UMIs that CEL-seq can tell apart."""


def _clusters() -> str:
    """The clusters of each type in words."""
    types = dict.fromkeys(TYPE_OF_CLUSTER.values())
    of_type = {t: [str(c) for c, each in TYPE_OF_CLUSTER.items() if each == t] for t in types}
    return ", ".join(f"{' + '.join(clusters)} {each}" for each, clusters in of_type.items())


CELLS: dict[str, Source] = {
    "pancreas": _as_fetched("pancreas", "human islets, nine batches", _LUECKEN),
    "lung": _as_fetched("lung", "human lung, 16 donors", _LUECKEN),
    "immune": _as_fetched("immune", "human immune cells, ten batches", _LUECKEN),
    "pancreas_baron_segerstolpe": Source(
        "pancreas_baron_segerstolpe.h5ad",
        "human islets, inDrop and Smart-seq2, 3514 cells x 1194 genes, five donors",
        "Baron 2016, Segerstolpe 2016",
        "GSE84133, E-MTAB-5061",
        "GPL-2 (package)",
        "6430b456fee24122074a6f71f8466da4116e98cc134739c6cfea1d0dfb2b94de",
        (
            PublicFile(
                "haoharryfeng/NeuCA",
                "data/Baron_scRNA.RData",
                "021cb56b0685872c7108fefaf56436157bbc7cbc",
            ),
            PublicFile(
                "haoharryfeng/NeuCA",
                "data/Seg_scRNA.RData",
                "603e90e03f156989d42cec82e14e23afcc18821c",
            ),
        ),
        f"the genes that both hold, in Baron's order; donors {', '.join(ISLET_DONORS)} as batches; "
        f"{_LEAST}",
        "#c3b7cecf2b626350a9ae",
        "#56d892937f352bdc1b5a",
    ),
    "pbmc_kang_ctrl_8donors": Source(
        "pbmc_kang_ctrl_8donors.h5ad",
        "PBMC of eight donors, 10x v1, 12261 cells x 1287 genes",
        "Kang 2018",
        "GSE96583",
        "GPL-3 (package)",
        "96981ec65608a8624636680e06f5ecec4af9a8fbc6bea4d91036818154d62cff",
        (
            PublicFile(
                "HelenaLC/muscat", "data/kang_se.rda", "5e985f6c5ba1262ea5ffa63c4d73fa072b369f2d"
            ),
        ),
        f"control cells, singlets with a type; the donor as batch; {_LEAST}",
        "#4334022501c8e7d6db70",
        "#4b5beeb257de0e033992",
    ),
    "trajectory_paul15": Source(
        "trajectory_paul15.h5ad",
        "mouse myeloid progenitors, MARS-seq, 2660 cells x 2982 genes",
        "Paul 2015",
        "GSE72857",
        "none stated there; MIT in statOmics/tradeSeq, which held the same file",
        "79b9e3570e041be0599f1c6e5146620c45cb6d2dab985fda2be1328b3f15fa76",
        (
            PublicFile(
                "statOmics/tradeSeqPaper",
                "case/paul/se_paul.rda",
                "5cb09f8349c7fde21e5f981141fe1cb7bf01638b",
            ),
        ),
        f"Seq_batch_ID as batch, cluster as `stage`, clusters grouped to types by marker genes "
        f"({_clusters()}); {_LEAST}",
        "#09358fcba12537ba6a06",
        "#68c7517e07fefe88ebdd",
    ),
    "pancreas_panc8_small": Source(
        "pancreas_panc8_small.h5ad",
        "human islets, five technologies, 500 cells x 1947 genes",
        "Gruen 2016, Muraro 2016, Segerstolpe 2016, Lawlor 2017, Baron 2016",
        "GSE81076, GSE85241, E-MTAB-5061, GSE86469, GSE84133",
        "MIT (package)",
        "3facfc82029bcd810f76bcdd848d2c6cb6805197356fc987c3c32fd0395eac65",
        (
            PublicFile(
                "cran/bbknnR", "data/panc8_small.rda", "4b403b724b3638839f94f94b221a0239e31661dd"
            ),
        ),
        f"CEL-seq and CEL-seq2 values turned back into UMI numbers (the correction for saturation, "
        f"K = {SATURATION}, inverted), Fluidigm C1 expected counts rounded; the technology as "
        f"batch; genes seen in no cell dropped",
        "#fc02828f6e5ff4508e57",
        "#0b123bbc56a71ccbd429",
    ),
    "pancreas_human_mouse_328": Source(
        "pancreas_human_mouse_328.h5ad",
        "human and mouse islets on orthologous genes, inDrop, 328 cells x 9325 genes",
        "Baron 2016",
        "GSE84133",
        "MIT",
        "a2d4a260d6fbe34a7ad4adb9cabe9a83ce59582da000ed1ac3f6407d7aa9a81f",
        (
            PublicFile(
                "zhiyhu/CIDER", "data/pancreas.RData", "c0f9ec819110497eff6538cec4c148af2deaaa37"
            ),
        ),
        f"22 repeated draws removed; the species as batch; {_LEAST}",
        "#afc29f902215970a9611",
        "#4b2120ad92c32952dec4",
    ),
    "pbmc_kang_ctrl_stim": Source(
        "pbmc_kang_ctrl_stim.h5ad",
        "PBMC, control and stimulated, 10x v1, 1975 cells x 4890 genes",
        "Kang 2018",
        "GSE96583",
        "GPL-3",
        "b8b51f4d6586559043760bff7af3e00ef61a36f7cb53461ec8e6005977360efd",
        (
            PublicFile(
                "theislab/scgen", "data/valid.h5ad", "1c1ac1c706fe2e82e654efbf7ec451f30097ff79"
            ),
        ),
        f"log-normalised values turned back into counts: in a cell each is a whole multiple of the "
        f"smallest; the condition as batch; {_LEAST}",
        "#405913177b4e0ba56ad9",
        "#b4a8f03459978bc2abdc",
    ),
}
"""By name: first those that one place serves whole."""
