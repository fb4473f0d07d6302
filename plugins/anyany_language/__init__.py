"""anyany_language: first-party components of namespace `language`.

Cards are in `plugin.py`, one file a component beside it.
"""
