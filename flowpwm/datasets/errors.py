"""The one error of this package."""


class DatasetError(ValueError):
    """Data that cannot be used; the message is one line naming the file, found and expected."""
