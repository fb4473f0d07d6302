"""anyany_audio: first-party components of namespace `audio`.

Cards are in `plugin.py`, one file a component beside it.
"""
