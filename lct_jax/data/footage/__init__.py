"""Turns a folder of videos into scene files: finding, cutting, grouping and captioning."""

STAGES = ("takes", "scenes", "encode")  # the last one makes the prepared set of the scene files
