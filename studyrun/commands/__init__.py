"""What each command of the command line does: one call below, and what is printed of its result.

Layer: the command line's own. Results go to stdout, for programs as JSON; everything else goes to stderr.
"""
