"""``python -m graphlearn`` is the command ``graphlearn``."""

import sys

from graphlearn.cli.exit import main

sys.exit(main())
