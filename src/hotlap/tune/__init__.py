"""Tries what could help, keeps what is proven faster with the same training, and writes it down.

Target -> search: arms, pairs, trials -> proof: fresh processes, same training -> Tuning -> adopt: YAML, patch
"""

from hotlap.callable import make_callable

make_callable(__name__)
