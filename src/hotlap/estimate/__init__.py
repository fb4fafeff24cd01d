"""What can be known before, or beside, a training.

data_side, configured    the memory of samples, their caches and their batches, from numbers or from a configuration
memory                   of a training on its device: timeline, tracker, imitation, onednn, allocator, workspace
machine, peak            how fast this machine is at what could be changed, and in a large matrix product
"""
