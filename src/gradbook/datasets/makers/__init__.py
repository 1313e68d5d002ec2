"""The makers of stand-ins: each module makes what replaces a file of the book.

`gradbook.datasets.stand_ins` says which one is for which file, and loads it when it is needed.
"""
