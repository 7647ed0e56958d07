"""Answers labelled by construction: references, other spellings of them, and near misses.

`generate` makes them, `oracle` decides labels with numbers alone, `mutations` changes one character
of given references, `cases` reads files of cases. None of it uses the verifiers.
"""
