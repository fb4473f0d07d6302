"""anyany_video: first-party components. Cards are in `plugin.py`, one file a component beside it."""
