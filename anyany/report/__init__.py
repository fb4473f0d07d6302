"""What a run leaves behind: outputs on disk, the run log, the trace, the report page, the closing table."""
