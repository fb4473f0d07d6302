"""The miniature world of anyany: its scenes, captions and marking, and the scripts that train the bundled weights.

Import weight: nothing heavy here; `world` and `marker` need numpy, `train` and `evaluate` need torch.
"""
