"""anyany_vision: first-party components of namespace `vision`.

Cards are in `plugin.py`, one file a component beside it.
"""
