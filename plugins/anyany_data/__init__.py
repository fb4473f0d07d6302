"""anyany_data: where records come from (`sources`) and how replies are measured (`metrics`).

Cards are in `sources_plugin.py` and `metrics_plugin.py`, one file a component beside them.
"""
