"""What can be known before, or beside, a training.

data_side, configured    the memory of samples, their caches and their batches, from numbers or from a configuration
memory                   of a training on its device: timeline, tracker, imitation, onednn, allocator, workspace
trained, eight_bit       of a configuration of ``hotlap train``: its own step, and its optimizer in 8 bits
on_cards                 does it fit, with which largest micro-batch, in which settings: fitting, device, cards
at_peak                  what its operations take at the peak of a card
rates, times             seconds of a step's counted work: of a card by what is published, of this machine by what is
                         measured (calibration, calibrated, on_cpu); epochs: how much there is to train
from_run, best           a step that was measured, beside what its work needs, and on another device
machine, peak            how fast this machine is at what could be changed, and in a large matrix product
"""
