"""Memory that the processes of a node share: samples that were fetched once, and slots for batches.

    memory    bytes without a name, and locks that die with their holder        room     how many a node can spare
    store     samples by number in it; flat: a sample as bytes                  samples  read there, or fetched and kept
    ring      slots into which a worker collates                                workers  both, for a loader's workers
    keyed     bytes by any key in a store, found by every process               orphans  workers whose training died end

``hotlap.data`` gives them to scripts by name, ``levers.shared`` to those that were written without. Both do so where
torch and numpy are there, so these modules import them, and nothing else that is not of Python's own.
"""
