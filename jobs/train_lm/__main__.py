import sys

from train_lm.main import main

sys.exit(main())
