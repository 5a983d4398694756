"""`python -m sweeps.core.slurm`: what `sweeps/slurm/sweep.sbatch` asks."""
