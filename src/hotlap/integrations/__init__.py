"""Callbacks for trainers. Each module imports the trainer that it is for; nothing else of hotlap imports these."""
