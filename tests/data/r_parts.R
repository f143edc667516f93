# Writes the files of r_parts.tar.xz: R 4.2.2, SummarizedExperiment 1.28.
library(SingleCellExperiment)
counts <- function(genes, cells) {
  m <- outer(seq_along(genes), seq_along(cells), function(i, j) (3L * i + j * j) %% 4L)
  m[1, -1] <- 0L
  dimnames(m) <- list(genes, cells)
  m
}
sparse <- function(m) as(as(as(m, "dMatrix"), "generalMatrix"), "CsparseMatrix")
types <- function(n) rep(c("alpha", "beta", "delta"), length.out = n)
Baron_counts <- counts(c("RARE", "INS", "GCG", "SST", "INS", "OWN"),
                       paste0(c("human2", "human4", "human9"), "_lib1.cell_", 1:12))
Baron_true_cell_label <- factor(types(12))
save(Baron_counts, Baron_true_cell_label, file = "Baron_scRNA.RData")
Seg_counts <- as.data.frame(counts(c("SST", "PPY", "RARE", "INS", "GCG"),
                                   paste0("HP1504901_", LETTERS[1:12])))
Seg_true_cell_label <- types(12)
save(Seg_counts, Seg_true_cell_label, file = "Seg_scRNA.RData", compress = "xz")
m <- counts(c("RARE", "ISG15", "RPL22", "CD3D"), paste0("AAC", 1:13, "-1"))
cells <- DataFrame(cluster_id = factor(c(types(12), NA)), row.names = colnames(m),
                   sample_id = factor(rep(c("ctrl101", "ctrl1015"), length.out = 13)))
kang_se <- SummarizedExperiment(list(counts = m), colData = cells)
old <- new("ShallowSimpleListAssays", data = SimpleList(counts = unname(m)))
rm(".refClassDef", envir = as.environment(old))  # 120 kB
slot(kang_se, "assays", check = FALSE) <- old
save(kang_se, file = "kang_se.rda", compress = "bzip2")
m <- counts(c("Rare", "Mpo", "Elane"), paste0("W", 1:16))
cells <- DataFrame(Seq_batch_ID = factor(rep(c("SB17", "SB19"), 8)), cluster = c(1:10, 12:17),
                   Pseudotime = 1:16 / 7, row.names = colnames(m))
se <- SingleCellExperiment(list(counts = sparse(m)), colData = cells)
save(se, file = "se_paul.rda")
setClass("Assay", representation(counts = "dgCMatrix"))  # slots as of SeuratObject
setClass("Seurat", representation(assays = "list", meta.data = "data.frame"))
seurat <- function(m, ...) new("Seurat", assays = list(RNA = new("Assay", counts = sparse(m))),
                               meta.data = data.frame(..., row.names = colnames(m)))
m <- 1.0 * counts(c("NONE", "INS", "GCG"), paste0("c", 1:12))
m[1, ] <- 0
tech <- rep(c("celseq", "celseq2", "indrop", "fluidigmc1"), 3)
m[, tech < "d"] <- -256 * log(1 - m[, tech < "d"] / 256)
m[, tech == "fluidigmc1"] <- m[, tech == "fluidigmc1"] * 1.1
panc8_small <- seurat(m, tech = tech, celltype = types(12))
save(panc8_small, file = "panc8_small.rda")
m <- counts(c("RARE", "A1CF", "AAAS"), paste0("mouse1_lib2.final_cell_", 1:12))[, c(1:12, 3, 3)]
colnames(m) <- make.unique(colnames(m))
pancreas <- seurat(m, Batch = rep(c("human", "mouse"), 7), Group = types(12)[c(1:12, 3, 3)])
save(pancreas, file = "pancreas.RData")
compiled <- compiler::cmpfun(function(x, n) if (x > 1) base::sqrt(x) else x[n + 1:3, drop = FALSE])
met <- list(new.env(), asNamespace("stats"), quote(a + b), as.character(1:3), 2:4, 1 + 2i, raw(2))
after <- c(last = "read")
save(compiled, met, after, file = "odd.rda")
