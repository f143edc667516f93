"""The coherent Ising machine: equations of its variants, the anneal that draws from them."""
