"""Runs on object stores: objects, the lock of a store, a run directory's copy and its way back."""
