"""Models that judge: equivalence, quality, and how they are asked."""
