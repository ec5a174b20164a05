"""Snakemake wrapper: learns where every cell sits, by one `tangram map`.

input:  cells, voxels; optional genes or hold_out (lists, one gene a line)
output: the folder of the run, as directory("run")
params: extra (any other flags), for instance "--match-genes case --prior obs:n_cells"
"""

from snakemake.shell import shell

extra = snakemake.params.get("extra", "")  # noqa: F821
log = snakemake.log_fmt_shell(stdout=True, stderr=True)  # noqa: F821
genes = snakemake.input.get("genes", "")  # noqa: F821
held_out = snakemake.input.get("hold_out", "")  # noqa: F821
genes = f"--genes {genes}" if genes else ""
held_out = f"--hold-out {held_out}" if held_out else ""

# A job that is started again goes on from its last checkpoint.
shell(
    "tangram map --cells {snakemake.input.cells} --voxels {snakemake.input.voxels} {genes} {held_out}"
    " --threads {snakemake.threads} --resume --out {snakemake.output[0]} {extra} {log}"
)
