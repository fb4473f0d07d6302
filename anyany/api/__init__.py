"""What plugins may import: `anyany.api.v1` (torch-free) and `anyany.api.torch` (implementations)."""
