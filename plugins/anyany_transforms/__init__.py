"""anyany_transforms: first-party components of namespace `transforms`.

Cards are in `plugin.py`, one file a component beside it.
"""
