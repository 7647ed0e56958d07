"""One of each kind of extension, to copy from."""
