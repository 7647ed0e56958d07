"""Reading: from a normalised answer's tokens to its form."""
