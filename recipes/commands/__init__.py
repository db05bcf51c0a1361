"""The verbs of the command `recipes`, one module each."""
