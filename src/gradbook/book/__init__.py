"""The book's functions, a file for each field; its classes live where ours do.

`chapters.py` lists the names of chapters that are not carried yet.
"""
