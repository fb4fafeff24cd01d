"""What can be known before, or beside, a training: so far how fast this machine is at what could be changed."""
