"""What both processes know."""

#: What was followed, in the run directory.
RESULT = "followed.json"
