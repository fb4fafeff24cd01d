"""What can be known before, or beside, a training.

data_side, configured    the memory of samples, their caches and their batches, from numbers or from a configuration
machine, peak            how fast this machine is at what could be changed, and in a large matrix product
"""
