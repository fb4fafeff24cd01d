"""An unmodified script, gone through without its GPU and without the memory of its steps.

parent   followed      starts the script under the probe, contained, and reads what was followed
                       ──> Followed, for a card as a configuration's is
child    following     until the first training batch all is real; then every tensor is imitated, for two steps
         swapping      modules and optimizers of the script exchange their tensors for imitations
         shown_card    torch.cuda, as if a card were there
         answers       what a script reads of tensors that have no values
"""
