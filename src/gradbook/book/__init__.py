"""The book's functions, a file for each field; its classes live where ours do.

`chapters.py` lists the names of the later chapters with their homes.
"""
