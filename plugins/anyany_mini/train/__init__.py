"""Scripts that train the bundled weights; `python -m anyany_mini.train all` retrains everything from nothing."""
