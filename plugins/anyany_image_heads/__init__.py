"""anyany_image_heads: first-party components of namespace `image_heads`.

Cards are in `plugin.py`, one file a component beside it.
"""
