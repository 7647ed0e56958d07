"""What `import factory` offers: each module here defines some of `factory.__all__`."""
