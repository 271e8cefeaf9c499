class UserError(Exception):
    """Something that the person at the command line can mend; shown as one line, no traceback."""
