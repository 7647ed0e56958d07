"""Files that run a recipe on a cluster: what it needs, for Slurm, Kubernetes and SkyPilot."""
