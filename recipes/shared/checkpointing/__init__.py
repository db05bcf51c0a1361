"""Lets a run that was cut off go on, and end with the bits that it would have ended with.

`storage` keeps files that are whole or found out, `states` knows what callbacks remember, and `callback` saves and
restores both, with every variable that a step reads or writes. docs/resuming.md says what is saved when.
"""
