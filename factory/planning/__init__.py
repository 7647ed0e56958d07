"""What a recipe needs of a machine: memory per GPU, time, and what fits. Starts nothing."""
