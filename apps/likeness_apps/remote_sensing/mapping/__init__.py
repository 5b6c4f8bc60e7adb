"""From a large scene to a map of classes, in memory that does not grow with the scene's height.

`windows` says where the network looks and how much each answer counts, `scene` reads, `answers`
asks the network, `journal` keeps what is finished, `mosaic` blends, `rasters` writes, `run` is the
command.
"""
