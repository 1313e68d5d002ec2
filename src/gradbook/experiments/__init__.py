"""The experiments that the exercises of the book ask for, each one call."""
