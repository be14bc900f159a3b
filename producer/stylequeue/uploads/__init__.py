"""A way in by the store: a file that is put into a bucket becomes a picture.

A source hears of uploads and reads them as notices; the intake makes jobs of them, by the operator's rules.
"""
