"""`python -m anyany`: the command line.

The same as the `anyany` script.
"""

import sys

from anyany.cli import main

sys.exit(main())
