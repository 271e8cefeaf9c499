class UserError(Exception):
    """Something that the person at the command line can mend; shown as one line, no traceback."""


class Unusable(Exception):
    """In a few words, why a file or a mirror's answer won't do."""
