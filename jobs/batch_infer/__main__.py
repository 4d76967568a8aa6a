import sys

from batch_infer.main import main

sys.exit(main())
