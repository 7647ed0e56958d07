"""What the scan of one text reads and where it writes, each handed on as one."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from filters.kernels import Bytes
from filters.language_id.masking import Integers

Weights = npt.NDArray[np.int8]


class Reading(NamedTuple):
    """The tables of `language_id.tables.Tables`; those with a row a language, that of `home`."""

    home: int
    classes: Bytes
    script_of: Bytes
    spacing: Bytes
    roles: Bytes
    keys: Integers
    weights: Weights
    strangeness: Weights
    likelihoods: Weights


class Workspace(NamedTuple):
    """Made once for all texts. A place is a byte of the column and the half words before it."""

    failed: Integers  # see filters.language_id.masking.masked_end
    opened: Integers  # the place where each kind of candidate began
    closed: Integers  # and where it ended
    found: Integers  # the candidates: rows of filters.language_id.scan.scan's, without the text
    # To narrow a candidate: `failed` within it; how far each language is ahead, and since when.
    looked: Integers
    sums: npt.NDArray[np.int32]
    begun: Integers
