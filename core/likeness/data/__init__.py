"""The data room: one table of images, its checks, its splits, and how pixels reach the network."""
