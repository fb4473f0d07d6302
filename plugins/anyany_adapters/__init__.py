"""anyany_adapters: first-party components of namespace `adapters`.

Cards are in `plugin.py`, one file a component beside it.
"""
