"""Tracklets from a video: the boxes of a tracker, cropped into the layout of MARS.

`run.tracklets` takes a table of boxes, `run.crop_tracks` a function that finds them.
"""
