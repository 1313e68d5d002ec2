"""Where curves are drawn: each display is a `record.Sink`, and training knows none of them.

Nothing is imported here, so that a script does not wait for a notebook's packages.
"""
