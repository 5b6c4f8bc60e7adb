"""Faces in photographs: found, cut out, judged by a model; and followed from frame to frame."""
