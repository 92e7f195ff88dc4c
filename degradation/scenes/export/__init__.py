"""Miniatures of the data sets, made of rendered scenes in exactly their owners' formats.

One file for each data set; see `registry`.
"""
