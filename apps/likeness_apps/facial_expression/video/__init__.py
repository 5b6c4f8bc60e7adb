"""Faces in a video as a stream: a row per face and frame, and a picture of them over time."""
