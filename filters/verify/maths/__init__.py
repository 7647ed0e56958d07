"""The mathematics of a verdict: an answer is read completely or not at all, then compared by form.

`reading` makes `forms` (whose expressions are trees of `nodes`) from a normalised answer; `compare`
has one rule a pair of forms. Values are compared by exact arithmetic (`polynomials`) in the caller,
and by numbers at random points (`numeric`) in a killable worker (`decide`).
"""
