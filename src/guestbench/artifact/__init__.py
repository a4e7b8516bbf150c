"""What goes with a paper: a run with all that others need to check its figures, and to make it again.

`parts` says what is packed, `derive` makes of it all that follows from it, `archive` is the one form in which
both are kept, and `check` derives again from an archive and compares.
"""
