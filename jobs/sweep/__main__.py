import sys

from sweep.main import main

sys.exit(main())
