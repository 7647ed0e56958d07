"""Recipes as steps of one resumable run."""
